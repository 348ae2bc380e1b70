//! Every op, through graph, plan and session on the present adapter, against `reference`: a module an op, a table of
//! shapes a module.

mod adaptive_pool2d;
mod attention;
mod batch_norm;
mod binary;
mod completeness;
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
mod pad;
mod permute;
mod pool2d;
mod prelu;
mod pytorch;
mod reduce;
mod reshape;
mod segment_mean;
mod slice;
mod softmax;
mod unary;
mod upsample2d;
mod worked_examples;
