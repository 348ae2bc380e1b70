//! Layers that change a shape and nothing else, and dropout.

use kiln_engine::Value;
use kiln_engine::ops::PadMode;

use crate::cnn::build::Builder;
use crate::cnn::fault::Fault;
use crate::cnn::fields::{COUNT, Codec, FLAG, Fields, PAIR, PROBABILITY, SIDES, SIZE};
use crate::cnn::layer::LayerRules;

/// `dropout`, as `torch.nn.Dropout`: in training, zeros instead of a share of the numbers and the others scaled up.
///
/// Which numbers is drawn from the run's random numbers with the count of dropouts before this one as the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// The share that is zeroed: 0.5.
    pub p: f64,
}

impl Default for Dropout {
    fn default() -> Dropout {
        Dropout { p: 0.5 }
    }
}

impl LayerRules for Dropout {
    const WORD: &'static str = "dropout";
    const PREFIX: &'static str = "drop";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.optional("p", &PROBABILITY, &mut self.p);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        b.dropout(x, self.p as f32)
    }
}

/// `flatten`, as `torch.nn.Flatten` with its defaults: `[N, C, H, W]` to `[N, C * H * W]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flatten;

impl LayerRules for Flatten {
    const WORD: &'static str = "flatten";
    const PREFIX: &'static str = "flatten";

    fn fields(&mut self, _: &mut impl Fields) {}

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let desc = b.g.desc(x);
        let flat = [desc.rows(), desc.row_elements()];
        Ok(b.g.reshape(x, &flat)?)
    }
}

/// `unflatten`, as `torch.nn.Unflatten(1, unflattened_size)`: `[N, C * H * W]` to `[N, C, H, W]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unflatten {
    /// Channels, height and width; required.
    pub unflattened_size: [usize; 3],
}

impl LayerRules for Unflatten {
    const WORD: &'static str = "unflatten";
    const PREFIX: &'static str = "unflatten";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("unflattened_size", &SIZE, &mut self.unflattened_size);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let features = b.features(x)?;
        let [channels, height, width] = self.unflattened_size;
        let elements = channels.saturating_mul(height).saturating_mul(width);
        if elements != features {
            let expected = format!("extents of {features} elements together");
            let got = format!("{:?}, which are {elements}", self.unflattened_size);
            return Err(Fault::new(format!("unflattened_size: expected {expected}, got {got}")));
        }
        let batch = b.g.desc(x).rows();
        Ok(b.g.reshape(x, &[batch, channels, height, width])?)
    }
}

/// `upsample`, as `torch.nn.Upsample` on images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upsample {
    /// Height and width of the output. Either this or a factor is required.
    pub size: Option<[usize; 2]>,
    /// How many times as high and as wide the output is.
    pub scale_factor: Option<[usize; 2]>,
    /// How numbers in between are found: the nearest.
    pub mode: Interpolation,
    /// With bilinear interpolation, whether the corners of input and output fall on each other: no.
    pub align_corners: bool,
}

/// How numbers between those of the input are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest one: `"nearest"`.
    #[default]
    Nearest,
    /// Between the four around it: `"bilinear"`.
    Bilinear,
}

const MODE: Codec<Interpolation> = Codec {
    expected: "\"nearest\" or \"bilinear\"",
    read: |value| match value.as_str()? {
        "nearest" => Some(Interpolation::Nearest),
        "bilinear" => Some(Interpolation::Bilinear),
        _ => None,
    },
    write: |mode| {
        let word = match mode {
            Interpolation::Nearest => "nearest",
            Interpolation::Bilinear => "bilinear",
        };
        toml::Value::String(word.to_owned())
    },
};

impl LayerRules for Upsample {
    const WORD: &'static str = "upsample";
    const PREFIX: &'static str = "upsample";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.absent("size", &PAIR, &mut self.size);
        fields.absent("scale_factor", &PAIR, &mut self.scale_factor);
        fields.optional("mode", &MODE, &mut self.mode);
        fields.optional("align_corners", &FLAG, &mut self.align_corners);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let [_, height, width] = b.image(x)?;
        let output = match (self.size, self.scale_factor) {
            (Some(size), None) => size,
            (None, Some([rows, columns])) => [height.saturating_mul(rows), width.saturating_mul(columns)],
            (Some(_), Some(_)) => return Err(Fault::new("expected either size or scale_factor, got both")),
            (None, None) => return Err(Fault::new("expected size or scale_factor, got neither")),
        };
        match self.mode {
            Interpolation::Nearest if self.align_corners => {
                Err(Fault::new("align_corners: expected mode \"bilinear\" beside it, got \"nearest\""))
            }
            Interpolation::Nearest => Ok(b.g.upsample_nearest2d(x, output)?),
            Interpolation::Bilinear => Ok(b.g.upsample_bilinear2d(x, output, self.align_corners)?),
        }
    }
}

/// Declares the paddings.
macro_rules! pads {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $mode:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            /// Elements on the left, on the right, at the top and at the bottom; required.
            pub padding: [usize; 4],
        }

        impl LayerRules for $name {
            const WORD: &'static str = $word;
            const PREFIX: &'static str = "pad";

            fn fields(&mut self, fields: &mut impl Fields) {
                fields.required("padding", &SIDES, &mut self.padding);
            }

            fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
                b.image(x)?;
                let [left, right, top, bottom] = self.padding;
                Ok(b.g.pad(x, &[[top, bottom], [left, right]], $mode)?)
            }
        }
    )*};
}

pads! {
    /// `zero_pad2d`, as `torch.nn.ZeroPad2d`.
    ZeroPad2d, "zero_pad2d", PadMode::Constant(0.0);
    /// `reflection_pad2d`, as `torch.nn.ReflectionPad2d`: the image mirrored at its border.
    ReflectionPad2d, "reflection_pad2d", PadMode::Reflect;
    /// `replication_pad2d`, as `torch.nn.ReplicationPad2d`: the nearest element.
    ReplicationPad2d, "replication_pad2d", PadMode::Replicate;
}

/// `channel_shuffle`, as `torch.nn.ChannelShuffle`: channels dealt out anew among groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelShuffle {
    /// Groups of neighbouring channels; required.
    pub groups: usize,
}

impl LayerRules for ChannelShuffle {
    const WORD: &'static str = "channel_shuffle";
    const PREFIX: &'static str = "shuffle";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("groups", &COUNT, &mut self.groups);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        Ok(b.g.channel_shuffle(x, self.groups)?)
    }
}
