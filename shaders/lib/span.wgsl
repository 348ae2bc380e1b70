//! span
//!
//! Neighbouring numbers of a row, loaded in blocks of four: where a load costs the same whatever its width, as on
//! software adapters, this is a quarter of the loads. The kernel declares SPAN, how many numbers it wants, and binds
//! `input` as vectors; it uses window as well.

// The vectors that hold a span, wherever in the first one it starts.
const SPAN_BLOCKS: u32 = (SPAN + 6u) / 4u;

// The numbers from iw on of a row that starts at the element row_start and is `width` long; 0 beside the row, and
// everywhere if it is itself outside. The input has so many blocks.
fn load_span(x: ptr<function, array<f32, SPAN>>, row_start: u32, inside: bool, iw: i32, width: u32, blocks: u32) {
    let at = i32(row_start) + iw;
    var y: array<f32, 4u * SPAN_BLOCKS>;
    for (var i = 0u; i < SPAN_BLOCKS; i++) {
        // The conversion is for kernels whose variants read single numbers otherwise.
        let block = vec4<f32>(input[u32(clamp((at >> 2u) + i32(i), 0, i32(blocks) - 1))]);
        y[4u * i] = block.x;
        y[4u * i + 1u] = block.y;
        y[4u * i + 2u] = block.z;
        y[4u * i + 3u] = block.w;
    }
    let by_one = (at & 1) > 0;
    for (var i = 0u; i < SPAN + 2u; i++) {
        y[i] = select(y[i], y[i + 1u], by_one);
    }
    let by_two = (at & 2) > 0;
    for (var i = 0u; i < SPAN; i++) {
        (*x)[i] = select(0.0, select(y[i], y[i + 2u], by_two), inside && window_inside(iw + i32(i), width));
    }
}
