//! put_rows
//!
//! variable[index[r] - row_first][c] = input[r][first_col + c] where row_first <= index[r] < row_end
//!
//! Rows of a table of any 32-bit type are replaced, each by `cols` neighbours out of a row of `width`. The bound piece of the
//! table holds the rows [row_first, row_end); indices elsewhere change nothing. Indices of one table differ from each other.
//! `cols`, `width` and `first_col` count values of ELEMENT: four neighbours where all of them allow.
//! One invocation moves one ELEMENT, a workgroup THREADS neighbours of [rows][cols].
//!
//! uses: grid
//! variants:
//!   quad     THREADS=64 ELEMENT=vec4<u32>
//!   single   THREADS=64 ELEMENT=u32

override THREADS: u32 = 64u;
alias ELEMENT = u32;

struct Params {
    rows: u32,
    cols: u32,
    width: u32,
    first_col: u32,
    row_first: u32,
    row_end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> variable: array<ELEMENT>;
@group(0) @binding(2) var<storage, read> input: array<ELEMENT>;
@group(0) @binding(3) var<storage, read> index: array<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = flat_workgroup(group, groups) * THREADS + thread;
    let row = i / params.cols;
    let col = i % params.cols;
    if (row >= params.rows) {
        return;
    }
    let place = index[row];
    if (place >= params.row_first && place < params.row_end) {
        let piece_row = u32(i32(place) - i32(params.row_first));
        variable[piece_row * params.cols + col] = input[row * params.width + params.first_col + col];
    }
}
