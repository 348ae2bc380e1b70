//! window
//!
//! Where windows lie: every rule by which convolution, transposed convolution, pooling, padding and resizing go from a
//! position of the output to one of the input, along one axis. A tap is the position in the window; before is the
//! padding in front of the input. Positions are signed, since windows reach into the padding: the caller asks
//! window_inside, and reads at window_clamp where it must have an address all the same. The host keeps all products
//! within i32.

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

// The transposed direction: a tap brings to an output the input position for which position * stride + tap * dilation =
// output + before, if there is one. Outputs that agree modulo the stride are a phase, those at phase + i * stride: a tap
// meets all of them or none, and brings the i-th the position i + shift, which may lie outside of the input.
fn window_meets(phase: u32, tap: u32, stride: u32, dilation: u32, before: u32) -> bool {
    return (i32(phase + before) - i32(tap * dilation)) % i32(stride) == 0;
}

fn window_shift(phase: u32, tap: u32, stride: u32, dilation: u32, before: u32) -> i32 {
    return (i32(phase + before) - i32(tap * dilation)) / i32(stride);
}

// The first tap of a window that meets a phase: the others follow at every step = stride / gcd(stride, dilation). Past
// every window where none does.
fn window_first(phase: u32, taps: u32, step: u32, stride: u32, dilation: u32, before: u32) -> u32 {
    var tap = 0u;
    let end = min(taps, step);
    while (tap < end && !window_meets(phase, tap, stride, dilation, before)) {
        tap++;
    }
    return select(tap, 0x7fffffffu, tap == end);
}

// The taps of a window that lie on the input are those from `first` to before `end`: the bounds of a loop that asks no
// more. The tap 0 is at the position `start`.
struct WindowTaps {
    start: i32,
    first: i32,
    end: i32,
}

fn window_taps(output: u32, taps: u32, stride: u32, dilation: u32, before: u32, extent: u32) -> WindowTaps {
    let start = window_input(output, 0u, stride, dilation, before);
    let step = i32(dilation);
    let first = select(0, (step - 1 - start) / step, start < 0);
    let past = select(0, (i32(extent) + step - 1 - start) / step, start < i32(extent));
    return WindowTaps(start, first, min(i32(taps), past));
}

// How many taps lie on the input or the padding around it, without dilation: fewer than the window has where a window
// reaches past the padding.
fn window_places(output: u32, taps: u32, stride: u32, padded: u32) -> i32 {
    return min(i32(taps), i32(padded) - i32(output * stride));
}

// Adaptive pooling: the windows floor(i * extent / outputs) .. ceil((i + 1) * extent / outputs) share the input evenly.
// The host keeps outputs * (extent + 1) within u32.
fn window_adaptive(output: u32, outputs: u32, extent: u32) -> WindowTaps {
    let start = output * extent / outputs;
    let end = ((output + 1u) * extent + outputs - 1u) / outputs;
    return WindowTaps(i32(start), 0, i32(end - start));
}

// The element nearest to a place of a resized axis, by the ratio of the extents.
fn window_nearest(place: u32, scale: f32, extent: u32) -> u32 {
    return window_clamp(i32(floor(f32(place) * scale)), extent);
}

// Between which elements a place of a resized axis falls: after `first`, whose successor has the share `share`. The
// position (place * step + offset) / below is not taken before 0.
struct WindowBetween {
    first: u32,
    share: f32,
}

fn window_between(place: u32, step: u32, offset: i32, below: u32) -> WindowBetween {
    let position = max(0, i32(place * step) + offset);
    let first = position / i32(below);
    return WindowBetween(u32(first), f32(position - first * i32(below)) / f32(below));
}
