//! winograd_weight
//!
//! output[POINTS * r + s][oc][ic] = (G g G^T)[r][s], with g = weight[oc][ic] of 3 x 3, POINTS = OUTPUTS + 2; G as in
//! lib/winograd
//!
//! The weight of a 3x3 convolution as the left sides of a batch of products, one for each place of a transformed tile.
//! weight is [out][in][3][3], output [POINTS^2][out][in], of `count` = out * in elements each. One invocation makes an
//! element of all matrices, a workgroup THREADS neighbours. Runs once a weight, at load, unless the weight is trained.
//!
//! uses: grid, winograd
//! variants:
//!   four   OUTPUTS=4
//!   two    OUTPUTS=2

override THREADS: u32 = 64u;
const OUTPUTS: u32 = 4u;
const POINTS: u32 = OUTPUTS + 2u;
alias NUMBER = f32;

struct Params {
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let element = flat_workgroup(group, groups) * THREADS + thread;
    if (element >= params.count) {
        return;
    }
    var lines: array<Line, 3>;
    for (var a = 0u; a < 3u; a++) {
        var line: Line;
        for (var b = 0u; b < 3u; b++) {
            line[b] = weight[element * 9u + a * 3u + b];
        }
        lines[a] = winograd_taps(line);
    }
    for (var s = 0u; s < POINTS; s++) {
        var line: Line;
        for (var a = 0u; a < 3u; a++) {
            line[a] = lines[a][s];
        }
        line = winograd_taps(line);
        for (var r = 0u; r < POINTS; r++) {
            if (element < params.count) {
                output[(r * POINTS + s) * params.count + element] = line[r];
            }
        }
    }
}
