//! winograd_output
//!
//! y[n][oc][OUTPUTS * i + a][OUTPUTS * j + b] = act((A^T m A)[a][b] + bias[oc]) + residual[n][oc][..][..],
//!     m[r][s] = input[POINTS * r + s][oc][tile], tile = (n * tiles_h + i) * tiles_w + j, POINTS = OUTPUTS + 2;
//!     A as in lib/winograd
//! output = y, or with POOL the maximum of y over 2x2 windows of stride 2
//!
//! The last of three steps of a 3x3 convolution. input is [POINTS^2][out][tiles], rounded up to a multiple of LANES tiles;
//! residual is [batch][out][out_h][out_w], and so is output, or with POOL [batch][out][out_h / 2][out_w / 2]. bias has a
//! number for each channel. flags: 1 bias. RESIDUAL: 1 adds the residual. A buffer that is left out is bound but never
//! read. NaN passes through, through the maximum as well.
//!
//! One invocation makes LANES neighbouring tiles of a channel, a workgroup THREADS such runs; `count` runs are a matrix of
//! the input, row_runs a row of it. The rows wide4 and wide2 are for software adapters, where a load costs the same
//! whatever its width. To write an output takes as long, so the pool that is made here saves more than it costs.
//!
//! uses: activation, grid, numeric, winograd
//! variants:
//!   wide4   OUTPUTS=4 THREADS=8  LANES=4 NUMBER=vec4<f32>
//!   wide2   OUTPUTS=2 THREADS=8  LANES=4 NUMBER=vec4<f32>
//!   base4   OUTPUTS=4 THREADS=64 LANES=1 NUMBER=f32
//!   base2   OUTPUTS=2 THREADS=64 LANES=1 NUMBER=f32

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
override POOL: u32 = 0u;
override THREADS: u32 = 64u;
const OUTPUTS: u32 = 4u;
const LANES: u32 = 1u;
const POINTS: u32 = OUTPUTS + 2u;

struct Params {
    count: u32,
    row_runs: u32,
    tiles: u32,
    tiles_h: u32,
    tiles_w: u32,
    out_channels: u32,
    out_h: u32,
    out_w: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<NUMBER>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let run = flat_workgroup(group, groups) * THREADS + thread;
    if (run >= params.count) {
        return;
    }
    let oc = run / params.row_runs;
    let first = run % params.row_runs * LANES;
    var lines: array<Line, 6>;
    for (var s = 0u; s < POINTS; s++) {
        var line: Line;
        for (var r = 0u; r < POINTS; r++) {
            line[r] = input[(r * POINTS + s) * params.count + run];
        }
        lines[s] = winograd_outputs(line);
    }
    var added = 0.0;
    if (oc < params.out_channels * (params.flags & 1u)) {
        added = bias[oc];
    }
    var y: array<NUMBER, OUTPUTS * OUTPUTS>;
    for (var a = 0u; a < OUTPUTS; a++) {
        var line: Line;
        for (var s = 0u; s < POINTS; s++) {
            line[s] = lines[s][a];
        }
        line = winograd_outputs(line);
        for (var b = 0u; b < OUTPUTS; b++) {
            y[a * OUTPUTS + b] = activate(ACTIVATION, line[b] + added);
        }
    }

    var n = first / (params.tiles_h * params.tiles_w);
    var i = first / params.tiles_w % params.tiles_h;
    var j = first % params.tiles_w;
    let lane_end = min(first + LANES, params.tiles);
    for (var tile = first; tile < lane_end; tile++) {
        let lane = u32(i32(tile) - i32(first));
        let plane = n * params.out_channels + oc;
        var own: array<f32, OUTPUTS * OUTPUTS>;
        for (var k = 0u; k < OUTPUTS * OUTPUTS; k++) {
            own[k] = vec4<f32>(y[k])[lane];
        }
        if (RESIDUAL == 1u) {
            for (var k = 0u; k < OUTPUTS * OUTPUTS; k++) {
                let oh = i * OUTPUTS + k / OUTPUTS;
                let ow = j * OUTPUTS + k % OUTPUTS;
                if (oh < params.out_h && ow < params.out_w) {
                    own[k] += residual[(plane * params.out_h + oh) * params.out_w + ow];
                }
            }
        }
        if (POOL == 1u) {
            for (var k = 0u; k < OUTPUTS * OUTPUTS / 4u; k++) {
                let a = k / (OUTPUTS / 2u);
                let b = k % (OUTPUTS / 2u);
                let corner = 2u * a * OUTPUTS + 2u * b;
                let upper = max_nan(own[corner], own[corner + 1u]);
                let lower = max_nan(own[corner + OUTPUTS], own[corner + OUTPUTS + 1u]);
                let oh = i * (OUTPUTS / 2u) + a;
                let ow = j * (OUTPUTS / 2u) + b;
                if (oh < params.out_h / 2u && ow < params.out_w / 2u) {
                    output[(plane * (params.out_h / 2u) + oh) * (params.out_w / 2u) + ow] = max_nan(upper, lower);
                }
            }
        } else {
            for (var k = 0u; k < OUTPUTS * OUTPUTS; k++) {
                let oh = i * OUTPUTS + k / OUTPUTS;
                let ow = j * OUTPUTS + k % OUTPUTS;
                if (oh < params.out_h && ow < params.out_w) {
                    output[(plane * params.out_h + oh) * params.out_w + ow] = own[k];
                }
            }
        }
        j++;
        let row_done = j == params.tiles_w;
        j = select(j, 0u, row_done);
        i += select(0u, 1u, row_done);
        let image_done = i == params.tiles_h;
        i = select(i, 0u, image_done);
        n += select(0u, 1u, image_done);
    }
}
