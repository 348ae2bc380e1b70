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

mod array;
mod attention;
mod binary;
mod concat;
mod embedding;
mod erf;
mod index_select;
mod l2_normalize;
mod layer_norm;
mod matmul;
mod permute;
mod reduce;
mod reshape;
mod segment_mean;
mod slice;
mod softmax;
mod unary;

pub use array::Array;
pub use attention::{Attention, attention, attention_terms};
pub use binary::{add, div, maximum, minimum, mul, sub};
pub use concat::concat;
pub use embedding::embedding;
pub use erf::{erf, erfc};
pub use index_select::index_select;
pub use l2_normalize::{l2_normalize, l2_normalize_terms};
pub use layer_norm::{layer_norm, layer_norm_terms};
pub use matmul::{linear, matmul};
pub use permute::permute;
pub use reduce::{argmax, max, mean, sum};
pub use reshape::reshape;
pub use segment_mean::segment_mean;
pub use slice::slice;
pub use softmax::{softmax, softmax_terms};
pub use unary::{Unary, unary};
