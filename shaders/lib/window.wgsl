//! window
//!
//! Where windows lie: every rule by which convolution, transposed convolution and pooling go from a position of the
//! output to one of the input, along one axis. A tap is the position in the window; before is the padding in front of
//! the input. Positions are signed, since windows reach into the padding: the caller asks window_inside, and reads at
//! window_clamp where it must have an address all the same. The host keeps all products within i32.

// The input position that meets a tap: output * stride + tap * dilation - before. May lie outside of the input.
fn window_input(output: u32, tap: u32, stride: u32, dilation: u32, before: u32) -> i32 {
    return i32(output * stride + tap * dilation) - i32(before);
}

// Whether a position is one of the input's, not of the padding's.
fn window_inside(position: i32, extent: u32) -> bool {
    return position >= 0 && position < i32(extent);
}

// The input's nearest position: a legal address for what is then not used. The extent is not 0.
fn window_clamp(position: i32, extent: u32) -> u32 {
    return u32(clamp(position, 0, i32(extent) - 1));
}

// The transposed direction: the input position i that a tap brings to an output, i * stride + tap * dilation =
// output + before. -1 where there is none, since the tap comes too late or the stride steps over the place; at or past
// the input's end where the tap comes too early: window_inside tells.
fn window_source(output: u32, tap: u32, stride: u32, dilation: u32, before: u32) -> i32 {
    let scaled = i32(output + before) - i32(tap * dilation);
    return select(-1, scaled / i32(stride), scaled >= 0 && scaled % i32(stride) == 0);
}

// How many taps of a window lie on the input: what an average without its padding divides by. Taps count from 0; the
// window starts at `start`, see window_input.
fn window_taps_inside(start: i32, taps: u32, dilation: u32, extent: u32) -> u32 {
    let step = i32(dilation);
    let first = select(0, (step - 1 - start) / step, start < 0);
    let past = (i32(extent) + step - 1 - start) / step;
    let end = min(i32(taps), select(0, past, start < i32(extent)));
    return u32(max(0, end - first));
}
