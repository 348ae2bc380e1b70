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

// The other way round: the windows that reach over any of the positions from `low` to `high` of the input, both included,
// are those from `first` to before `end`. With a dilation they may pass over them all.
struct WindowRange {
    first: i32,
    end: i32,
}

fn window_range(low: u32, high: u32, span: u32, stride: u32, before: u32, outputs: u32) -> WindowRange {
    // A window that starts here, counted with the padding, or earlier ends before `low`.
    let over = i32(low + before) - i32(span);
    let first = select(0, over / i32(stride) + 1, over >= 0);
    return WindowRange(first, i32(min((high + before) / stride + 1u, outputs)));
}

// Adaptive pooling: the windows floor(i * extent / outputs) .. ceil((i + 1) * extent / outputs) share the input evenly.
// The host keeps outputs * (extent + 1) within u32.
fn window_adaptive(output: u32, outputs: u32, extent: u32) -> WindowTaps {
    let start = output * extent / outputs;
    let end = ((output + 1u) * extent + outputs - 1u) / outputs;
    return WindowTaps(i32(start), 0, i32(end - start));
}

// The windows over positions of the input are those that share the outputs evenly among its elements. The host keeps
// extent * (outputs + 1) within u32.
fn window_adaptive_range(low: u32, high: u32, outputs: u32, extent: u32) -> WindowRange {
    let last = window_adaptive(high, extent, outputs);
    return WindowRange(window_adaptive(low, extent, outputs).start, last.start + last.end);
}

// The element nearest to a place of a resized axis, by the ratio of the extents.
fn window_nearest(place: u32, scale: f32, extent: u32) -> u32 {
    return window_clamp(i32(floor(f32(place) * scale)), extent);
}

// The first place of a resized axis whose nearest element is `element` or one behind it, `places` where there is none:
// those of an element lie between its first and the next one's. `inverse` is the ratio the other way, whose product may
// be off by `slack` places.
fn window_nearest_first(element: u32, scale: f32, inverse: f32, slack: u32, extent: u32, places: u32) -> u32 {
    var place = u32(max(0, i32(floor(f32(element) * inverse)) - i32(slack)));
    while (place < places && window_nearest(place, scale, extent) < element) {
        place++;
    }
    return place;
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

// The places that fall to an element, or between it and the one before: those from `first` to before `end`. `reach` is 0
// where every place is an element. The host keeps extent * below + |offset| within i32.
fn window_between_range(element: u32, step: u32, offset: i32, below: u32, reach: u32, places: u32) -> WindowRange {
    // Positions times `below`: of the element before, and of the one behind. Without steps all are those of the first.
    let low = (i32(element) - i32(reach)) * i32(below) - offset;
    let high = (i32(element) + 1) * i32(below) - offset;
    if (step == 0u) {
        return WindowRange(0, select(0, i32(places), element <= reach));
    }
    let first = select(0, (low + i32(step) - 1) / i32(step), low > 0);
    let end = select(0, (high + i32(step) - 1) / i32(step), high > 0);
    return WindowRange(first, min(end, i32(places)));
}

// What a place of a resized axis takes of an element.
fn window_between_share(place: u32, element: u32, step: u32, offset: i32, below: u32, reach: u32, extent: u32) -> f32 {
    let at = window_between(place, step, offset, below);
    let next = window_clamp(i32(at.first + reach), extent);
    return select(0.0, 1.0 - at.share, at.first == element) + select(0.0, at.share, next == element);
}
