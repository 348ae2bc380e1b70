//! The closed set of ops: one file each, one line each below.
//!
//! An op says what it makes of its inputs' descriptions (`infer`) and which kernels make it (`lower`).

mod adaptive_pool2d;
mod attention;
mod batch_norm;
mod binary;
mod concat;
mod conv2d;
mod conv_transpose2d;
mod embedding;
mod group_norm;
mod index_select;
mod l2_normalize;
mod layer_norm;
mod local_response_norm;
mod matmul;
mod pack_panels;
mod pad;
mod permute;
mod pool2d;
mod prelu;
mod reduce;
mod reshape;
mod segment_mean;
mod slice;
mod softmax;
mod unary;
mod upsample2d;

use std::fmt;

use crate::error::{Mismatch, Result};
use crate::graph::check_desc;
use crate::lower::Lowering;
use crate::tensor::TensorDesc;

pub use crate::epilogue::Epilogue;
pub(crate) use adaptive_pool2d::longest_window;
pub use adaptive_pool2d::{AdaptivePool2d, AdaptivePooling};
pub use attention::Attention;
pub use batch_norm::BatchNorm;
pub use binary::Binary;
pub use concat::Concat;
pub use conv_transpose2d::{
    ConvTranspose2d, ConvTransposeGeometry, ConvTransposeOptions, ConvTransposeWeight, TransposedAxis,
};
pub use conv2d::{Conv2d, ConvGeometry, ConvOptions, ConvWeight};
pub use embedding::Embedding;
pub use group_norm::GroupNorm;
pub use index_select::IndexSelect;
pub use l2_normalize::L2Normalize;
pub use layer_norm::LayerNorm;
pub use local_response_norm::LocalResponseNorm;
pub(crate) use matmul::Geometry as MatmulGeometry;
pub use matmul::{Matmul, RhsLayout};
pub use pack_panels::{PANEL, PackPanels};
pub use pad::{Pad, PadMode};
pub use permute::Permute;
pub use pool2d::{AveragePadding, Pool2d, PoolOptions, Pooling};
pub use prelu::Prelu;
pub use reduce::{Reduce, Reduction};
pub use reshape::Reshape;
pub use segment_mean::SegmentMean;
pub use slice::Slice;
pub use softmax::Softmax;
pub use unary::{Activation, Unary};
pub use upsample2d::{Upsample2d, Upsampling};

/// A number in an op's options, compared and hashed by its bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scalar(u32);

impl Scalar {
    /// Wraps a number.
    pub fn new(value: f32) -> Self {
        Self(value.to_bits())
    }

    /// The number.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

/// What every op brings with it; the macro below makes the closed set of them.
pub(crate) trait OpRules: fmt::Debug {
    /// The op's name in errors, plans and timings.
    const NAME: &'static str;
    /// Description of the output. The inputs are of a legal rank and size, without an empty dimension.
    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch>;
    /// Emits the dispatches that compute the output.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()>;
}

macro_rules! ops {
    ($($name:ident)*) => {
        /// An op with its options. Inputs are the node's affair.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each variant is documented by the type it holds")]
        pub enum Op {
            $($name($name),)*
        }

        impl Op {
            /// The op's name, such as `layer_norm`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Op::$name(_) => <$name as OpRules>::NAME,)*
                }
            }

            /// Description of the output, from those of the inputs.
            ///
            /// # Errors
            /// A [`Mismatch`] where the op cannot work on such inputs, or one of them or the output is empty or larger
            /// than any device holds.
            pub fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
                inputs.iter().try_for_each(|input| check_desc(input))?;
                let output = match self {
                    $(Op::$name(op) => op.infer(inputs)?,)*
                };
                check_desc(&output)?;
                Ok(output)
            }

            pub(crate) fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
                match self {
                    $(Op::$name(op) => op.lower(lowering),)*
                }
            }
        }

        impl fmt::Display for Op {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Op::$name(op) => write!(f, "{op:?}"),)*
                }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*
    };
}

ops! {
    AdaptivePool2d Attention BatchNorm Binary Concat Conv2d ConvTranspose2d Embedding GroupNorm IndexSelect L2Normalize
    LayerNorm LocalResponseNorm Matmul PackPanels Pad Permute Pool2d Prelu Reduce Reshape SegmentMean Slice Softmax
    Unary Upsample2d
}

/// Checks shared by the ops' `infer`.
pub(crate) mod expect {
    use crate::error::Mismatch;
    use crate::tensor::{DType, TensorDesc};

    /// Exactly `N` inputs.
    pub(crate) fn inputs<'a, const N: usize>(
        inputs: &[&'a TensorDesc],
    ) -> Result<[&'a TensorDesc; N], Mismatch> {
        <[&TensorDesc; N]>::try_from(inputs).map_err(|_| Mismatch::new("number of inputs", N, inputs.len()))
    }

    /// The element type.
    pub(crate) fn dtype(what: &str, desc: &TensorDesc, dtype: DType) -> Result<(), Mismatch> {
        if desc.dtype == dtype { Ok(()) } else { Err(Mismatch::new(format!("{what} type"), dtype, desc)) }
    }

    /// The whole shape.
    pub(crate) fn shape(what: &str, desc: &TensorDesc, shape: &[usize]) -> Result<(), Mismatch> {
        if desc.shape == shape { Ok(()) } else { Err(Mismatch::new(what, format!("{shape:?}"), desc)) }
    }

    /// The whole shape, of f32.
    pub(crate) fn numbers(what: &str, desc: &TensorDesc, extents: &[usize]) -> Result<(), Mismatch> {
        dtype(what, desc, DType::F32)?;
        shape(what, desc, extents)
    }

    /// The number of dimensions.
    pub(crate) fn rank(what: &str, desc: &TensorDesc, rank: usize) -> Result<(), Mismatch> {
        if desc.rank() == rank { Ok(()) } else { Err(Mismatch::new(format!("{what} rank"), rank, desc)) }
    }

    /// `[N, C]` or `[N, C, ...]` of `f32`; gives C.
    pub(crate) fn channels(input: &TensorDesc) -> Result<usize, Mismatch> {
        dtype("input", input, DType::F32)?;
        let channels = input.shape.get(1).copied();
        channels.ok_or_else(|| Mismatch::new("input rank", "at least 2, as [N, C, ...] has", input))
    }

    /// An existing dimension.
    pub(crate) fn dim(dim: usize, desc: &TensorDesc) -> Result<(), Mismatch> {
        if dim < desc.rank() {
            Ok(())
        } else {
            Err(Mismatch::new("dim", format!("less than the rank of {desc}"), dim))
        }
    }
}
