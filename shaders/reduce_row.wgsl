//! reduce_row
//!
//! output[row] = op over e of input[start(row) + offset(e)]
//!
//! OP: 0 sum, 1 mean, 2 max, 3 argmax (first of equals; NaN wins, as in PyTorch; an index into the reduced
//! dimensions flattened in row-major order). The kept and the reduced dimensions each have a shape and strides
//! (the fastest first, up to eight, merged by the host). The output holds f32 bits, or u32 for argmax.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one
//! invocation, without barriers (a barrier is a coroutine switch on software adapters); `tree` is for GPUs.
//! A row past the end has no elements instead of returning early, so that barriers stay in uniform flow.
//!
//! uses: grid, strided, numeric, reduce, best
//! variants:
//!   serial   THREADS=8 LANES=1
//!   tree     THREADS=128 LANES=128

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override OP: u32 = 0u;

struct Params {
    rows: u32,
    cols: u32,
    kept_rank: u32,
    cols_rank: u32,
    kept_low: vec4<u32>,
    kept_high: vec4<u32>,
    kept_stride_low: vec4<u32>,
    kept_stride_high: vec4<u32>,
    cols_low: vec4<u32>,
    cols_high: vec4<u32>,
    cols_stride_low: vec4<u32>,
    cols_stride_high: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

fn row_start(row: u32) -> u32 {
    var rest = row;
    var start = 0u;
    for (var a = 0u; a < params.kept_rank; a++) {
        let extent = axis(params.kept_low, params.kept_high, a);
        start += rest % extent * axis(params.kept_stride_low, params.kept_stride_high, a);
        rest = rest / extent;
    }
    return start;
}

fn col_offset(col: u32) -> u32 {
    var rest = col;
    var offset = 0u;
    for (var a = 0u; a < params.cols_rank; a++) {
        let extent = axis(params.cols_low, params.cols_high, a);
        offset += rest % extent * axis(params.cols_stride_low, params.cols_stride_high, a);
        rest = rest / extent;
    }
    return offset;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let start = row_start(row);
    let cols = select(0u, params.cols, row < params.rows);
    if (OP < 2u) {
        var sum = 0.0;
        for (var col = lane; col < cols; col += LANES) {
            sum += input[start + col_offset(col)];
        }
        sum = row_sum(thread, sum);
        if (lane == 0u && row < params.rows) {
            output[row] = bitcast<u32>(select(sum, sum / f32(params.cols), OP == 1u));
        }
        return;
    }
    var best = Best(LOWEST, EMPTY);
    for (var col = lane; col < cols; col += LANES) {
        let next = Best(input[start + col_offset(col)], col);
        if (is_better(next, best)) {
            best = next;
        }
    }
    best = row_best(thread, best);
    if (lane == 0u && row < params.rows) {
        output[row] = select(bitcast<u32>(best.value), best.index, OP == 3u);
    }
}
