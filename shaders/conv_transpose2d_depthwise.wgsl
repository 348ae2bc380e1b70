//! conv_transpose2d_depthwise
//!
//! output[n][c][oh][ow] = act(bias[c] + sum_m,kh,kw weight[c * group_in + m][kh][kw] * input[n][c * group_in + m][ih][iw])
//!                        + residual[n][c][oh][ow]
//!     over the taps of TAPS x TAPS for which 2 ih + kh = oh + before_h has a solution in the input, iw likewise
//!
//! All tensors are dense: input [batch][groups * group_in][in_h][in_w], weight [groups * group_in][TAPS][TAPS], output and
//! residual [batch][groups][out_h][out_w], bias one number a channel of the output. The input has a number of elements that
//! 4 divides. flags: 1 bias, 2 residual; a buffer whose bit is clear is bound but never read.
//!
//! For software adapters: the gradient of a depthwise convolution of stride 2. An invocation makes two rows of 2 COLS
//! outputs, those at 2 i and 2 i + 1 less the padding, which meet the rows of the input from i backwards: even outputs by
//! the even taps, odd ones by the odd. A workgroup is 8 of them: the tiles of a row, col_tiles, then pairs of rows,
//! row_pairs, channels and images. On lavapipe it takes a ninth of conv_transpose2d_naive's time.
//!
//! uses: activation, grid, span, window
//! variants:
//!   three   TAPS=3 COLS=8
//!   five    TAPS=5 COLS=8

override ACTIVATION: u32 = 0u;
const THREADS: u32 = 8u;
const TAPS: u32 = 3u;
const COLS: u32 = 8u;
// Rows of the input that meet a pair of rows, and columns likewise.
const REACH: u32 = (TAPS + 1u) / 2u;
const SPAN: u32 = COLS + (REACH - 1u);

struct Params {
    batch: u32,
    groups: u32,
    group_in: u32,
    in_h: u32,
    in_w: u32,
    out_h: u32,
    out_w: u32,
    before_h: u32,
    before_w: u32,
    row_pairs: u32,
    col_tiles: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<f32>;

alias Sums = array<f32, 2u * COLS>;

// A row of outputs, by one row of taps and the row of inputs that it meets; x ends with the last column of the tile.
fn multiply(sum: ptr<function, Sums>, x: ptr<function, array<f32, SPAN>>, at: u32) {
    for (var k = 0u; k < TAPS; k++) {
        let w = weight[at + k];
        for (var i = 0u; i < COLS; i++) {
            (*sum)[2u * i + k % 2u] += w * (*x)[u32(i32(i + (REACH - 1u)) - i32(k / 2u))];
        }
    }
}

fn put(sum: ptr<function, Sums>, plane: u32, oh: i32, ow_first: i32) {
    let c = plane % params.groups;
    let inside = window_inside(oh, params.out_h);
    let row = i32((plane * params.out_h + window_clamp(oh, params.out_h)) * params.out_w);
    var added = 0.0;
    if (c < params.groups * (params.flags & 1u)) {
        added = bias[c];
    }
    let residual_end = i32(params.out_w * ((params.flags / 2u) & 1u));
    for (var i = 0u; i < 2u * COLS; i++) {
        let ow = ow_first + i32(i);
        if (inside && ow >= 0 && ow < i32(params.out_w)) {
            var y = activate(ACTIVATION, (*sum)[i] + added);
            if (ow < residual_end) {
                y += residual[row + ow];
            }
            output[row + ow] = y;
        }
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = flat_workgroup(group, groups) * THREADS + thread;
    let plane = tile / params.col_tiles / params.row_pairs; // n and c in one
    if (plane >= params.batch * params.groups) {
        return;
    }
    // The row and the column of the input that the pair's first taps meet.
    let row = i32(params.before_h / 2u + tile / params.col_tiles % params.row_pairs);
    let col = i32(params.before_w / 2u + tile % params.col_tiles * COLS);
    let blocks = params.batch * params.groups * params.group_in * params.in_h * params.in_w / 4u;
    let c = plane % params.groups;
    // A bound that depends on the invocation, where params alone would do: see matmul_register.
    let members = select(0u, params.group_in, plane < params.batch * params.groups);
    var even: Sums;
    var odd: Sums;
    var x: array<f32, SPAN>;
    for (var m = 0u; m < members; m++) {
        let at = (c * params.group_in + m) * TAPS * TAPS;
        for (var back = 0u; back < REACH; back++) {
            let ih = row - i32(back);
            let start = ((plane * params.group_in + m) * params.in_h + window_clamp(ih, params.in_h)) * params.in_w;
            load_span(&x, start, window_inside(ih, params.in_h), col - i32(REACH - 1u), params.in_w, blocks);
            multiply(&even, &x, at + 2u * back * TAPS);
            if (2u * back + 1u < TAPS) {
                multiply(&odd, &x, at + (2u * back + 1u) * TAPS);
            }
        }
    }
    let oh = 2 * row - i32(params.before_h);
    let ow = 2 * col - i32(params.before_w);
    put(&even, plane, oh, ow);
    put(&odd, plane, oh + 1, ow);
}
