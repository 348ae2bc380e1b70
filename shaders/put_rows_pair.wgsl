//! put_rows_pair
//!
//! first[p][index[r]][c] = first_input[r][first_col + p * table_cols + c], second[..][c] = second_input[r][..]
//!     where index[r] < table_rows
//!
//! put_rows for two variables alike, such as the caches of two of a decoder's layers: each is so small that starting the kernel
//! takes most of the time. One invocation moves one ELEMENT, a workgroup THREADS neighbours of [2][rows][cols].
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
@group(0) @binding(1) var<storage, read_write> first: array<ELEMENT>;
@group(0) @binding(2) var<storage, read_write> second: array<ELEMENT>;
@group(0) @binding(3) var<storage, read> first_input: array<ELEMENT>;
@group(0) @binding(4) var<storage, read> second_input: array<ELEMENT>;
@group(0) @binding(5) var<storage, read> index: array<u32>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = flat_workgroup(group, groups) * THREADS + thread;
    let both = i / params.cols;
    let col = i % params.cols;
    if (both >= 2u * params.rows) {
        return;
    }
    let row = both % params.rows;
    let place = index[row];
    let row_of_all = col / params.table_cols * params.table_rows + place;
    if (place < params.table_rows && row_of_all >= params.row_first && row_of_all < params.row_end) {
        let to = u32(i32(row_of_all) - i32(params.row_first)) * params.table_cols + col % params.table_cols;
        let from_at = row * params.width + params.first_col + col;
        if (both < params.rows) {
            first[to] = first_input[from_at];
        } else {
            second[to] = second_input[from_at];
        }
    }
}
