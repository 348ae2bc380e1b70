//! shared_rows
//!
//! Rows of an image that the eight lanes of a subgroup, or four of them, load together, each another vector of rows of WIDTH
//! that follow each other, and hand on to each other.
//!
//! The kernel declares WIDTH; TILES, 1 or 2, the tiles that the subgroup's lanes have at once; INS, the numbers of a load, 4
//! or 8 of which make whole planes, and INPUT, the vector of WORD that holds them; IN_ROWS. It binds input as array<INPUT>,
//! planes of params.in_blocks of these; and uses window and words.

// Lanes that share a tile, and the words of a load.
const SHARE: u32 = 8u / TILES;
const IN_WORDS: u32 = INS * 32u / BITS;
// Loads of a lane.
const LOADS: u32 = (IN_ROWS * WIDTH + (SHARE * INS - 1u)) / (SHARE * INS);
// Vectors of a load.
const FOURS: u32 = INS / 4u;

alias Tile = array<vec4<f32>, LOADS * FOURS>;
alias Row = array<f32, WIDTH>;

// The first of the lanes that share this lane's tile: the kernel sets it where there are two.
var<private> first_lane: u32;

// A lane's loads, SHARE apart, from number `first` of the plane on that begins at load `plane`. Rows above and below the
// image are zeros.
fn load_rows(tile: ptr<function, Tile>, plane: u32, first: i32) {
    for (var i = 0u; i < LOADS; i++) {
        let block = first + i32(SHARE * i);
        let inside = window_inside(block, params.in_blocks);
        let words = input[plane + window_clamp(block, params.in_blocks)];
        let a = four(words[0], words[1], words[2u % IN_WORDS], words[3u % IN_WORDS]);
        (*tile)[FOURS * i] = select(vec4<f32>(), a, inside);
        if (FOURS == 2u) {
            let b = four(words[2u % IN_WORDS], words[3u % IN_WORDS], words[0], words[1]);
            (*tile)[FOURS * i + 1u] = select(vec4<f32>(), b, inside);
        }
    }
}

// Row q of what the lanes hold, for all of them: each number by a shuffle from a lane that is known when the kernel is
// compiled.
fn shared_row(x: ptr<function, Row>, tile: ptr<function, Tile>, q: u32) {
    for (var i = 0u; i < WIDTH; i++) {
        let at = q * WIDTH + i;
        let own = (*tile)[at / (SHARE * INS) * FOURS + at % INS / 4u][at % 4u];
        let lane = at / INS % SHARE;
        if (TILES > 1u) {
            (*x)[i] = subgroupShuffle(own, first_lane + lane);
        } else {
            (*x)[i] = subgroupShuffle(own, lane);
        }
    }
}
