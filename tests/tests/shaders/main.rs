//! Kernels alone on the present adapter: every row of the catalogue against `reference`, with guarded bindings; and
//! broken ones, each of which the harness must catch.

mod attention;
mod attention_grad;
mod broken;
mod cached_attention;
mod columns;
mod conv2d;
mod conv2d_grad_weight;
mod conv2d_lanes;
mod conv_transpose2d;
mod coverage;
mod elementwise;
mod index_add;
mod join_parts;
mod local_response_norm_grad;
mod losses;
mod matmul;
mod matmul_lanes;
mod matmul_pack;
mod moves;
mod norm_step;
mod norms;
mod planes;
mod pool;
mod pool_grad;
mod random;
mod resample;
mod resample_grad;
mod rows;
mod support;
mod threads;
mod unary_grad;
mod updates;
mod winograd;
