//! pool2d_max_pairs
//!
//! output[..][oh][ow] = max of input[..][2 oh + i][2 ow + j] over i and j in 0 and 1
//!
//! Maximum pooling with windows of 2x2 side by side that cover the input, whose rows, in_h of each plane, are an even
//! number: so pairs of them follow each other through all planes. A row is `row_groups` groups of WINDOWS windows. NaN passes
//! through.
//!
//! For software adapters, where a load costs the same whatever its width: one invocation makes WINDOWS neighbours from
//! LOADS vectors of each row, and writes them as one GROUP. A workgroup makes THREADS of these. On lavapipe it takes half
//! of pool2d_row's time for 24x24 planes.
//!
//! uses: grid, numeric
//! variants:
//!   two    THREADS=64 LOADS=1 WINDOWS=2 GROUP=vec2<f32>
//!   four   THREADS=64 LOADS=2 WINDOWS=4 GROUP=vec4<f32>

override THREADS: u32 = 64u;
const LOADS: u32 = 2u;
const WINDOWS: u32 = 4u;
alias GROUP = vec4<f32>;

struct Params {
    count: u32,
    row_groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<GROUP>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    if (index >= params.count) {
        return;
    }
    let above = (index + index / params.row_groups * params.row_groups) * LOADS;
    let below = above + params.row_groups * LOADS;
    var made: GROUP;
    for (var i = 0u; i < LOADS; i++) {
        let top = input[above + i];
        let bottom = input[below + i];
        made[2u * i] = max_nan(max_nan(top.x, top.y), max_nan(bottom.x, bottom.y));
        made[2u * i + 1u] = max_nan(max_nan(top.z, top.w), max_nan(bottom.z, bottom.w));
    }
    output[index] = made;
}
