//! Transposed convolution: image, weight and bias, for every sort of window.

use kiln_engine::ops::ConvTransposeOptions;
use kiln_reference::ConvTranspose;
use kiln_tests::graph::seeded;
use kiln_tests::{device, gradient};

const PLAIN: ConvTransposeOptions<2> = ConvTransposeOptions {
    stride: [1, 1],
    padding: [0, 0],
    output_padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

/// The options as the oracle takes them.
fn spelled<const N: usize>(options: ConvTransposeOptions<N>) -> ConvTranspose<N> {
    let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } = options;
    ConvTranspose { stride, padding, output_padding, dilation, groups }
}

#[track_caller]
fn check(x: [usize; 4], weight: [usize; 4], bias: bool, options: ConvTransposeOptions<2>) {
    let Some(gpu) = device::gpu() else { return };
    let mut operands = vec![seeded("x", &x), seeded("weight", &weight)];
    if bias {
        operands.push(seeded("bias", &[weight[1] * options.groups]));
    }
    gradient::conforms(
        gpu,
        format!("{x:?} by {weight:?}, {options:?}"),
        &operands,
        |g, v| g.conv_transpose2d(v[0], v[1], v.get(2).copied(), options),
        |v| kiln_reference::conv_transpose2d(&v[0], &v[1], v.get(2), spelled(options)),
    );
}

#[test]
fn windows_of_every_size() {
    for (x, weight) in [
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([2, 3, 5, 4], [3, 4, 1, 1]),
        ([2, 1, 4, 3], [1, 3, 3, 3]),
        ([1, 2, 5, 6], [2, 3, 5, 5]),
        ([3, 4, 1, 1], [4, 2, 4, 3]),
    ] {
        check(x, weight, true, PLAIN);
        if weight[2] > 1 {
            check(x, weight, false, ConvTransposeOptions { padding: [1, 1], ..PLAIN });
        }
    }
}

/// Output padding that padding outweighs, that it does not, and, with dilation, by more than a stride.
#[test]
fn strides_dilations_and_paddings() {
    for (x, weight, stride, padding, output_padding, dilation) in [
        ([2, 2, 4, 3], [2, 3, 4, 4], [2, 2], [1, 1], [0, 0], [1, 1]),
        ([1, 2, 4, 5], [2, 2, 3, 3], [2, 2], [1, 1], [1, 1], [1, 1]),
        ([1, 2, 3, 4], [2, 1, 2, 3], [3, 2], [0, 0], [2, 1], [1, 1]),
        ([1, 1, 4, 4], [1, 2, 3, 2], [1, 2], [2, 0], [1, 2], [2, 3]),
        ([1, 2, 3, 3], [2, 2, 2, 2], [1, 1], [0, 1], [2, 2], [3, 3]),
    ] {
        let options = ConvTransposeOptions { stride, padding, output_padding, dilation, groups: 1 };
        check(x, weight, true, options);
    }
}

#[test]
fn groups() {
    for (x, weight, groups) in
        [([2, 4, 3, 4], [4, 3, 3, 3], 2), ([1, 3, 4, 4], [3, 1, 2, 2], 3), ([1, 2, 3, 5], [2, 3, 3, 2], 2)]
    {
        check(x, weight, true, ConvTransposeOptions { groups, stride: [2, 1], ..PLAIN });
    }
}

#[test]
fn along_one_axis() {
    let Some(gpu) = device::gpu() else { return };
    let options =
        ConvTransposeOptions { stride: [2], padding: [1], output_padding: [1], dilation: [2], groups: 2 };
    let operands = [seeded("x", &[2, 4, 5]), seeded("weight", &[4, 3, 3]), seeded("bias", &[6])];
    gradient::conforms(
        gpu,
        "conv_transpose1d",
        &operands,
        |g, v| g.conv_transpose1d(v[0], v[1], Some(v[2]), options),
        |v| kiln_reference::conv_transpose1d(&v[0], &v[1], Some(&v[2]), spelled(options)),
    );
}
