//! The gradient of padding.

use kiln_engine::ops::{PadGrad, PadMode};
use kiln_engine::{GraphBuilder, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::Pad;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::SUM;
use kiln_tests::{data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, operands};

const MODES: [(PadMode, Pad); 3] = [
    (PadMode::Constant(-0.75), Pad::Constant(-0.75)),
    (PadMode::Reflect, Pad::Reflect),
    (PadMode::Replicate, Pad::Replicate),
];

/// The gradient of what a tensor of such a shape became.
fn seeded_grad(shape: &[usize], sides: &[[usize; 2]]) -> Tensor {
    let padded: Vec<usize> =
        shape.iter().zip(sides).map(|(extent, [before, after])| before + extent + after).collect();
    seeded("grad", &padded)
}

#[track_caller]
fn check(gpu: &Gpu, shape: &[usize], sides: &[[usize; 2]], grad: Tensor, mode: (PadMode, Pad)) {
    let operands = [grad];
    let grad = array(&operands[0]);
    let expected = kiln_reference::pad_grad(shape, &grad, sides, mode.1);
    let bounds = SUM.bounds(&kiln_reference::pad_grad(shape, &grad.abs(), sides, mode.1));
    let what = format!("{:?} of {shape:?} by {sides:?}", mode.0);
    let build = |g: &mut GraphBuilder, v: &[Value]| {
        sides
            .iter()
            .enumerate()
            .try_fold(v[0], |grad, (dim, &sides)| g.apply(PadGrad { dim, sides, mode: mode.0 }, &[grad]))
    };
    conforms(gpu, what, &operands, build, &expected, &bounds);
}

#[test]
fn any_sides_of_any_rank() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, sides) in [
        (&[5][..], &[[3, 4]][..]),
        (&[67], &[[0, 1]]),
        (&[1, 1, 3], &[[0, 0], [0, 0], [2, 2]]),
        (&[2, 3, 7, 9], &[[0, 0], [0, 0], [1, 1], [1, 1]]),
        (&[2, 3, 7, 8], &[[0, 0], [0, 0], [6, 0], [0, 7]]),
        (&[2, 3, 7, 12], &[[0, 0], [0, 0], [2, 1], [0, 0]]),
        (&[2, 3, 7, 9], &[[0, 0], [2, 1], [0, 0], [0, 3]]),
        (&[3, 2, 5], &[[1, 2], [0, 0], [0, 0]]),
        (&[3, 2, 5], &[[2, 0], [1, 1], [4, 4]]),
        (&[2, 2, 3, 2, 2, 3, 2, 3], &[[1, 0], [0, 1], [2, 1], [1, 1], [0, 1], [1, 2], [1, 0], [2, 2]]),
    ] {
        for mode in MODES {
            check(gpu, shape, sides, seeded_grad(shape, sides), mode);
        }
    }
    // More padding than there are elements.
    for mode in [MODES[0], MODES[2]] {
        let (shape, sides) = ([2, 1, 2], [[0, 0], [3, 2], [50, 70]]);
        check(gpu, &shape, &sides, seeded_grad(&shape, &sides), mode);
    }
}

/// What a number is given arrives where it belongs and nowhere else, NaN and infinity too; what the padding is given by a
/// constant is lost.
#[test]
fn nothing_spreads() {
    let Some(gpu) = device::gpu() else { return };
    let mut grad = data::uniform("grad", 5 * 8);
    for (place, value) in [(0, f32::NAN), (13, f32::NEG_INFINITY), (26, f32::NAN), (39, f32::INFINITY)] {
        grad[place] = value;
    }
    for mode in MODES {
        check(gpu, &[3, 4], &[[1, 1], [2, 2]], f32_tensor(&[5, 8], grad.clone()), mode);
    }
}

/// The ends of a long border are long sums, which a software adapter cuts short at some length: beyond it is refused.
#[test]
fn long_borders() {
    let Some(gpu) = device::gpu() else { return };
    let (shape, sides) = ([1, 3], [[0, 0], [6000, 5000]]);
    check(gpu, &shape, &sides, seeded_grad(&shape, &sides), MODES[2]);
}

#[derive(Deserialize)]
struct Attributes {
    sides: Vec<[usize; 2]>,
    mode: String,
}

#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("pad_grad") {
        let Attributes { sides, mode } = case.attributes();
        let mode = match mode.as_str() {
            "constant" => MODES[0],
            "reflect" => MODES[1],
            "replicate" => MODES[2],
            other => panic!("{}: what is {other}?", case.name),
        };
        let shape = &case.output.shape;
        let sides = [vec![[0; 2]; shape.len() - sides.len()], sides].concat();
        assert_oracle(&case, &kiln_reference::pad_grad(shape, &case.inputs[0], &sides, mode.1));
        let Some(gpu) = device::gpu() else { continue };
        check(gpu, shape, &sides, operands(&case)[0].clone(), mode);
    }
}
