//! shared_rows
//!
//! Rows of an image that the eight lanes of a subgroup load together, each another vector of rows of WIDTH that follow each
//! other, and hand on to each other.
//!
//! The kernel declares WIDTH and LOADS, the vectors that a lane holds; binds input as array<vec4<f32>>, planes of
//! params.in_blocks vectors; and uses window.

alias Tile = array<vec4<f32>, LOADS>;
alias Row = array<f32, WIDTH>;

// A lane's vectors, eight apart, from number `first` of the plane on that begins at vector `plane`. Rows above and below the
// image are zeros.
fn load_rows(tile: ptr<function, Tile>, plane: u32, first: i32) {
    for (var i = 0u; i < LOADS; i++) {
        let block = first + i32(8u * i);
        let inside = window_inside(block, params.in_blocks);
        (*tile)[i] = select(vec4<f32>(), input[plane + window_clamp(block, params.in_blocks)], inside);
    }
}

// Row q of what the lanes hold, for all of them: each number by a shuffle from a lane that is known when the kernel is
// compiled.
fn shared_row(x: ptr<function, Row>, tile: ptr<function, Tile>, q: u32) {
    for (var i = 0u; i < WIDTH; i++) {
        let at = q * WIDTH + i;
        (*x)[i] = subgroupShuffle((*tile)[at / 32u][at % 4u], at / 4u % 8u);
    }
}
