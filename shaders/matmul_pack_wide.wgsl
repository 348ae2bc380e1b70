//! matmul_pack_wide
//!
//! output[b][panel][k][j] = input[b][k][8 * (panel_start + panel) + j], zero where that column is past the end
//!
//! matmul_pack in vectors of four, for a right side that is whole: ALONG=0 reads it as [batch][depth][cols], of which 4
//! divides cols; ALONG=1 as [batch][cols][depth], of which 4 divides depth. batch_stride counts vectors. The destination
//! piece holds `panels` panels from panel_start on.
//!
//! For software adapters, where weights that train are packed in every step: an invocation makes four k of a panel, 32
//! elements, by eight loads, eight stores and four divisions, where matmul_pack takes two and three for each element.
//! `fours` of them, the last perhaps short, cover the depth.
//!
//! uses: grid
//! variants:
//!   across   ALONG=0
//!   along    ALONG=1

override ALONG: u32 = 0u;
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
@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;

// Four numbers, or zeros.
fn load(at: u32, inside: bool) -> vec4<f32> {
    return select(vec4<f32>(), input[select(0u, at, inside)], inside);
}

// Four k of a column.
fn column(first: u32, col: u32) -> vec4<f32> {
    return load(first + col * (params.depth / 4u), col < params.cols);
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
    if (ALONG == 1u) {
        let at = first + k / 4u;
        let low = mat4x4<f32>(column(at, col), column(at, col + 1u), column(at, col + 2u), column(at, col + 3u));
        let high =
            mat4x4<f32>(column(at, col + 4u), column(at, col + 5u), column(at, col + 6u), column(at, col + 7u));
        for (var i = 0u; i < 4u; i++) {
            if (k + i < params.depth) {
                output[(target_row + i) * 2u] = vec4<f32>(low[0][i], low[1][i], low[2][i], low[3][i]);
                output[(target_row + i) * 2u + 1u] = vec4<f32>(high[0][i], high[1][i], high[2][i], high[3][i]);
            }
        }
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if (k + i < params.depth) {
            let at = first + ((k + i) * params.cols + col) / 4u;
            output[(target_row + i) * 2u] = load(at, col < params.cols);
            output[(target_row + i) * 2u + 1u] = load(at + 1u, col + 4u < params.cols);
        }
    }
}
