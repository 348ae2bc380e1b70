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
mod array;
mod attention;
mod batch_norm;
mod binary;
mod concat;
mod conv2d;
mod conv_transpose2d;
mod embedding;
mod erf;
mod group_norm;
mod index_select;
mod l2_normalize;
mod layer_norm;
mod local_response_norm;
mod matmul;
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

pub use adaptive_pool2d::{adaptive_avg_pool2d, adaptive_max_pool2d};
pub use array::Array;
pub use attention::{Attention, attention, attention_terms};
pub use batch_norm::{batch_norm, batch_norm_terms};
pub use binary::{add, div, maximum, minimum, mul, sub};
pub use concat::concat;
pub use conv_transpose2d::{ConvTranspose, conv_transpose1d, conv_transpose2d};
pub use conv2d::{Conv, conv1d, conv2d};
pub use embedding::embedding;
pub use erf::{erf, erfc};
pub use group_norm::{group_norm, group_norm_terms};
pub use index_select::index_select;
pub use l2_normalize::{l2_normalize, l2_normalize_terms};
pub use layer_norm::{layer_norm, layer_norm_terms};
pub use local_response_norm::{LocalResponseNorm, local_response_norm, local_response_norm_terms};
pub use matmul::{linear, matmul};
pub use pad::{Pad, pad};
pub use permute::permute;
pub use pool2d::{
    Pool, avg_pool1d, avg_pool2d, max_pool1d, max_pool1d_indices, max_pool2d, max_pool2d_indices,
};
pub use prelu::prelu;
pub use reduce::{argmax, max, mean, sum};
pub use reshape::reshape;
pub use segment_mean::segment_mean;
pub use slice::slice;
pub use softmax::{log_softmax, log_softmax_terms, softmax, softmax_terms};
pub use unary::{Unary, unary};
pub use upsample2d::{upsample_bilinear2d, upsample_nearest2d};
