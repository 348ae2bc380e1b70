//! The oracle: every Kiln op as plain `f64` loops over row-major arrays.
//!
//! Nothing here is clever, and nothing is shared with the code under test: this crate has no dependency, no shape
//! rule of the engine and no constant of a shader. It is read beside a paper or the PyTorch documentation and
//! believed. One file per op, with the same stem as the op in `engine` and its tests.
//!
//! An op on shapes that do not fit panics: the caller is a test, and its table is wrong.
//!
//! # Tolerances
//! The error of a computation in `f32` is bounded by a small constant times the machine epsilon times the sum of
//! the absolute values of the terms that were added. For a linear op that sum is the op itself on absolute values
//! ([`Array::abs`]); ops that are not linear have a function `…_terms` beside them, which gives the same quantity
//! to first order.

mod adaptive_pool2d;
mod adaptive_pool2d_grad;
mod array;
mod attention;
mod attention_grad;
mod attention_grad_sums;
mod avg_pool2d_grad;
mod batch_norm;
mod batch_norm_grad;
mod binary;
mod cached_attention;
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
mod erf;
mod expand;
mod flat_concat;
mod gated;
mod group_norm;
mod guard;
mod index_add;
mod index_rows;
mod index_select;
mod l2_normalize;
mod layer_norm;
mod local_response_norm;
mod local_response_norm_grad;
mod loss;
mod matmul;
mod max_pool2d_grad;
mod one_hot;
pub mod optimizer;
mod pack_half;
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
mod sum_of_squares;
mod unary;
mod unary_grad;
mod unpack_half;
mod upsample2d;
mod upsample2d_grad;
mod winograd;
mod winograd_input;
mod winograd_output;
mod winograd_weight;

pub use adaptive_pool2d::{adaptive_avg_pool2d, adaptive_max_pool2d, adaptive_max_pool2d_indices};
pub use adaptive_pool2d_grad::{adaptive_avg_pool2d_grad, adaptive_max_pool2d_grad};
pub use array::Array;
pub use attention::{Attention, attention, attention_terms, relative_attention, relative_attention_terms};
pub use attention_grad::{attention_grad, attention_grad_terms};
pub use attention_grad_sums::{attention_grad_sums, attention_grad_sums_terms};
pub use avg_pool2d_grad::avg_pool2d_grad;
pub use batch_norm::{batch_norm, batch_norm_terms};
pub use batch_norm_grad::{batch_norm_grad, batch_norm_grad_terms, batch_norm_training, relu_of_norm_grad};
pub use binary::{add, div, equal, greater, maximum, minimum, mul, sub};
pub use cached_attention::{cached_attention, cached_attention_terms};
pub use channel_sum::{channel_dot, channel_mean, channel_sum, channel_variance};
pub use concat::concat;
pub use conv_transpose2d::{ConvTranspose, conv_transpose1d, conv_transpose2d};
pub use conv_weight_flip::conv_weight_flip;
pub use conv2d::{Conv, conv1d, conv2d};
pub use conv2d_weight_grad::conv2d_weight_grad;
pub use cross_entropy::{cross_entropy, cross_entropy_terms};
pub use cross_entropy_grad::{cross_entropy_grad, cross_entropy_grad_terms};
pub use dropout::{dropout, philox};
pub use embedding::embedding;
pub use erf::{erf, erfc};
pub use expand::expand;
pub use flat_concat::flat_concat;
pub use gated::gated;
pub use group_norm::{group_norm, group_norm_terms};
pub use guard::guard;
pub use index_add::index_add;
pub use index_rows::index_rows;
pub use index_select::index_select;
pub use l2_normalize::{l2_normalize, l2_normalize_terms};
pub use layer_norm::{layer_norm, layer_norm_terms};
pub use local_response_norm::{LocalResponseNorm, local_response_norm, local_response_norm_terms};
pub use local_response_norm_grad::{local_response_norm_grad, local_response_norm_grad_terms};
pub use loss::{
    bce_with_logits, l1_loss, label_weights, mse_loss, multi_margin_loss, nll_loss, smooth_l1_loss,
};
pub use matmul::{linear, matmul};
pub use max_pool2d_grad::max_pool2d_grad;
pub use one_hot::one_hot;
pub use pack_half::pack_half;
pub use pad::{Pad, pad};
pub use pad_grad::pad_grad;
pub use permute::permute;
pub use pick::pick;
pub use pool2d::{
    Pool, avg_pool1d, avg_pool2d, max_pool1d, max_pool1d_indices, max_pool2d, max_pool2d_indices,
};
pub use prelu::prelu;
pub use reduce::{argmax, max, mean, sum};
pub use reshape::reshape;
pub use rms_norm::rms_norm;
pub use segment_mean::segment_mean;
pub use segment_mean_grad::segment_mean_grad;
pub use slice::slice;
pub use softmax::{log_softmax, log_softmax_terms, softmax, softmax_terms};
pub use sum_of_squares::sum_of_squares;
pub use unary::{Unary, unary};
pub use unary_grad::unary_grad;
pub use unpack_half::unpack_half;
pub use upsample2d::{upsample_bilinear2d, upsample_nearest2d};
pub use upsample2d_grad::{upsample_bilinear2d_grad, upsample_nearest2d_grad};
pub use winograd::{Winograd, winograd_terms};
pub use winograd_input::winograd_input;
pub use winograd_output::winograd_output;
pub use winograd_weight::winograd_weight;
