//! sum_of_squares
//!
//! output[p] = sum over e in part p of input[e]^2
//!
//! A tensor is a row of parts of equal length, the last one shorter, and a dispatch adds `count` of its numbers, those
//! from `begin` of the binding on. It may start within a part: `skip` numbers of that part are in the output already, and
//! the rest is added to them. NUMBER is four neighbours where lengths allow, so that an invocation loads a quarter as
//! often; all lengths count units of NUMBER.
//! LANES invocations share a part, so a workgroup makes THREADS / LANES of them. `serial` gives a part to one invocation,
//! without barriers; `tree` is for GPUs. Every sum has one order. A part past the end has no elements instead of
//! returning early, so that barriers stay in uniform flow.
//!
//! uses: grid, numeric, reduce
//! variants:
//!   serial_quad     THREADS=8 LANES=1 WIDTH=4 NUMBER=vec4<f32>
//!   serial_single   THREADS=8 LANES=1 WIDTH=1 NUMBER=f32
//!   tree_quad       THREADS=128 LANES=128 WIDTH=4 NUMBER=vec4<f32>
//!   tree_single     THREADS=128 LANES=128 WIDTH=1 NUMBER=f32

override THREADS: u32 = 8u;
override LANES: u32 = 1u;

const WIDTH: u32 = 4u;
alias NUMBER = vec4<f32>;
// So many squares are summed on their own first, which loses less than one long chain.
const RUN: i32 = 16;

struct Params {
    begin: u32,
    count: u32,
    skip: u32,
    // The length of a part, the parts that this dispatch adds to, and the first of them in the output.
    part: u32,
    parts: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = flat_workgroup(group, groups) * (THREADS / LANES) + thread / LANES;
    let lane = thread % LANES;
    let inside = part < params.parts;
    // Where the part begins and ends among the numbers of this dispatch.
    let start = select(i32(part * params.part) - i32(params.skip), 0, part == 0u);
    let stop = min(i32((part + 1u) * params.part) - i32(params.skip), i32(params.count));
    let end = select(0, stop, inside);
    var squares = NUMBER(0.0);
    for (var next = start + i32(lane); next < end; next += RUN * i32(LANES)) {
        var run = NUMBER(0.0);
        for (var k = 0; k < RUN; k++) {
            let i = next + k * i32(LANES);
            if (i < end) {
                let x = input[params.begin + u32(i)];
                run += x * x;
            }
        }
        squares += run;
    }
    let wide = vec4<f32>(squares);
    let sum = row_sum(thread, select(wide.x, wide.x + wide.y + wide.z + wide.w, WIDTH == 4u));
    if (lane == 0u && inside) {
        let before = part == 0u && params.skip > 0u;
        output[params.first + part] = select(0.0, output[params.first + part], before) + sum;
    }
}
