//! conv2d_depthwise_rows
//!
//! output[n][oc][oh][ow] = act(bias[oc] + sum_kh,kw weight[oc][kh][kw] * input[n][oc / multiplier][ih][iw])
//!                         + residual[n][oc][oh][ow]
//!     for 3 x 3 taps of stride 1, with ih = oh + kh - before_h, iw likewise; 0 outside of the input
//!
//! All tensors are dense: input [batch][channels][in_h][in_w], output and residual
//! [batch][channels * multiplier][out_h][out_w], weight [channels * multiplier][3][3], bias one number a channel. The
//! input has a number of elements that 4 divides. flags: 1 bias. RESIDUAL: 1 adds the residual. A buffer that is left
//! out is bound but never read.
//!
//! For software adapters. An invocation goes down a strip of PIXELS columns and strip_rows rows of outputs, loading
//! each row of the input once, as vec4: a row completes the sums of one row of outputs, continues those of the next and
//! starts those of the one after. A workgroup is 8 of them: the strips beside each other, row_tiles, then those below,
//! strips, then channels and images. On lavapipe it moves 4.2 to 5.5 times the bytes of input and output a second that
//! copy_strided does, at 112x112 down to 7x7: three loads for eight outputs, and the sums are little beside the stores.
//!
//! uses: activation, grid, span, window
//! variants:
//!   w16   PIXELS=16
//!   w8    PIXELS=8

override ACTIVATION: u32 = 0u;
override RESIDUAL: u32 = 0u;
const THREADS: u32 = 8u;
const PIXELS: u32 = 16u;
const SPAN: u32 = PIXELS + 2u;

struct Params {
    batch: u32,
    channels: u32,
    multiplier: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    before_h: u32,
    before_w: u32,
    row_tiles: u32,
    strips: u32,
    strip_rows: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

// The weights of a window's row.
fn taps(at: u32) -> vec3<f32> {
    return vec3<f32>(weight[at], weight[at + 1u], weight[at + 2u]);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let out_channels = params.channels * params.multiplier;
    let plane_tiles = params.row_tiles * params.strips;
    if (tile >= plane_tiles * out_channels * params.batch) {
        return;
    }
    let ow_first = tile % params.row_tiles * PIXELS;
    let oh_first = tile / params.row_tiles % params.strips * params.strip_rows;
    let oh_end = min(oh_first + params.strip_rows, params.out_h);
    let out_plane = tile / plane_tiles; // n and oc in one
    let oc = out_plane % out_channels;
    let plane_row = out_plane / params.multiplier * params.in_h;
    let iw = window_input(ow_first, 0u, 1u, 1u, params.before_w);
    let blocks = params.batch * params.channels * params.in_h * params.in_w / 4u;
    let top = taps(oc * 9u);
    let middle = taps(oc * 9u + 3u);
    let bottom = taps(oc * 9u + 6u);
    var added = 0.0;
    if (oc < out_channels * (params.flags & 1u)) {
        added = bias[oc];
    }

    var lower: array<f32, PIXELS>; // begun by one row
    var upper: array<f32, PIXELS>; // by two
    for (var row = oh_first; row < oh_end + 2u; row++) {
        let ih = window_input(row, 0u, 1u, 1u, params.before_h);
        let row_start = (plane_row + window_clamp(ih, params.in_h)) * params.in_w;
        var x: array<f32, SPAN>;
        load_span(&x, row_start, window_inside(ih, params.in_h), iw, params.in_w, blocks);
        var sum: array<f32, PIXELS>;
        for (var i = 0u; i < PIXELS; i++) {
            let three = vec3<f32>(x[i], x[i + 1u], x[i + 2u]);
            sum[i] = upper[i] + dot(three, bottom);
            upper[i] = lower[i] + dot(three, middle);
            lower[i] = dot(three, top);
        }
        // This row of the input is the last of the windows of the outputs two rows further up.
        if (row >= oh_first + 2u) {
            let out_row = (out_plane * params.out_h + u32(i32(row) - 2)) * params.out_w;
            for (var i = 0u; i < PIXELS; i++) {
                sum[i] = activate(ACTIVATION, sum[i] + added);
            }
            if (RESIDUAL == 1u) {
                for (var i = 0u; i < PIXELS; i++) {
                    if (ow_first + i < params.out_w) {
                        sum[i] += residual[out_row + ow_first + i];
                    }
                }
            }
            for (var i = 0u; i < PIXELS; i++) {
                if (ow_first + i < params.out_w) {
                    output[out_row + ow_first + i] = sum[i];
                }
            }
        }
    }
}
