//! pad_grad
//!
//! output[o][i][n] = sum of grad[o][p][n] over the places p that padding filled from i: before + i itself, and
//!     MODE 1, reflect: before - i and before + 2 * (extent - 1) - i, where these lie in the padding
//!     MODE 2, replicate: for the first i all places before it, for the last i all behind it
//!
//! The gradient of padding along one axis; that of several is one after the other. Output is [outer][extent][inner] and
//! grad [outer][before + extent + after][inner], both dense, in cells of CELL. MODE 0 is a constant, which takes its part
//! of the gradient with it. In reflect mode the padding is smaller than its axis.
//!
//! One invocation makes CELLS neighbours of a line of extent * inner, a workgroup THREADS times as many. MODE is an
//! override, so the driver keeps one branch.
//!
//! uses: grid
//! variants:
//!   one    THREADS=64 CELLS=1 WIDTH=1 CELL=f32
//!   four   THREADS=64 CELLS=4 WIDTH=1 CELL=f32
//!   wide   THREADS=64 CELLS=2 WIDTH=4 CELL=vec4<f32>

override THREADS: u32 = 64u;
override MODE: u32 = 0u;
const CELLS: u32 = 1u;
// How many numbers a cell is, for the host.
const WIDTH: u32 = 1u;
alias CELL = f32;

struct Params {
    count: u32,
    line_groups: u32,
    extent: u32,
    inner: u32,
    before: u32,
    after: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<CELL>;
@group(0) @binding(2) var<storage, read_write> output: array<CELL>;

// The places of the padding, from `first` to before `end`, that show an element.
struct Shown {
    first: u32,
    end: u32,
}

fn shown_before(i: u32) -> Shown {
    if (MODE == 1u && i > 0u && i <= params.before) {
        let place = u32(i32(params.before) - i32(i));
        return Shown(place, place + 1u);
    }
    return Shown(0u, select(0u, params.before, MODE == 2u && i == 0u));
}

fn shown_behind(i: u32) -> Shown {
    let behind = params.before + params.extent;
    if (MODE == 1u && i + 1u < params.extent && i + 1u + params.after >= params.extent) {
        let place = u32(i32(behind + params.extent) - i32(i + 2u));
        return Shown(place, place + 1u);
    }
    return Shown(behind, select(behind, behind + params.after, MODE == 2u && i + 1u == params.extent));
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
    let line = index / params.line_groups;
    let start = index % params.line_groups * CELLS;
    let base = line * (params.before + params.extent + params.after) * params.inner;
    var i = start / params.inner;
    var n = start % params.inner;
    for (var cell = 0u; cell < CELLS; cell++) {
        if (start + cell < params.extent * params.inner) {
            let front = shown_before(i);
            let back = shown_behind(i);
            var sum = grad[base + (params.before + i) * params.inner + n];
            for (var place = front.first; place < front.end; place++) {
                sum += grad[base + place * params.inner + n];
            }
            for (var place = back.first; place < back.end; place++) {
                sum += grad[base + place * params.inner + n];
            }
            output[line * params.extent * params.inner + start + cell] = sum;
        }
        let turns = n + 1u == params.inner;
        n = select(n + 1u, 0u, turns);
        i += select(0u, 1u, turns);
    }
}
