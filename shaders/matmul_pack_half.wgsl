//! matmul_pack_half
//!
//! output[b][panel][k][j] = input[b][c][k] and input[b][c + 1][k] as halves, c = 8 * (panel_start + panel) + 2 j; zero where
//! that column is past the end
//!
//! matmul_pack for a right side of halves, two columns in a word, so that a vec4 holds the eight columns of a panel that meet
//! one value of the left side. input is [batch][cols][depth] of numbers, which are rounded, or with PACKED=1
//! [batch][cols][depth / 2] of words by pack_half, with two k in each. The destination piece
//! holds `panels` panels from panel_start on; count is its length in words, batch * panels * depth * 4. The bound source
//! piece holds the columns [col_first, col_end) and starts at col_first. Halves whose column lies in another source piece
//! are left as they are, so one dispatch for each source piece fills the destination.
//!
//! One invocation makes one word, a workgroup THREADS neighbours. Runs once a weight, at load.
//!
//! uses: grid, half
//! variants:
//!   base   THREADS=64

override THREADS: u32 = 64u;
override PACKED: u32 = 0u;

struct Params {
    count: u32,
    cols: u32,
    depth: u32,
    batch: u32,
    // In words.
    src_batch_stride: u32,
    panel_start: u32,
    panels: u32,
    col_first: u32,
    col_end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

// The half of a column at k, or the one that is there.
fn column(b: u32, col: u32, k: u32, before: u32) -> u32 {
    if (col >= params.cols) {
        return 0u;
    }
    if (col < params.col_first || col >= params.col_end) {
        return before & 0xffffu;
    }
    let piece_col = u32(i32(col) - i32(params.col_first));
    let element = piece_col * params.depth + k;
    if (PACKED == 1u) {
        let word = input[b * params.src_batch_stride + element / 2u];
        return (word >> (k % 2u * 16u)) & 0xffffu;
    }
    return half_of(input[b * params.src_batch_stride + element]);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let word = flat_workgroup(group, groups) * THREADS + thread;
    if (word >= params.count) {
        return;
    }
    let k = (word / 4u) % params.depth;
    let panel = (word / 4u / params.depth) % params.panels;
    let b = word / 4u / params.depth / params.panels;
    let col = (params.panel_start + panel) * 8u + word % 4u * 2u;
    let before = output[word];
    output[word] = column(b, col, k, before) | (column(b, col + 1u, k, before >> 16u) << 16u);
}
