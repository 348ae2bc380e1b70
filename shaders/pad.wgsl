//! pad
//!
//! output[i_0]..[i_r] = input[j_0]..[j_r],  j_a = i_a - before_a where that lies in the input's axis a, else
//!     MODE 0: the output is `value`;  MODE 1, reflect: j_a = -j_a before the axis, 2 * (extent_a - 1) - j_a behind it;
//!     MODE 2, replicate: the nearest end of the axis
//!
//! Both tensors are dense, of RANK axes, the fastest first; neighbouring axes without padding are merged by the host.
//! Elements are moved as 32-bit words, so every bit arrives. In reflect mode the padding is smaller than its axis.
//!
//! One invocation makes OUTPUTS neighbours of a row of the fastest axis, a workgroup THREADS times as many. MODE and
//! RANK are overrides, so the driver keeps one branch and unrolls the walk over the axes.
//!
//! uses: grid, strided, window
//! variants:
//!   one    THREADS=64 OUTPUTS=1
//!   four   THREADS=64 OUTPUTS=4

override THREADS: u32 = 64u;
override OUTPUTS: u32 = 1u;
override MODE: u32 = 0u;
override RANK: u32 = 1u;

const OUTSIDE: u32 = 0xffffffffu;

struct Params {
    count: u32,
    row_groups: u32,
    value: u32,
    out_low: vec4<u32>,
    out_high: vec4<u32>,
    in_low: vec4<u32>,
    in_high: vec4<u32>,
    before_low: vec4<u32>,
    before_high: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

// The place on the input's axis that fills one of the output's, or OUTSIDE.
fn source(place: u32, before: u32, extent: u32) -> u32 {
    let position = window_input(place, 0u, 1u, 1u, before);
    if (MODE == 1u) {
        return u32(min(abs(position), 2 * (i32(extent) - 1) - position));
    }
    return select(OUTSIDE, window_clamp(position, extent), MODE == 2u || window_inside(position, extent));
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
    let width = params.out_low.x;
    let row = index / params.row_groups;
    var rest = row;
    var base = 0u;
    var stride = params.in_low.x;
    var inside = true;
    for (var a = 1u; a < RANK; a++) {
        let out = axis(params.out_low, params.out_high, a);
        let extent = axis(params.in_low, params.in_high, a);
        let at = source(rest % out, axis(params.before_low, params.before_high, a), extent);
        rest = rest / out;
        inside = inside && at != OUTSIDE;
        base += at * stride;
        stride *= extent;
    }
    for (var j = 0u; j < OUTPUTS; j++) {
        let col = index % params.row_groups * OUTPUTS + j;
        if (col < width) {
            let at = source(col, params.before_low.x, params.in_low.x);
            var word = params.value;
            if (inside && at != OUTSIDE) {
                word = input[base + at];
            }
            output[row * width + col] = word;
        }
    }
}
