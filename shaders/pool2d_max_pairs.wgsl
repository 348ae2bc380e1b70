//! pool2d_max_pairs
//!
//! output[..][oh][ow] = max of input[..][2 oh + i][2 ow + j] over i and j in 0 and 1
//!
//! Maximum pooling with windows of 2x2 side by side that cover the input, whose rows, in_h of each plane, are an even
//! number: so pairs of them follow each other through all planes. A row is `row_groups` groups of WINDOWS windows. NaN passes
//! through.
//!
//! For software adapters, where a load costs about the same whatever its width: one invocation makes WINDOWS neighbours from
//! LOADS vectors of each row, and writes them as one OUTPUT. A workgroup makes THREADS of these. On lavapipe it takes half
//! of pool2d_row's time for 24x24 planes, with `wide` less by a seventh; two such units an invocation are no faster.
//!
//! uses: grid, numeric, words
//! variants:
//!   two   THREADS=64 LOADS=1 WINDOWS=2 WORD=u32 BITS=32 INPUT=vec4<u32> OUTPUT=vec2<u32>
//!   four  THREADS=64 LOADS=2 WINDOWS=4 WORD=u32 BITS=32 INPUT=vec4<u32> OUTPUT=vec4<u32>
//!   wide  THREADS=64 LOADS=1 WINDOWS=4 WORD=u64 BITS=64 INPUT=vec4<u64> OUTPUT=vec2<u64>

override THREADS: u32 = 64u;
const LOADS: u32 = 2u;
const WINDOWS: u32 = 4u;
alias WORD = u32;
const BITS: u32 = 32u;
alias INPUT = vec4<u32>;
alias OUTPUT = vec4<u32>;

struct Params {
    count: u32,
    row_groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<INPUT>;
@group(0) @binding(2) var<storage, read_write> output: array<OUTPUT>;

// The maxima of two windows side by side.
fn maxima(top: vec4<f32>, bottom: vec4<f32>) -> vec2<f32> {
    return vec2<f32>(
        max_nan(max_nan(top.x, top.y), max_nan(bottom.x, bottom.y)),
        max_nan(max_nan(top.z, top.w), max_nan(bottom.z, bottom.w)),
    );
}

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
    var made: OUTPUT;
    for (var i = 0u; i < LOADS; i++) {
        let top = input[above + i];
        let bottom = input[below + i];
        let a = maxima(four(top[0], top[1], top[2], top[3]), four(bottom[0], bottom[1], bottom[2], bottom[3]));
        if (BITS == 64u) {
            let b = maxima(four(top[2], top[3], top[0], top[1]), four(bottom[2], bottom[3], bottom[0], bottom[1]));
            made[0] = word(a.x, a.y);
            made[1] = word(b.x, b.y);
        } else {
            made[2u * i] = word(a.x, 0.0);
            made[2u * i + 1u] = word(a.y, 0.0);
        }
    }
    output[index] = made;
}
