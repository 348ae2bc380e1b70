//! matmul_pack
//!
//! output[b][panel][k][j] = input[b][k][8 * (panel_start + panel) + j], zero where that column is past the end
//!
//! Lays the right side of a product out in panels of eight columns, as matmul_register reads it: the eight values
//! that meet one value of the left side lie together. The destination piece holds `panels` panels from
//! panel_start on; count is its length, batch * panels * depth * 8. The bound source piece holds the columns
//! [col_first, col_end) of the matrix and starts at col_first; its strides are in elements (batch stride 0 where
//! the batch shares it). A destination element whose column lies in another source piece is left as it is, so
//! one dispatch for each source piece fills the destination.
//!
//! One invocation makes one element, a workgroup THREADS neighbours. Runs once a weight, at load.
//!
//! uses: grid
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;

struct Params {
    count: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    src_batch_stride: u32,
    src_k_stride: u32,
    src_col_stride: u32,
    panel_start: u32,
    panels: u32,
    col_first: u32,
    col_end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let element = flat_workgroup(group, groups) * THREADS + thread;
    if (element >= params.count) {
        return;
    }
    let k = (element / 8u) % params.depth;
    let panel = (element / 8u / params.depth) % params.panels;
    let b = element / 8u / params.depth / params.panels;
    let col = (params.panel_start + panel) * 8u + element % 8u;
    if (col >= params.cols) {
        output[element] = 0.0;
        return;
    }
    if (b < params.batch && col >= params.col_first && col < params.col_end) {
        let piece_col = u32(i32(col) - i32(params.col_first));
        let at = b * params.src_batch_stride + k * params.src_k_stride + piece_col * params.src_col_stride;
        output[element] = input[at];
    }
}
