//! Kernels alone on the present adapter: every row of the catalogue against `reference`, with guarded bindings; and
//! broken ones, each of which the harness must catch.

mod attention;
mod broken;
mod conv2d;
mod conv_transpose2d;
mod coverage;
mod elementwise;
mod matmul;
mod moves;
mod planes;
mod pool;
mod resample;
mod rows;
mod support;
mod threads;
