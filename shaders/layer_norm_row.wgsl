//! layer_norm_row
//!
//! output[row][col] = (input[row][col] - mean) / sqrt(variance + epsilon) * weight[col] + bias[col]
//!
//! mean and (biased) variance over the row, in two passes: torch.nn.functional.layer_norm over the last dimension. `cols`
//! counts values of NUMBER: vectors of four neighbours in the wide variants, which take a quarter of the loads.
//! LANES invocations share a row, so a workgroup makes THREADS / LANES rows. `serial` gives a row to one
//! invocation, without barriers (a barrier is a coroutine switch on software adapters); `tree` is for GPUs.
//! A row past the end has no elements instead of returning early, so that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce
//! variants:
//!   serial        THREADS=8 LANES=1 NUMBER=f32 WIDTH=1
//!   serial_wide   THREADS=8 LANES=1 NUMBER=vec4<f32> WIDTH=4
//!   tree          THREADS=128 LANES=128 NUMBER=f32 WIDTH=1
//!   tree_wide     THREADS=128 LANES=128 NUMBER=vec4<f32> WIDTH=4

override THREADS: u32 = 8u;
override LANES: u32 = 1u;
override WIDTH: u32 = 1u;
alias NUMBER = f32;

struct Params {
    rows: u32,
    cols: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read> weight: array<NUMBER>;
@group(0) @binding(3) var<storage, read> bias: array<NUMBER>;
@group(0) @binding(4) var<storage, read_write> output: array<NUMBER>;

// The sum of a NUMBER's elements, of which a single one fills the vector.
fn total(x: vec4<f32>) -> f32 {
    return select(x.x, (x.x + x.y) + (x.z + x.w), WIDTH == 4u);
}

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
    let count = f32(params.cols * WIDTH);
    var sum = NUMBER();
    for (var col = lane; col < cols; col += LANES) {
        sum += input[base + col];
    }
    let mean = row_sum(thread, total(vec4<f32>(sum))) / count;
    var squares = NUMBER();
    for (var col = lane; col < cols; col += LANES) {
        let d = input[base + col] - mean;
        squares += d * d;
    }
    let variance = row_sum(thread, total(vec4<f32>(squares))) / count;
    let scale = inverseSqrt(variance + params.epsilon);
    for (var col = lane; col < cols; col += LANES) {
        output[base + col] = (input[base + col] - mean) * scale * weight[col] + bias[col];
    }
}
