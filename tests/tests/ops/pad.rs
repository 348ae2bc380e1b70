//! More elements around a tensor.

use kiln_engine::ops::PadMode;
use kiln_engine::{DType, GraphBuilder, Session, Tensor};
use kiln_gpu::Gpu;
use kiln_reference::Pad;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded, u32_tensor};
use kiln_tests::{data, device, golden};
use serde::Deserialize;

const MODES: [(PadMode, Pad); 3] = [
    (PadMode::Constant(-0.75), Pad::Constant(-0.75)),
    (PadMode::Reflect, Pad::Reflect),
    (PadMode::Replicate, Pad::Replicate),
];

#[track_caller]
fn check(gpu: &Gpu, x: &Tensor, sides: &[[usize; 2]], mode: (PadMode, Pad)) {
    let operands = [x.clone()];
    let all = [vec![[0, 0]; x.shape().len() - sides.len()], sides.to_vec()].concat();
    let expected = kiln_reference::pad(&array(x), &all, mode.1);
    let bounds = vec![0.0; expected.data.len()];
    let what = format!("{:?} of {:?} by {sides:?}", mode.0, x.shape());
    conforms(gpu, what, &operands, |g, v| g.pad(v[0], sides, mode.0), &expected, &bounds);
}

#[test]
fn any_sides_of_any_rank() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, sides) in [
        (&[5][..], &[[3, 4]][..]),
        (&[67], &[[0, 1]]),
        (&[2, 3, 7, 9], &[[1, 1], [1, 1]]),
        (&[2, 3, 7, 9], &[[6, 0], [0, 8]]),
        (&[2, 3, 7, 9], &[[0, 0], [2, 1]]),
        (&[2, 3, 7, 9], &[[2, 1], [0, 0]]),
        (&[2, 3, 7, 9], &[[1, 2], [0, 0], [0, 3]]),
        (&[3, 2, 5], &[[1, 2], [0, 0], [0, 0]]),
        (&[3, 2, 5], &[[2, 0], [1, 1], [4, 4]]),
        (&[2, 1, 65], &[[0, 0], [0, 0], [0, 0]]),
        (&[2, 2, 3, 2, 2, 3, 2, 3], &[[1, 0], [0, 1], [2, 1], [1, 1], [0, 1], [1, 2], [1, 0], [2, 2]]),
    ] {
        for mode in MODES {
            check(gpu, &seeded("x", shape), sides, mode);
        }
    }
    check(gpu, &seeded("x", &[1, 1, 2]), &[[3, 2], [5, 7]], MODES[0]);
    check(gpu, &seeded("x", &[1, 1, 2]), &[[3, 2], [5, 7]], MODES[2]);
    check(gpu, &seeded("x", &[]), &[], MODES[0]);
}

#[test]
fn every_number_arrives() {
    let Some(gpu) = device::gpu() else { return };
    let mut x = data::uniform("x", 12);
    for (place, value) in [(0, f32::NAN), (1, f32::NEG_INFINITY), (5, -0.0), (11, f32::NAN)] {
        x[place] = value;
    }
    let x = f32_tensor(&[3, 4], x);
    for mode in MODES {
        check(gpu, &x, &[[1, 1], [2, 2]], mode);
    }
    for value in [f32::NAN, f32::NEG_INFINITY, f32::MAX] {
        check(gpu, &x, &[[1, 0], [0, 2]], (PadMode::Constant(value), Pad::Constant(f64::from(value))));
    }
}

#[test]
fn indices_are_moved_as_they_are() {
    let Some(gpu) = device::gpu() else { return };
    let mut g = GraphBuilder::new("test");
    let x = g.input("x", &[3], DType::U32);
    let y = g.pad(x, &[[1, 2]], PadMode::Reflect).expect("indices should be reflected");
    g.output("y", y);
    let mut session = Session::new(gpu);
    let plan = session.load(&g.finish(), &kiln_engine::NoWeights).expect("the graph should load");
    let x = u32_tensor(&[3], vec![7, u32::MAX, 0x7fc0_1234]);
    let y = session.run(plan, &[("x", &x)]).expect("it should run").take("y").expect("y should be there");
    assert_eq!(y.as_u32().expect("y should be u32"), [u32::MAX, 7, u32::MAX, 0x7fc0_1234, u32::MAX, 7]);
}

#[derive(Deserialize)]
struct Attributes {
    sides: Vec<[usize; 2]>,
    mode: String,
    #[serde(default)]
    value: f32,
}

#[test]
fn as_in_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    for case in golden::op_cases("pad") {
        let Attributes { sides, mode, value } = case.attributes();
        let mode = match mode.as_str() {
            "constant" => PadMode::Constant(value),
            "reflect" => PadMode::Reflect,
            "replicate" => PadMode::Replicate,
            other => panic!("{}: what is {other}?", case.name),
        };
        let x = &case.inputs[0];
        let operands = [f32_tensor(&x.shape, x.data.iter().map(|&x| x as f32).collect())];
        let bounds = vec![0.0; case.output.data.len()];
        conforms(gpu, &case.name, &operands, |g, v| g.pad(v[0], &sides, mode), &case.output, &bounds);
    }
}
