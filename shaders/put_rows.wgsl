//! put_rows
//!
//! variable[p][index[r]][c] = input[r][first_col + p * table_cols + c] where index[r] < table_rows
//!
//! Rows of tables of any 32-bit type are replaced, each by `table_cols` neighbours out of a row of `width`, which gives `cols`
//! in all. The tables lie behind each other; what is bound of them holds the rows [row_first, row_end), counted over all.
//! Indices past the last row change nothing; the others differ from each other. `cols`, `width`, `first_col` and `table_cols`
//! count values of ELEMENT: four neighbours where all of them allow.
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
    table_cols: u32,
    table_rows: u32,
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
    let row_of_all = col / params.table_cols * params.table_rows + place;
    if (place < params.table_rows && row_of_all >= params.row_first && row_of_all < params.row_end) {
        let piece_row = u32(i32(row_of_all) - i32(params.row_first));
        let to = piece_row * params.table_cols + col % params.table_cols;
        variable[to] = input[row * params.width + params.first_col + col];
    }
}
