//! Image filters: a small kernel slid over a picture, by the convolution that networks are made of.
//!
//! As everywhere in deep learning, "convolution" means correlation: the kernel is laid on the image as it is
//! written, not turned by half a circle, and each output is the sum of the products. The anchor, the place of the
//! kernel that lies on the output's own pixel, is its middle; of an even number of rows or columns it is the
//! upper or left one of the two in the middle. The border is padded so that every pixel (every `stride`-th one)
//! gives an output, whatever the size of the kernel.

mod bands;
mod kernel;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kiln_engine::ops::{ConvOptions, PadMode};
use kiln_engine::{DType, Graph, GraphBuilder, NoWeights, Padding, Session, Tensor};
use kiln_gpu::{Bytes, Gpu};

use crate::ModelError;
use crate::image::Image;
use bands::{Band, Reach};
pub use kernel::FilterKernel;

/// What lies beyond the image's edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Black: what a convolution in a network pads with.
    #[default]
    Zero,
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
    /// The outermost pixels, repeated.
    Replicate,
}

/// How a filter is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterOptions {
    /// What lies beyond the edge.
    pub border: Border,
    /// Pixels between neighbouring outputs, down and across.
    pub stride: usize,
    /// Pixels between neighbouring places of the kernel.
    pub dilation: usize,
    /// Whether red, green and blue are filtered each by itself (a picture in colour) or their results are added up
    /// (a gray picture).
    pub per_channel: bool,
    /// Bytes of the image that are on the device at a time, unless a few rows are more. Where the device binds less,
    /// that counts.
    pub band_bytes: u64,
}

impl Default for FilterOptions {
    fn default() -> Self {
        FilterOptions {
            border: Border::Zero,
            stride: 1,
            dilation: 1,
            per_channel: true,
            band_bytes: 64 << 20,
        }
    }
}

/// What a filter gave: values on the scale of the image's bytes, negative ones and ones above 255 among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Filtered {
    /// `[channels][height][width]`.
    pub values: Vec<f32>,
    /// Channels (3, or 1 where they were added up), height and width.
    pub shape: [usize; 3],
}

/// A filter that is known to fit its image and its device.
///
/// The output has `ceil(height / stride)` rows and `ceil(width / stride)` columns. An image that is larger than the
/// device can bind at once is cut into bands of rows, which overlap by what the kernel sees; the values are the same.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    gpu: &'a Gpu,
    image: &'a Image,
    kernel: &'a FilterKernel,
    options: FilterOptions,
    rows: Reach,
    columns: Reach,
    bands: Vec<Band>,
}

impl<'a> Filter<'a> {
    /// Checks all that can be wrong, before any work.
    ///
    /// # Errors
    /// [`ModelError::Image`] where the stride or the dilation is 0, where an image is too small to be mirrored as
    /// far as the kernel reaches, or where the device cannot bind even a few rows of it.
    pub fn new(
        gpu: &'a Gpu,
        image: &'a Image,
        kernel: &'a FilterKernel,
        options: FilterOptions,
    ) -> Result<Filter<'a>, ModelError> {
        let refused = |message: String| Err(ModelError::image(image.path(), message));
        if options.stride == 0 || options.dilation == 0 {
            return refused("a filter's stride and dilation are at least 1".to_owned());
        }
        let rows = Reach::new(kernel.rows(), options.stride, options.dilation, image.height());
        let columns = Reach::new(kernel.columns(), options.stride, options.dilation, image.width());
        let mirrored = [(rows, "row"), (columns, "column")];
        let short = mirrored.into_iter().find(|(reach, _)| reach.after >= reach.input);
        if let (Border::Reflect, Some((reach, what))) = (options.border, short) {
            return refused(format!(
                "{}x{} pixels cannot be mirrored by {} {what}{}, as far as kernel {} reaches; \
                 zero and replicate padding can",
                image.width(),
                image.height(),
                reach.after,
                if reach.after == 1 { "" } else { "s" },
                kernel.name(),
            ));
        }
        let row_bytes = (columns.padded() as u64).saturating_mul(3 * 4);
        let fitting = |bytes: u64| usize::try_from(bytes / row_bytes).unwrap_or(usize::MAX);
        let (limit, least) = (gpu.profile().limits.max_binding, rows.least_band());
        if least > fitting(limit) {
            return refused(format!(
                "{least} rows of {} pixels with their padding are {} on the device, which binds at most {}",
                image.width(),
                Bytes(row_bytes.saturating_mul(least as u64)),
                Bytes(limit),
            ));
        }
        let bands = rows.bands(fitting(limit.min(options.band_bytes)).max(least));
        Ok(Filter { gpu, image, kernel, options, rows, columns, bands })
    }

    /// Filters on the device.
    ///
    /// # Errors
    /// [`ModelError::Engine`] where the device fails.
    pub fn run(&self) -> Result<Filtered, ModelError> {
        let channels = if self.options.per_channel { 3 } else { 1 };
        let shape = [channels, self.rows.outputs(), self.columns.outputs()];
        let plane = shape[1] * shape[2];
        let mut values = vec![0.0; channels * plane];
        let mut session = Session::new(self.gpu);
        let mut plans = HashMap::new();
        for band in &self.bands {
            let plan = match plans.entry((band.rows.len(), band.top, band.bottom)) {
                Entry::Occupied(plan) => *plan.get(),
                Entry::Vacant(place) => *place.insert(session.load(&self.graph(band)?, &NoWeights)?),
            };
            let outputs = session.run(plan, &[("image", &self.pixels(band)?)])?;
            let filtered = outputs["filtered"].as_f32()?;
            let places = band.outputs.start * shape[2]..band.outputs.end * shape[2];
            for (channel, part) in filtered.chunks_exact(places.len()).enumerate() {
                values[channel * plane..][places.clone()].copy_from_slice(part);
            }
        }
        Ok(Filtered { values, shape })
    }

    /// The image's rows of a band, `[1][3][rows][width]`.
    fn pixels(&self, band: &Band) -> Result<Tensor, ModelError> {
        let width = self.image.width();
        let pixels = &self.image.pixels()[band.rows.start * width * 3..band.rows.end * width * 3];
        let channel = |channel: usize| pixels.iter().skip(channel).step_by(3).map(|value| f32::from(*value));
        let planes = (0..3).flat_map(channel).collect();
        Ok(Tensor::f32([1, 3, band.rows.len(), width], planes)?)
    }

    fn graph(&self, band: &Band) -> Result<Graph, ModelError> {
        let (kernel, columns) = (self.kernel, self.columns);
        let sides = [[band.top, band.bottom], [columns.before, columns.after]];
        let mut g = GraphBuilder::new("filter");
        let image = g.input("image", &[1, 3, band.rows.len(), columns.input], DType::F32);
        let (padded, padding) = match self.options.border {
            Border::Zero => (image, Padding::Sides(sides)),
            Border::Reflect => (g.pad(image, &sides, PadMode::Reflect)?, Padding::Valid),
            Border::Replicate => (g.pad(image, &sides, PadMode::Replicate)?, Padding::Valid),
        };
        // Each channel has the same kernel, whether they are convolved one by one or together.
        let [outputs, inputs] = if self.options.per_channel { [3, 1] } else { [1, 3] };
        let shape = [outputs, inputs, kernel.rows(), kernel.columns()];
        let weight = g.literal(&shape, &kernel.weights().repeat(3))?;
        let options = ConvOptions {
            stride: [self.options.stride; 2],
            padding,
            dilation: [self.options.dilation; 2],
            groups: outputs,
        };
        let filtered = g.scope(kernel.name(), |g| g.conv2d(padded, weight, None, options))?;
        g.output("filtered", filtered);
        Ok(g.finish())
    }
}
