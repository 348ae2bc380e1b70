//! matmul_pack_wide
//!
//! output[b][panel][k][j] = input[b][k][8 * (panel_start + panel) + j], zero where that column is past the end
//!
//! matmul_pack in vectors of WIDTH elements, for a right side that is whole: ALONG=0 reads it as [batch][depth][cols], of
//! which WIDTH divides cols; ALONG=1 as [batch][cols][depth], of which WIDTH divides depth. batch_stride counts vectors.
//! The destination piece holds `panels` panels from panel_start on. With HALF, for vectors of four alone, the elements
//! become halves, two columns in a word, so that a vec4 holds a k of a panel.
//!
//! For software adapters, where weights that train are packed in every step: an invocation makes WIDTH k of a panel, by
//! eight loads, eight stores and four divisions, where matmul_pack takes two and three for each element. Vectors are of
//! four, or with 64-bit words of eight, which takes half the time. `spans` of them, the last perhaps short, cover the
//! depth.
//!
//! uses: grid, half
//! variants:
//!   across         ALONG=0 WORD=u32 BITS=32
//!   along          ALONG=1 WORD=u32 BITS=32
//!   across_eight   ALONG=0 WORD=u64 BITS=64
//!   along_eight    ALONG=1 WORD=u64 BITS=64

override ALONG: u32 = 0u;
override HALF: u32 = 0u;
const THREADS: u32 = 8u;
const BITS: u32 = 32u;
const WIDTH: u32 = BITS / 8u;
const HALVES: vec4<u32> = vec4<u32>(BITS / 2u);
alias WORD = u32;

struct Params {
    batch: u32,
    cols: u32,
    depth: u32,
    spans: u32,
    batch_stride: u32,
    panel_start: u32,
    panels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<WORD>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<WORD>>;

// The bits of WIDTH numbers, or of zeros.
fn load(at: u32, inside: bool) -> vec4<WORD> {
    return select(vec4<WORD>(), input[select(0u, at, inside)], inside);
}

// WIDTH neighbouring k of a column.
fn column(first: u32, col: u32) -> vec4<WORD> {
    return load(first + col * (params.depth / WIDTH), col < params.cols);
}

// Eight columns of a row of the destination that is `rows` rows long: in 64-bit words the first four are all.
fn put(row: u32, rows: u32, low: vec4<WORD>, high: vec4<WORD>) {
    if (row >= rows) {
        return;
    }
    if (BITS == 64u) {
        output[row] = low;
    } else if (HALF == 1u) {
        output[row] = vec4<WORD>(vec4<u32>(
            pack_halves(u32(low.x), u32(low.y)),
            pack_halves(u32(low.z), u32(low.w)),
            pack_halves(u32(high.x), u32(high.y)),
            pack_halves(u32(high.z), u32(high.w)),
        ));
    } else {
        output[row * 2u] = low;
        output[row * 2u + 1u] = high;
    }
}

// Of two columns by pairs of k those at the first k of each, as a pair of columns.
fn even(a: vec4<WORD>, b: vec4<WORD>) -> vec4<WORD> {
    return ((a << HALVES) >> HALVES) | (b << HALVES);
}

// Those at the second.
fn odd(a: vec4<WORD>, b: vec4<WORD>) -> vec4<WORD> {
    return (a >> HALVES) | ((b >> HALVES) << HALVES);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    let row = index / params.spans; // b and panel in one
    if (row >= params.batch * params.panels) {
        return;
    }
    let k = index % params.spans * WIDTH;
    let col = (params.panel_start + row % params.panels) * 8u;
    let first = row / params.panels * params.batch_stride;
    let target_row = row * params.depth + k;
    let target_end = (row + 1u) * params.depth;
    if (ALONG == 1u) {
        let at = first + k / WIDTH;
        let c0 = column(at, col);
        let c1 = column(at, col + 1u);
        let c2 = column(at, col + 2u);
        let c3 = column(at, col + 3u);
        let c4 = column(at, col + 4u);
        let c5 = column(at, col + 5u);
        let c6 = column(at, col + 6u);
        let c7 = column(at, col + 7u);
        if (BITS == 64u) {
            let even0 = even(c0, c1);
            let even2 = even(c2, c3);
            let even4 = even(c4, c5);
            let even6 = even(c6, c7);
            let odd0 = odd(c0, c1);
            let odd2 = odd(c2, c3);
            let odd4 = odd(c4, c5);
            let odd6 = odd(c6, c7);
            for (var i = 0u; i < 4u; i++) {
                let row = vec4<WORD>(even0[i], even2[i], even4[i], even6[i]);
                put(target_row + 2u * i, target_end, row, row);
                let next = vec4<WORD>(odd0[i], odd2[i], odd4[i], odd6[i]);
                put(target_row + 2u * i + 1u, target_end, next, next);
            }
            return;
        }
        for (var i = 0u; i < 4u; i++) {
            let low = vec4<WORD>(c0[i], c1[i], c2[i], c3[i]);
            put(target_row + i, target_end, low, vec4<WORD>(c4[i], c5[i], c6[i], c7[i]));
        }
        return;
    }
    for (var i = 0u; i < WIDTH; i++) {
        let at = first + ((k + i) * params.cols + col) / WIDTH;
        let inside = k + i < params.depth;
        let low = load(at, inside && col < params.cols);
        var high = low;
        if (BITS == 32u) {
            high = load(at + 1u, inside && col + 4u < params.cols);
        }
        put(target_row + i, target_end, low, high);
    }
}
