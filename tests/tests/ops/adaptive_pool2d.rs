//! Pooling to a given size, and to one number a plane.

use kiln_engine::GraphBuilder;
use kiln_engine::{DType, Tensor};
use kiln_gpu::Gpu;
use kiln_reference::reshape;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::{EXACT, SUM};
use kiln_tests::{data, device, golden};
use serde::Deserialize;

#[track_caller]
fn check(gpu: &Gpu, x: &Tensor, output: [usize; 2]) {
    let operands = [x.clone()];
    let x = array(x);
    let what = |name: &str| format!("{name} of {:?} to {output:?}", x.shape);
    let expected = kiln_reference::adaptive_max_pool2d(&x, output);
    let bounds = EXACT.bounds(&expected);
    conforms(gpu, what("max"), &operands, |g, v| g.adaptive_max_pool2d(v[0], output), &expected, &bounds);
    let expected = kiln_reference::adaptive_avg_pool2d(&x, output);
    let bounds = SUM.bounds(&kiln_reference::adaptive_avg_pool2d(&x.abs(), output));
    conforms(gpu, what("mean"), &operands, |g, v| g.adaptive_avg_pool2d(v[0], output), &expected, &bounds);
}

#[test]
fn sizes() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, output) in [
        ([1, 1, 1, 1], [1, 1]),
        ([2, 3, 7, 7], [7, 7]),
        ([2, 3, 7, 7], [1, 1]),
        ([1, 5, 14, 15], [7, 7]),
        ([1, 2, 13, 11], [7, 5]),
        ([3, 2, 5, 4], [7, 9]),
        ([1, 67, 6, 6], [6, 1]),
        ([1, 1, 1, 63], [1, 64]),
        ([1, 1, 65, 3], [2, 3]),
    ] {
        check(gpu, &seeded("x", &shape), output);
    }
}

#[test]
fn nan_and_infinities_come_through() {
    let Some(gpu) = device::gpu() else { return };
    let mut x = data::uniform("x", 2 * 6 * 7);
    x[3] = f32::NAN;
    x[42..].fill(f32::NEG_INFINITY);
    let x = f32_tensor(&[1, 2, 6, 7], x);
    for output in [[1, 1], [2, 3], [4, 4], [9, 7]] {
        check(gpu, &x, output);
    }
}

/// Windows beyond what a software driver lets one invocation loop over.
#[test]
fn large_windows() {
    let Some(gpu) = device::gpu() else { return };
    let x = seeded("x", &[1, 2, 400, 310]);
    for output in [[1, 1], [1, 2], [3, 2]] {
        check(gpu, &x, output);
    }
}

#[test]
fn one_axis_and_none() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", &[2, 3, 31])];
    let x = array(&operands[0]);
    let image = reshape(&x, &[2, 3, 1, 31]);
    let line = |made| reshape(&made, &[2, 3, 4]);
    let expected = line(kiln_reference::adaptive_max_pool2d(&image, [1, 4]));
    let bounds = EXACT.bounds(&expected);
    conforms(gpu, "max", &operands, |g, v| g.adaptive_max_pool1d(v[0], 4), &expected, &bounds);
    let expected = line(kiln_reference::adaptive_avg_pool2d(&image, [1, 4]));
    let bounds = SUM.bounds(&line(kiln_reference::adaptive_avg_pool2d(&image.abs(), [1, 4])));
    conforms(gpu, "mean", &operands, |g, v| g.adaptive_avg_pool1d(v[0], 4), &expected, &bounds);

    let operands = [seeded("x", &[3, 5, 7, 9])];
    let x = array(&operands[0]);
    let expected = kiln_reference::max(&x, &[2, 3], true);
    let bounds = EXACT.bounds(&expected);
    conforms(gpu, "global max", &operands, |g, v| g.global_max_pool2d(v[0]), &expected, &bounds);
    let expected = kiln_reference::mean(&x, &[2, 3], true);
    let bounds = SUM.bounds(&kiln_reference::mean(&x.abs(), &[2, 3], true));
    conforms(gpu, "global mean", &operands, |g, v| g.global_avg_pool2d(v[0]), &expected, &bounds);
}

#[test]
fn mistakes_name_the_layer() {
    let mut g = GraphBuilder::new("net");
    let x = g.input("x", &[3, 7, 7], DType::F32);
    let mistake = g.scope("pool", |g| g.global_avg_pool2d(x)).expect_err("three dimensions are no image");
    assert_eq!(
        mistake.to_string(),
        "adaptive_avg_pool2d \"net/pool\": input rank: expected 4, got f32[3, 7, 7]"
    );
}

#[derive(Deserialize)]
struct Attributes {
    output: [usize; 2],
}

#[test]
fn as_in_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    for (op, average) in [("adaptive_avg_pool2d", true), ("adaptive_max_pool2d", false)] {
        for case in golden::op_cases(op) {
            let Attributes { output } = case.attributes();
            let x = &case.inputs[0];
            let operands = [f32_tensor(&x.shape, x.data.iter().map(|&x| x as f32).collect())];
            let bounds = match average {
                true => SUM.bounds(&kiln_reference::adaptive_avg_pool2d(&x.abs(), output)),
                false => EXACT.bounds(&case.output),
            };
            conforms(
                gpu,
                &case.name,
                &operands,
                |g, v| match average {
                    true => g.adaptive_avg_pool2d(v[0], output),
                    false => g.adaptive_max_pool2d(v[0], output),
                },
                &case.output,
                &bounds,
            );
        }
    }
}
