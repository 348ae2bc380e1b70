//! The closed set of ops: one file each, one line each below.
//!
//! An op says what it makes of its inputs' descriptions (`infer`), how much that is to compute (`work`), which kernels make
//! it (`lower`), and how its inputs' gradients follow from its output's (`backward`).

mod adaptive_pool2d;
mod adaptive_pool2d_grad;
mod attention;
mod attention_grad;
mod attention_grad_sums;
mod avg_pool2d_grad;
mod batch_norm;
mod batch_norm_grad;
mod binary;
mod cached_attention;
mod channel_join;
mod channel_sum;
mod concat;
mod conv2d;
mod conv2d_weight_grad;
mod conv_transpose2d;
mod conv_weight_flip;
mod cross_entropy;
mod cross_entropy_grad;
mod dropout;
mod embedding;
mod expand;
mod flat_concat;
mod gated;
mod group_norm;
mod guard;
mod index_add;
mod index_rows;
mod index_select;
mod join_parts;
mod l2_normalize;
mod layer_norm;
mod local_response_norm;
mod local_response_norm_grad;
mod matmul;
mod max_pool2d_grad;
mod norm_cross_attention;
mod norm_linear;
mod norm_self_attention;
mod one_hot;
mod pack_half;
mod pack_half_panels;
mod pack_panels;
mod pad;
mod pad_grad;
mod permute;
mod pick;
mod pool2d;
mod prelu;
mod reduce;
mod reshape;
mod rms_norm;
mod segment_mean;
mod segment_mean_grad;
mod slice;
mod softmax;
mod split_sum;
mod sum_of_squares;
mod unary;
mod unary_grad;
mod unpack_half;
mod upsample2d;
mod upsample2d_grad;
mod winograd_input;
mod winograd_output;
mod winograd_weight;

use std::fmt;

use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::{Value, check_desc};
use crate::lower::Lowering;
use crate::tensor::TensorDesc;
use crate::work::Work;

pub use crate::epilogue::Epilogue;
pub(crate) use adaptive_pool2d::longest_window;
pub use adaptive_pool2d::{AdaptivePool2d, AdaptivePooling};
pub use adaptive_pool2d_grad::AdaptivePool2dGrad;
pub use attention::Attention;
pub use attention_grad::{AttentionGrad, AttentionInput};
pub use attention_grad_sums::AttentionGradSums;
pub use avg_pool2d_grad::AvgPool2dGrad;
pub use batch_norm::{BatchNorm, Statistics};
pub use batch_norm_grad::BatchNormGrad;
pub use binary::Binary;
pub use cached_attention::CachedAttention;
pub use channel_join::{ChannelJoin, ChannelResult};
pub use channel_sum::{ChannelSum, ChannelTerms};
pub use concat::Concat;
pub use conv_transpose2d::{
    ConvTranspose2d, ConvTransposeGeometry, ConvTransposeOptions, ConvTransposeWeight, TransposedAxis,
};
pub use conv_weight_flip::ConvWeightFlip;
pub use conv2d::{Conv2d, ConvGeometry, ConvOptions, ConvWeight};
pub use conv2d_weight_grad::Conv2dWeightGrad;
pub use cross_entropy::CrossEntropy;
pub use cross_entropy_grad::CrossEntropyGrad;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use expand::Expand;
pub use flat_concat::FlatConcat;
pub use gated::Gated;
pub use group_norm::GroupNorm;
pub use guard::Guard;
pub use index_add::IndexAdd;
pub use index_rows::IndexRows;
pub use index_select::IndexSelect;
pub use join_parts::JoinParts;
pub use l2_normalize::L2Normalize;
pub use layer_norm::LayerNorm;
pub use local_response_norm::LocalResponseNorm;
pub use local_response_norm_grad::LocalResponseNormGrad;
pub(crate) use matmul::Geometry as MatmulGeometry;
pub use matmul::{LhsLayout, Matmul, RhsLayout};
pub use max_pool2d_grad::MaxPool2dGrad;
pub use norm_cross_attention::NormCrossAttention;
pub use norm_linear::NormLinear;
pub use norm_self_attention::NormSelfAttention;
pub use one_hot::OneHot;
pub use pack_half::PackHalf;
pub use pack_half_panels::PackHalfPanels;
pub use pack_panels::{PANEL, PackPanels};
pub use pad::{Pad, PadMode};
pub use pad_grad::PadGrad;
pub use permute::Permute;
pub use pick::Pick;
pub use pool2d::{AveragePadding, Pool2d, PoolOptions, Pooling};
pub use prelu::Prelu;
pub use reduce::{Reduce, Reduction};
pub use reshape::Reshape;
pub use rms_norm::RmsNorm;
pub use segment_mean::SegmentMean;
pub use segment_mean_grad::SegmentMeanGrad;
pub use slice::Slice;
pub use softmax::Softmax;
pub use split_sum::{SplitSum, Summed};
pub use sum_of_squares::SumOfSquares;
pub use unary::{Activation, Unary};
pub use unary_grad::{GradientReads, UnaryGrad};
pub use unpack_half::UnpackHalf;
pub use upsample2d::{Upsample2d, Upsampling};
pub use upsample2d_grad::Upsample2dGrad;
pub use winograd_input::WinogradInput;
pub use winograd_output::WinogradOutput;
pub use winograd_weight::WinogradWeight;

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
    /// That name; another where the op stands for several of PyTorch's.
    fn name(&self) -> &'static str {
        Self::NAME
    }
    /// Description of the output. The inputs are of a legal rank and size, without an empty dimension.
    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch>;
    /// How much it computes: unless it says otherwise, an operation for each element of the largest tensor.
    fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
        Work::by_element(inputs.iter().copied().chain([output]))
    }
    /// Emits the dispatches that compute the output.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()>;
    /// Adds nodes that compute the gradients of the inputs from that of the output, and gives them in the inputs' order;
    /// `None` for those that nobody [wants](Backward::wants).
    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        Err(backward.refuse(format!("an op that has a gradient, which {} has not", self.name())))
    }
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
                    $(Op::$name(op) => OpRules::name(op),)*
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

            /// How much it computes of inputs and an output of such shapes, as [`infer`](Self::infer) allows them.
            pub fn work(&self, inputs: &[&TensorDesc], output: &TensorDesc) -> Work {
                match self {
                    $(Op::$name(op) => op.work(inputs, output),)*
                }
            }

            pub(crate) fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
                match self {
                    $(Op::$name(op) => op.lower(lowering),)*
                }
            }

            pub(crate) fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
                match self {
                    $(Op::$name(op) => op.backward(backward),)*
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
    AdaptivePool2d AdaptivePool2dGrad Attention AttentionGrad AttentionGradSums AvgPool2dGrad BatchNorm BatchNormGrad Binary CachedAttention ChannelJoin ChannelSum Concat Conv2d
    Conv2dWeightGrad ConvTranspose2d ConvWeightFlip CrossEntropy CrossEntropyGrad Dropout Embedding Expand FlatConcat Gated GroupNorm Guard IndexAdd IndexRows IndexSelect JoinParts L2Normalize
    LayerNorm LocalResponseNorm LocalResponseNormGrad Matmul MaxPool2dGrad NormCrossAttention NormLinear NormSelfAttention OneHot PackHalf PackHalfPanels PackPanels Pad PadGrad Permute Pick Pool2d Prelu Reduce Reshape RmsNorm
    SegmentMean SegmentMeanGrad Slice Softmax SplitSum SumOfSquares Unary UnaryGrad UnpackHalf Upsample2d Upsample2dGrad
    WinogradInput WinogradOutput WinogradWeight
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
