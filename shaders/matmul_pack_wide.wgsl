//! matmul_pack_wide
//!
//! output[b][panel][k][j] = input[b][k][8 * (panel_start + panel) + j], zero where that column is past the end
//!
//! matmul_pack in vectors of four, for a right side that is whole: ALONG=0 reads it as [batch][depth][cols], of which 4
//! divides cols; ALONG=1 as [batch][cols][depth], of which 4 divides depth. batch_stride counts vectors. The destination
//! piece holds `panels` panels from panel_start on. With HALF the elements become halves, two columns in a word, so that a
//! vec4 holds a k of a panel.
//!
//! For software adapters, where weights that train are packed in every step: an invocation makes four k of a panel, 32
//! elements, by eight loads, eight stores and four divisions, where matmul_pack takes two and three for each element.
//! `fours` of them, the last perhaps short, cover the depth.
//!
//! uses: grid, half
//! variants:
//!   across   ALONG=0
//!   along    ALONG=1

override ALONG: u32 = 0u;
override HALF: u32 = 0u;
const THREADS: u32 = 8u;

struct Params {
    batch: u32,
    cols: u32,
    depth: u32,
    fours: u32,
    batch_stride: u32,
    panel_start: u32,
    panels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<u32>>;

// The bits of four numbers, or of zeros.
fn load(at: u32, inside: bool) -> vec4<u32> {
    return select(vec4<u32>(), input[select(0u, at, inside)], inside);
}

// Four k of a column.
fn column(first: u32, col: u32) -> vec4<u32> {
    return load(first + col * (params.depth / 4u), col < params.cols);
}

// Eight columns of a row of the destination that is `rows` rows long.
fn put(row: u32, rows: u32, low: vec4<u32>, high: vec4<u32>) {
    if (row >= rows) {
        return;
    }
    if (HALF == 1u) {
        output[row] = vec4<u32>(
            pack_halves(low.x, low.y),
            pack_halves(low.z, low.w),
            pack_halves(high.x, high.y),
            pack_halves(high.z, high.w),
        );
    } else {
        output[row * 2u] = low;
        output[row * 2u + 1u] = high;
    }
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = flat_workgroup(group, groups) * THREADS + thread;
    let row = index / params.fours; // b and panel in one
    if (row >= params.batch * params.panels) {
        return;
    }
    let k = index % params.fours * 4u;
    let col = (params.panel_start + row % params.panels) * 8u;
    let first = row / params.panels * params.batch_stride;
    let target_row = row * params.depth + k;
    let target_end = (row + 1u) * params.depth;
    if (ALONG == 1u) {
        let at = first + k / 4u;
        let c0 = column(at, col);
        let c1 = column(at, col + 1u);
        let c2 = column(at, col + 2u);
        let c3 = column(at, col + 3u);
        let c4 = column(at, col + 4u);
        let c5 = column(at, col + 5u);
        let c6 = column(at, col + 6u);
        let c7 = column(at, col + 7u);
        for (var i = 0u; i < 4u; i++) {
            let low = vec4<u32>(c0[i], c1[i], c2[i], c3[i]);
            put(target_row + i, target_end, low, vec4<u32>(c4[i], c5[i], c6[i], c7[i]));
        }
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let at = first + ((k + i) * params.cols + col) / 4u;
        let inside = k + i < params.depth;
        let high = load(at + 1u, inside && col + 4u < params.cols);
        put(target_row + i, target_end, load(at, inside && col < params.cols), high);
    }
}
