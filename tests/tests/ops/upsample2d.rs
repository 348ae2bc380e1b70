//! Images of another size, and channels dealt out anew.

use kiln_engine::{DType, GraphBuilder, Tensor};
use kiln_gpu::Gpu;
use kiln_reference::{Array, permute, reshape};
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::UPSAMPLE;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

#[track_caller]
fn check(gpu: &Gpu, x: &Tensor, output: [usize; 2]) {
    let operands = [x.clone()];
    let x = array(x);
    let what = |name: &str| format!("{name} of {:?} to {output:?}", x.shape);
    let expected = kiln_reference::upsample_nearest2d(&x, output);
    let bounds = vec![0.0; expected.data.len()];
    conforms(gpu, what("nearest"), &operands, |g, v| g.upsample_nearest2d(v[0], output), &expected, &bounds);
    for corners in [false, true] {
        let expected = kiln_reference::upsample_bilinear2d(&x, output, corners);
        let bounds = UPSAMPLE.bounds(&kiln_reference::upsample_bilinear2d(&x.abs(), output, corners));
        let what = what(if corners { "bilinear with corners" } else { "bilinear" });
        conforms(
            gpu,
            what,
            &operands,
            |g, v| g.upsample_bilinear2d(v[0], output, corners),
            &expected,
            &bounds,
        );
    }
}

#[test]
fn larger_and_smaller() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, output) in [
        ([1, 1, 1, 1], [1, 1]),
        ([1, 1, 1, 1], [5, 3]),
        ([2, 3, 4, 5], [8, 10]),
        ([1, 2, 7, 9], [14, 27]),
        ([1, 2, 7, 9], [7, 9]),
        ([1, 2, 7, 9], [7, 11]),
        ([3, 2, 5, 4], [7, 9]),
        ([1, 2, 16, 17], [5, 3]),
        ([1, 2, 16, 17], [1, 1]),
        ([1, 1, 27, 40], [61, 79]),
        ([1, 3, 3, 64], [2, 65]),
        ([1, 1, 2, 1], [3, 67]),
    ] {
        check(gpu, &seeded("x", &shape), output);
    }
}

/// Ratios that single precision rounds to the other side of a whole number, of which PyTorch takes the lower element.
#[test]
fn nearest_rounds_as_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    for (input, output) in [(2, 82), (2, 94), (3, 123), (10, 410), (7, 287)] {
        check(gpu, &seeded("x", &[1, 1, 1, input]), [1, output]);
    }
}

#[test]
fn nan_and_infinity_spread_to_their_neighbours_alone() {
    let Some(gpu) = device::gpu() else { return };
    let mut x = data::uniform("x", 5 * 6);
    x[8] = f32::NAN;
    x[22] = f32::INFINITY;
    let x = f32_tensor(&[1, 1, 5, 6], x);
    for output in [[10, 12], [5, 11], [9, 6], [5, 6], [3, 4]] {
        check(gpu, &x, output);
    }
}

#[test]
fn one_axis() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[2, 3, 13])];
    let image = reshape(&array(&operands[0]), &[2, 3, 1, 13]);
    let line = |made| reshape(&made, &[2, 3, 29]);
    let expected = line(kiln_reference::upsample_nearest2d(&image, [1, 29]));
    let bounds = vec![0.0; expected.data.len()];
    conforms(gpu, "nearest", &operands, |g, v| g.upsample_nearest1d(v[0], 29), &expected, &bounds);
    for corners in [false, true] {
        let expected = line(kiln_reference::upsample_bilinear2d(&image, [1, 29], corners));
        let bounds =
            UPSAMPLE.bounds(&line(kiln_reference::upsample_bilinear2d(&image.abs(), [1, 29], corners)));
        conforms(gpu, "linear", &operands, |g, v| g.upsample_linear1d(v[0], 29, corners), &expected, &bounds);
    }
}

#[test]
fn channels_are_shuffled() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, groups) in
        [(&[2, 6, 3, 5][..], 3), (&[1, 6, 4], 2), (&[3, 5, 2, 2], 1), (&[2, 8], 8), (&[2, 12, 2, 1, 3], 4)]
    {
        let operands = [seeded("x", shape)];
        let x = array(&operands[0]);
        let plane: usize = shape[2..].iter().product();
        let split = reshape(&x, &[shape[0], groups, shape[1] / groups, plane]);
        let expected = reshape(&permute(&split, &[0, 2, 1, 3]), shape);
        let bounds = vec![0.0; expected.data.len()];
        let what = format!("{shape:?} in {groups} groups");
        conforms(gpu, what, &operands, |g, v| g.channel_shuffle(v[0], groups), &expected, &bounds);
    }
}

#[test]
fn groups_that_do_not_divide_are_named() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[1, 6, 2, 2], DType::F32);
    for (groups, expected) in [
        (4, "channel_shuffle \"net\": groups: expected a divisor of the 6 channels, got 4"),
        (0, "channel_shuffle \"net\": groups: expected a divisor of the 6 channels, got 0"),
    ] {
        assert_eq!(g.channel_shuffle(x, groups).expect_err("not a divisor").to_string(), expected);
    }
}

#[derive(Deserialize)]
struct Attributes {
    output: [usize; 2],
    #[serde(default)]
    align_corners: bool,
}

#[test]
fn as_in_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    let operands = |x: &Array| [f32_tensor(&x.shape, x.data.iter().map(|&x| x as f32).collect())];
    for case in golden::op_cases("upsample_nearest2d") {
        let Attributes { output, .. } = case.attributes();
        let operands = operands(&case.inputs[0]);
        let bounds = vec![0.0; case.output.data.len()];
        conforms(
            gpu,
            &case.name,
            &operands,
            |g, v| g.upsample_nearest2d(v[0], output),
            &case.output,
            &bounds,
        );
    }
    for case in golden::op_cases("upsample_bilinear2d") {
        let Attributes { output, align_corners } = case.attributes();
        let terms = kiln_reference::upsample_bilinear2d(&case.inputs[0].abs(), output, align_corners);
        conforms(
            gpu,
            &case.name,
            &operands(&case.inputs[0]),
            |g, v| g.upsample_bilinear2d(v[0], output, align_corners),
            &case.output,
            &UPSAMPLE.bounds(&terms),
        );
    }
    for case in golden::op_cases("channel_shuffle") {
        #[derive(Deserialize)]
        struct Groups {
            groups: usize,
        }
        let Groups { groups } = case.attributes();
        let bounds = vec![0.0; case.output.data.len()];
        let operands = operands(&case.inputs[0]);
        conforms(gpu, &case.name, &operands, |g, v| g.channel_shuffle(v[0], groups), &case.output, &bounds);
    }
}
