//! reduce_columns
//!
//! OP 0: output[col] = sum over row of input[row][col]
//! OP 1: the same, divided by the number of rows
//!
//! input is [rows][cols]; the output's bound piece holds `count` columns from `start` on. cols, start and count are in
//! LOADs: vectors of four where all three can be counted so. For many columns: an invocation makes one LOAD of the
//! output, and neighbours read neighbouring columns. It sums BLOCK rows before they join the rest: rounding errors grow
//! with the length of a chain of additions.
//!
//! reduce_row takes any dimensions, at two divisions for each number that it reads.
//!
//! uses: grid
//! variants:
//!   cpu          THREADS=8  LOAD=f32
//!   cpu_vector   THREADS=8  LOAD=vec4<f32>
//!   gpu          THREADS=64 LOAD=f32

alias LOAD = f32;
override THREADS: u32 = 8u;
override OP: u32 = 0u;
const BLOCK: u32 = 64u;

struct Params {
    rows: u32,
    cols: u32,
    start: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<LOAD>;
@group(0) @binding(2) var<storage, read_write> output: array<LOAD>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let col = flat_workgroup(group, groups) * THREADS + thread;
    if (col >= params.count) {
        return;
    }
    // A bound that depends on the invocation, where params alone would do: see matmul_register.
    let rows = select(0u, params.rows, col < params.count);
    var sum = LOAD();
    var at = params.start + col;
    for (var block = 0u; block < rows; block += BLOCK) {
        var block_sum = LOAD();
        for (var row = block; row < min(block + BLOCK, rows); row++) {
            block_sum += input[at];
            at += params.cols;
        }
        sum += block_sum;
    }
    output[col] = select(sum, sum / f32(params.rows), OP == 1u);
}
