//! Pooling.

use kiln_engine::ops::{AveragePadding, PoolOptions};
use kiln_engine::{Padding, Value};

use crate::cnn::build::Builder;
use crate::cnn::fault::Fault;
use crate::cnn::fields::{FLAG, Fields, PAIR, PAIR_FROM_0};
use crate::cnn::layer::LayerRules;

/// `max_pool2d`, as `torch.nn.MaxPool2d`.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool2d {
    /// Height and width of the window; required.
    pub kernel_size: [usize; 2],
    /// Distance between neighbouring windows: the window's size.
    pub stride: Option<[usize; 2]>,
    /// Elements around the image, which never win: 0.
    pub padding: [usize; 2],
    /// Distance between neighbouring elements of a window: 1.
    pub dilation: [usize; 2],
    /// Whether what is left over at the ends gets a window too: no.
    pub ceil_mode: bool,
}

impl MaxPool2d {
    /// Square windows side by side.
    pub fn new(kernel_size: usize) -> MaxPool2d {
        MaxPool2d {
            kernel_size: [kernel_size; 2],
            stride: None,
            padding: [0; 2],
            dilation: [1; 2],
            ceil_mode: false,
        }
    }
}

impl Default for MaxPool2d {
    fn default() -> MaxPool2d {
        MaxPool2d::new(0)
    }
}

impl LayerRules for MaxPool2d {
    const WORD: &'static str = "max_pool2d";
    const PREFIX: &'static str = "pool";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("kernel_size", &PAIR, &mut self.kernel_size);
        fields.absent("stride", &PAIR, &mut self.stride);
        fields.optional("padding", &PAIR_FROM_0, &mut self.padding);
        fields.optional("dilation", &PAIR, &mut self.dilation);
        fields.optional("ceil_mode", &FLAG, &mut self.ceil_mode);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let options = PoolOptions {
            kernel: self.kernel_size,
            stride: self.stride.unwrap_or(self.kernel_size),
            padding: Padding::axes(self.padding),
            dilation: self.dilation,
            ceil_mode: self.ceil_mode,
        };
        Ok(b.g.max_pool2d(x, options)?)
    }
}

/// `avg_pool2d`, as `torch.nn.AvgPool2d`.
#[derive(Debug, Clone, PartialEq)]
pub struct AvgPool2d {
    /// Height and width of the window; required.
    pub kernel_size: [usize; 2],
    /// Distance between neighbouring windows: the window's size.
    pub stride: Option<[usize; 2]>,
    /// Zeros around the image: 0.
    pub padding: [usize; 2],
    /// Whether what is left over at the ends gets a window too: no.
    pub ceil_mode: bool,
    /// Whether a mean counts the padding: yes.
    pub count_include_pad: bool,
}

impl AvgPool2d {
    /// Square windows side by side.
    pub fn new(kernel_size: usize) -> AvgPool2d {
        AvgPool2d {
            kernel_size: [kernel_size; 2],
            stride: None,
            padding: [0; 2],
            ceil_mode: false,
            count_include_pad: true,
        }
    }
}

impl Default for AvgPool2d {
    fn default() -> AvgPool2d {
        AvgPool2d::new(0)
    }
}

impl LayerRules for AvgPool2d {
    const WORD: &'static str = "avg_pool2d";
    const PREFIX: &'static str = "pool";

    fn fields(&mut self, fields: &mut impl Fields) {
        fields.required("kernel_size", &PAIR, &mut self.kernel_size);
        fields.absent("stride", &PAIR, &mut self.stride);
        fields.optional("padding", &PAIR_FROM_0, &mut self.padding);
        fields.optional("ceil_mode", &FLAG, &mut self.ceil_mode);
        fields.optional("count_include_pad", &FLAG, &mut self.count_include_pad);
    }

    fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
        let options = PoolOptions {
            kernel: self.kernel_size,
            stride: self.stride.unwrap_or(self.kernel_size),
            padding: Padding::axes(self.padding),
            dilation: [1; 2],
            ceil_mode: self.ceil_mode,
        };
        let padding = if self.count_include_pad { AveragePadding::Include } else { AveragePadding::Exclude };
        Ok(b.g.avg_pool2d(x, options, padding)?)
    }
}

/// Declares the poolings whose output has a size of its own.
macro_rules! adaptive {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            /// Height and width of the output; required. 1 is one number for each channel.
            pub output_size: [usize; 2],
        }

        impl $name {
            /// A square output.
            pub fn new(output_size: usize) -> $name {
                $name { output_size: [output_size; 2] }
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name::new(0)
            }
        }

        impl LayerRules for $name {
            const WORD: &'static str = $word;
            const PREFIX: &'static str = "pool";

            fn fields(&mut self, fields: &mut impl Fields) {
                fields.required("output_size", &PAIR, &mut self.output_size);
            }

            fn build(&self, b: &mut Builder<'_>, x: Value) -> Result<Value, Fault> {
                b.image(x)?;
                Ok(b.g.$method(x, self.output_size)?)
            }
        }
    )*};
}

adaptive! {
    /// `adaptive_avg_pool2d`, as `torch.nn.AdaptiveAvgPool2d`.
    AdaptiveAvgPool2d, "adaptive_avg_pool2d", adaptive_avg_pool2d;
    /// `adaptive_max_pool2d`, as `torch.nn.AdaptiveMaxPool2d`.
    AdaptiveMaxPool2d, "adaptive_max_pool2d", adaptive_max_pool2d;
}
