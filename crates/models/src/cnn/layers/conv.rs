//! Convolutions.

use kiln_engine::ops::{ConvOptions, ConvTransposeOptions};
use kiln_engine::{Padding, Value};

use crate::cnn::build::Builder;
use crate::cnn::fault::Fault;
use crate::cnn::fields::{COUNT, Codec, FLAG, Fields, PAIR, PAIR_FROM_0, pair, write_pair};
use crate::cnn::layer::LayerRules;

/// `conv2d`, as `torch.nn.Conv2d`: a weight of `[out_channels, in / groups, kh, kw]` and a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2d {
    /// Channels of the output; required.
    pub out_channels: usize,
    /// Height and width of the window; required.
    pub kernel_size: [usize; 2],
    /// Distance between neighbouring windows: 1.
    pub stride: [usize; 2],
    /// What surrounds the image: nothing.
    pub padding: Surround,
    /// Distance between neighbouring taps: 1.
    pub dilation: [usize; 2],
    /// Groups of channels that are convolved by themselves: 1. As many as channels make the convolution depthwise.
    pub groups: usize,
    /// Whether there is a bias: yes.
    pub bias: bool,
    /// Channels that the input must have; any where it is not given.
    pub in_channels: Option<usize>,
}

/// What surrounds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surround {
    /// So many zeros on either side of height and width. None of them: PyTorch's `"valid"`.
    Zeros([usize; 2]),
    /// As many as keep the size; the stride must be 1. The odd one stands behind: PyTorch's `"same"`.
    Same,
}

const PADDING: Codec<Surround> = Codec {
    expected: "a whole number from 0 to 65536, [height, width], \"same\" or \"valid\"",
    read: |value| match value.as_str() {
        Some("same") => Some(Surround::Same),
        Some("valid") => Some(Surround::Zeros([0; 2])),
        Some(_) => None,
        None => pair(value, 0).map(Surround::Zeros),
    },
    write: |padding| match padding {
        Surround::Same => toml::Value::String("same".to_owned()),
        Surround::Zeros(zeros) => write_pair(zeros),
    },
};

impl Conv2d {
    /// A convolution with a square window.
    pub fn new(out_channels: usize, kernel_size: usize) -> Conv2d {
        Conv2d {
            out_channels,
            kernel_size: [kernel_size; 2],
            stride: [1; 2],
            padding: Surround::Zeros([0; 2]),
            dilation: [1; 2],
            groups: 1,
            bias: true,
            in_channels: None,
        }
    }

    /// The same with another stride.
    pub fn stride(self, stride: usize) -> Conv2d {
        Conv2d { stride: [stride; 2], ..self }
    }

    /// The same with zeros on all sides.
    pub fn padding(self, padding: usize) -> Conv2d {
        Conv2d { padding: Surround::Zeros([padding; 2]), ..self }
    }

    /// The same in groups.
    pub fn groups(self, groups: usize) -> Conv2d {
        Conv2d { groups, ..self }
    }

    /// The same without a bias, as in front of a batch norm.
    pub fn without_bias(self) -> Conv2d {
        Conv2d { bias: false, ..self }
    }
}

impl Default for Conv2d {
    fn default() -> Conv2d {
        Conv2d::new(0, 0)
    }
}

impl LayerRules for Conv2d {
    const WORD: &'static str = "conv2d";
    const PREFIX: &'static str = "conv";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("out_channels", &COUNT, &mut self.out_channels);
        fields.required("kernel_size", &PAIR, &mut self.kernel_size);
        fields.optional("stride", &PAIR, &mut self.stride);
        fields.optional("padding", &PADDING, &mut self.padding);
        fields.optional("dilation", &PAIR, &mut self.dilation);
        fields.optional("groups", &COUNT, &mut self.groups);
        fields.optional("bias", &FLAG, &mut self.bias);
        fields.absent("in_channels", &COUNT, &mut self.in_channels);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let [channels, ..] = b.image(x)?;
        b.expect("in_channels", self.in_channels, channels)?;
        if self.padding == Surround::Same && self.stride != [1; 2] {
            let stride = self.stride;
            return Err(Fault::new(format!("padding \"same\": expected a stride of 1, got {stride:?}")));
        }
        let [height, width] = self.kernel_size;
        let depth = channels.checked_div(self.groups).unwrap_or(0);
        let (weight, bias) =
            b.learned(&[self.out_channels, depth, height, width], self.out_channels, self.bias)?;
        let options = ConvOptions {
            stride: self.stride,
            padding: match self.padding {
                Surround::Zeros(zeros) => Padding::axes(zeros),
                Surround::Same => Padding::Same,
            },
            dilation: self.dilation,
            groups: self.groups,
        };
        Ok(b.g.conv2d(x, weight, bias, options)?)
    }
}

/// `conv_transpose2d`, as `torch.nn.ConvTranspose2d`: a weight of `[in, out_channels / groups, kh, kw]` and a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvTranspose2d {
    /// Channels of the output; required.
    pub out_channels: usize,
    /// Height and width of the window; required.
    pub kernel_size: [usize; 2],
    /// Distance in the output between what neighbouring inputs give: 1.
    pub stride: [usize; 2],
    /// Elements that are left out at either end of the output: 0.
    pub padding: [usize; 2],
    /// Elements added at the far ends of the output: 0.
    pub output_padding: [usize; 2],
    /// Groups of channels that are convolved by themselves: 1.
    pub groups: usize,
    /// Whether there is a bias: yes.
    pub bias: bool,
    /// Distance between neighbouring taps: 1.
    pub dilation: [usize; 2],
    /// Channels that the input must have; any where it is not given.
    pub in_channels: Option<usize>,
}

impl ConvTranspose2d {
    /// A transposed convolution with a square window.
    pub fn new(out_channels: usize, kernel_size: usize) -> ConvTranspose2d {
        ConvTranspose2d {
            out_channels,
            kernel_size: [kernel_size; 2],
            stride: [1; 2],
            padding: [0; 2],
            output_padding: [0; 2],
            groups: 1,
            bias: true,
            dilation: [1; 2],
            in_channels: None,
        }
    }

    /// The same with another stride.
    pub fn stride(self, stride: usize) -> ConvTranspose2d {
        ConvTranspose2d { stride: [stride; 2], ..self }
    }

    /// The same with so much left out on all sides.
    pub fn padding(self, padding: usize) -> ConvTranspose2d {
        ConvTranspose2d { padding: [padding; 2], ..self }
    }
}

impl Default for ConvTranspose2d {
    fn default() -> ConvTranspose2d {
        ConvTranspose2d::new(0, 0)
    }
}

impl LayerRules for ConvTranspose2d {
    const WORD: &'static str = "conv_transpose2d";
    const PREFIX: &'static str = "deconv";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("out_channels", &COUNT, &mut self.out_channels);
        fields.required("kernel_size", &PAIR, &mut self.kernel_size);
        fields.optional("stride", &PAIR, &mut self.stride);
        fields.optional("padding", &PAIR_FROM_0, &mut self.padding);
        fields.optional("output_padding", &PAIR_FROM_0, &mut self.output_padding);
        fields.optional("groups", &COUNT, &mut self.groups);
        fields.optional("bias", &FLAG, &mut self.bias);
        fields.optional("dilation", &PAIR, &mut self.dilation);
        fields.absent("in_channels", &COUNT, &mut self.in_channels);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let [channels, ..] = b.image(x)?;
        b.expect("in_channels", self.in_channels, channels)?;
        if self.groups == 0 || !self.out_channels.is_multiple_of(self.groups) {
            let expected = format!("a divisor of the {} out_channels", self.out_channels);
            return Err(Fault::new(format!("groups: expected {expected}, got {}", self.groups)));
        }
        let [height, width] = self.kernel_size;
        let shape = [channels, self.out_channels / self.groups, height, width];
        let (weight, bias) = b.learned(&shape, self.out_channels, self.bias)?;
        let options = ConvTransposeOptions {
            stride: self.stride,
            padding: self.padding,
            output_padding: self.output_padding,
            dilation: self.dilation,
            groups: self.groups,
        };
        Ok(b.g.conv_transpose2d(x, weight, bias, options)?)
    }
}
