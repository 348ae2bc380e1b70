//! Every op, through graph, plan and session on the present adapter, against `reference`: a module an op, a table of
//! shapes a module.

mod attention;
mod binary;
mod completeness;
mod concat;
mod embedding;
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
