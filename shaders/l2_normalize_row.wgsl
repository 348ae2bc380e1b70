//! l2_normalize_row
//!
//! output[row][col] = input[row][col] / max(sqrt(sum_c input[row][c]^2), epsilon)
//!
//! torch.nn.functional.normalize over the last dimension.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one
//! invocation, without barriers (a barrier is a coroutine switch on software adapters); `tree` is for GPUs.
//! A row past the end has no elements instead of returning early, so that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce
//! variants:
//!   serial   THREADS=8 LANES=1
//!   tree     THREADS=128 LANES=128

override THREADS: u32 = 8u;
override LANES: u32 = 1u;

struct Params {
    rows: u32,
    cols: u32,
    epsilon: f32,
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
    let row = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let base = row * params.cols;
    let cols = select(0u, params.cols, row < params.rows);
    var squares = 0.0;
    for (var col = lane; col < cols; col += LANES) {
        squares += input[base + col] * input[base + col];
    }
    let norm = sqrt(row_sum(thread, squares));
    let divisor = select(norm, params.epsilon, norm < params.epsilon);
    for (var col = lane; col < cols; col += LANES) {
        output[base + col] = input[base + col] / divisor;
    }
}
