//! tap_rows
//!
//! Whole rows of a convolution's outputs by TAPS x TAPS taps of stride 1, from rows of inputs that lib/shared_rows
//! hands on.
//!
//! The kernel declares TAPS, PAD on either side, COLS = WIDTH + 2 PAD - TAPS + 1 and OUT_ROWS, the rows of outputs that an
//! invocation keeps; OUTS, the numbers of a store, 4 or 8, and OUTPUT, the vector of WORD that holds them; ACTIVATION and
//! RESIDUAL. It binds weight as array<vec4<WORD>>, WEIGHTS eights a channel, residual as array<vec4<f32>> and output as
//! array<OUTPUT>, of whose planes params.out_blocks says the length; and uses activation, eight, shared_rows, window and
//! words.

// Eights of a channel's taps.
const WEIGHTS: u32 = (TAPS * TAPS + 7u) / 8u;
// Words of a store.
const OUT_WORDS: u32 = OUTS * 32u / BITS;
// Columns of a loop that is unrolled.
const STRETCH: u32 = 16u;

alias Taps = array<f32, 8u * WEIGHTS>;
alias Sums = array<f32, OUT_ROWS * COLS>;

// The taps from eight number `first` of the weight on.
fn load_taps(w: ptr<function, Taps>, first: u32) {
    for (var i = 0u; i < WEIGHTS; i++) {
        let at = (first + i) * STEP;
        let taps = eight(weight[at], weight[at + LAST]);
        (*w)[8u * i] = taps[0].x;
        (*w)[8u * i + 1u] = taps[0].y;
        (*w)[8u * i + 2u] = taps[0].z;
        (*w)[8u * i + 3u] = taps[0].w;
        (*w)[8u * i + 4u] = taps[1].x;
        (*w)[8u * i + 5u] = taps[1].y;
        (*w)[8u * i + 6u] = taps[1].z;
        (*w)[8u * i + 7u] = taps[1].w;
    }
}

// Columns from `first` on of a row of outputs, by the row of inputs that meets row kh of the taps.
fn stretch(sum: ptr<function, Sums>, w: ptr<function, Taps>, x: ptr<function, Row>, row: u32, kh: u32, first: u32) {
    for (var i = 0u; i < STRETCH; i++) {
        let col = first + i;
        if (col < COLS) {
            var products = 0.0;
            for (var k = 0u; k < TAPS; k++) {
                let iw = window_input(col, k, 1u, 1u, PAD);
                if (window_inside(iw, WIDTH)) {
                    products += (*w)[kh * TAPS + k] * (*x)[u32(iw)];
                }
            }
            (*sum)[row * COLS + col] += products;
        }
    }
}

// What the row of inputs that meets row kh of the taps adds to a row of outputs, if there are both.
fn multiply(sum: ptr<function, Sums>, w: ptr<function, Taps>, x: ptr<function, Row>, row: u32, kh: i32) {
    if (row < OUT_ROWS && window_inside(kh, TAPS)) {
        stretch(sum, w, x, row, u32(kh), 0u);
        if (COLS > STRETCH) {
            stretch(sum, w, x, row, u32(kh), STRETCH);
        }
    }
}

// Four sums from number `first` on, as outputs of a channel whose bias is `added`.
fn outputs(sum: ptr<function, Sums>, first: u32, added: f32) -> vec4<f32> {
    return vec4<f32>(
        activate(ACTIVATION, (*sum)[first] + added),
        activate(ACTIVATION, (*sum)[first + 1u] + added),
        activate(ACTIVATION, (*sum)[first + 2u] + added),
        activate(ACTIVATION, (*sum)[first + 3u] + added),
    );
}

// What a store writes: a and b, or a alone where it takes four numbers.
fn stored(a: vec4<f32>, b: vec4<f32>) -> OUTPUT {
    var words: OUTPUT;
    if (BITS == 32u) {
        words[0] = word(a.x, 0.0);
        words[1] = word(a.y, 0.0);
        words[2u % OUT_WORDS] = word(a.z, 0.0);
        words[3u % OUT_WORDS] = word(a.w, 0.0);
        return words;
    }
    words[0] = word(a.x, a.y);
    words[1] = word(a.z, a.w);
    if (OUTS == 8u) {
        words[2u % OUT_WORDS] = word(b.x, b.y);
        words[3u % OUT_WORDS] = word(b.z, b.w);
    }
    return words;
}

// Writes block i of the sums as number `block` of the plane of outputs that begins at `base`, if the plane has it.
fn put_block(sum: ptr<function, Sums>, i: u32, added: f32, base: u32, block: u32) {
    var a = outputs(sum, OUTS * i, added);
    var b = a;
    if (OUTS == 8u) {
        b = outputs(sum, OUTS * i + 4u, added);
    }
    if (block < params.out_blocks) {
        if (RESIDUAL == 1u) {
            a += residual[(base + block) * (OUTS / 4u)];
            b += residual[(base + block) * (OUTS / 4u) + (OUTS / 4u - 1u)];
        }
        output[base + block] = stored(a, b);
    }
}
