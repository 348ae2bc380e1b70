//! Convolution: image, weight and bias, for every sort of window.

use kiln_engine::Padding;
use kiln_engine::ops::ConvOptions;
use kiln_reference::Conv;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

/// Neither stride nor padding, dilation or groups.
const PLAIN: ConvOptions<2> =
    ConvOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 };

/// The options as the oracle takes them.
fn spelled<const N: usize>(options: ConvOptions<N>) -> Conv<N> {
    let padding = match options.padding {
        Padding::Sides(sides) => sides,
        _ => [[0; 2]; N],
    };
    Conv { stride: options.stride, padding, dilation: options.dilation, groups: options.groups }
}

#[track_caller]
fn check(x: [usize; 4], weight: [usize; 4], bias: bool, options: ConvOptions<2>) {
    let Some(gpu) = device::gpu() else { return };
    let mut operands = vec![seeded("x", &x), seeded("weight", &weight)];
    if bias {
        operands.push(seeded("bias", &weight[..1]));
    }
    gradient::conforms(
        gpu,
        format!("{x:?} by {weight:?}, {options:?}"),
        &operands,
        |g, v| g.conv2d(v[0], v[1], v.get(2).copied(), options),
        |v| kiln_reference::conv2d(&v[0], &v[1], v.get(2), spelled(options)),
    );
}

#[test]
fn windows_of_every_size() {
    for (x, weight) in [
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([2, 3, 5, 4], [4, 3, 1, 1]),
        ([2, 1, 7, 6], [3, 1, 3, 3]),
        ([3, 2, 9, 10], [5, 2, 5, 5]),
        ([1, 3, 5, 6], [2, 3, 2, 4]),
        ([2, 2, 3, 9], [3, 2, 3, 7]),
    ] {
        check(x, weight, true, PLAIN);
        check(x, weight, false, ConvOptions { padding: Padding::all(1), ..PLAIN });
    }
}

/// Whatever a stride leaves over, whichever side has more padding, and padding that no tap reaches past.
#[test]
fn strides_dilations_and_paddings() {
    let sides = |top, bottom, left, right| Padding::Sides([[top, bottom], [left, right]]);
    for (x, weight, stride, padding, dilation) in [
        ([2, 2, 7, 8], [3, 2, 3, 3], [2, 2], Padding::all(1), [1, 1]),
        ([1, 2, 8, 7], [3, 2, 2, 2], [3, 2], Padding::Valid, [1, 1]),
        ([1, 2, 5, 9], [2, 2, 1, 1], [2, 3], Padding::Valid, [1, 1]),
        ([1, 1, 7, 7], [2, 1, 3, 2], [1, 1], Padding::all(2), [2, 3]),
        ([1, 2, 9, 9], [2, 2, 2, 3], [2, 3], Padding::all(1), [3, 2]),
        ([1, 1, 5, 5], [2, 1, 3, 3], [1, 1], sides(0, 3, 2, 0), [1, 1]),
        ([1, 1, 5, 6], [2, 1, 3, 3], [2, 1], sides(4, 0, 0, 5), [1, 2]),
        ([2, 1, 3, 2], [2, 1, 2, 2], [1, 1], Padding::all(4), [1, 1]),
        ([1, 1, 3, 3], [1, 1, 2, 2], [3, 2], sides(5, 2, 3, 7), [1, 1]),
        ([1, 2, 2, 2], [2, 2, 5, 5], [1, 1], Padding::all(2), [1, 1]),
    ] {
        check(x, weight, true, ConvOptions { stride, padding, dilation, groups: 1 });
    }
}

#[test]
fn groups() {
    for (x, weight, groups) in [
        ([2, 4, 5, 5], [6, 2, 3, 3], 2),
        ([1, 3, 6, 7], [3, 1, 3, 3], 3),
        ([2, 2, 5, 6], [6, 1, 2, 3], 2),
        ([1, 6, 4, 3], [3, 2, 1, 1], 3),
        ([1, 4, 8, 7], [4, 1, 5, 5], 4),
    ] {
        check(x, weight, true, ConvOptions { groups, ..PLAIN });
        let strided = ConvOptions { groups, stride: [2, 1], padding: Padding::all(1), ..PLAIN };
        check(x, weight, false, strided);
        check(x, weight, false, ConvOptions { stride: [2, 2], ..strided });
    }
}

/// A window that covers its image makes both gradients products of matrices.
#[test]
fn fully_connected() {
    check([3, 2, 4, 3], [5, 2, 4, 3], true, PLAIN);
    check([4, 7, 1, 1], [3, 7, 1, 1], true, PLAIN);
}

#[test]
fn along_one_axis() {
    let Some(gpu) = device::gpu() else { return };
    let options = ConvOptions { stride: [2], padding: Padding::Sides([[2, 0]]), dilation: [2], groups: 2 };
    let operands = [seeded("x", &[2, 4, 9]), seeded("weight", &[6, 2, 3]), seeded("bias", &[6])];
    gradient::conforms(
        gpu,
        "conv1d",
        &operands,
        |g, v| g.conv1d(v[0], v[1], Some(v[2]), options),
        |v| kiln_reference::conv1d(&v[0], &v[1], Some(&v[2]), spelled(options)),
    );
}
