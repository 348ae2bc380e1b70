//! Dropout: the elements that the oracle's random numbers choose, on every device and in every part of a tensor.

use kiln_engine::{DType, GraphBuilder, Session};
use kiln_tests::graph::{array, conforms, f32_tensor, profiles, seeded, u32_tensor};
use kiln_tests::tolerance::ROUNDED;
use kiln_tests::{device, graph};

fn check(shape: &[usize], p: f32, random: [u32; 4], stream: u32) {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("x", shape), u32_tensor(&[4], random.to_vec())];
    let expected = kiln_reference::dropout(&array(&operands[0]), f64::from(p), random, stream);
    // The factor is rounded, and the product.
    let bounds: Vec<f64> = ROUNDED.bounds(&expected).iter().map(|bound| 2.0 * bound).collect();
    let what = format!("p {p} of {shape:?}, {random:?} {stream}");
    conforms(gpu, what, &operands, |g, v| g.dropout(v[0], p, v[1], stream), &expected, &bounds);
}

#[test]
fn the_elements_that_the_oracle_keeps() {
    check(&[], 0.5, [0; 4], 0);
    check(&[3], 0.5, [1, 0, 0, 0], 0);
    check(&[7, 11], 0.1, [1, 2, 3, 0], 4);
    check(&[5, 4, 6, 13], 0.9, [u32::MAX, u32::MAX, u32::MAX, 0], u32::MAX);
    check(&[2, 1024], 0.3, [0x1234_5678, 0x9abc_def0, 1_000_000, 0], 2);
    check(&[9, 5], 0.0, [1, 2, 3, 0], 4);
    check(&[9, 5], 1.0, [1, 2, 3, 0], 4);
    check(&[9, 5], 1e-30, [1, 2, 3, 0], 4);
}

/// Of a hundred thousand elements the share that is kept, by steps: the standard deviation is at most 158.
#[test]
fn as_many_are_kept_as_asked_for() {
    let Some(gpu) = device::gpu() else { return };
    const COUNT: usize = 100_000;
    for p in [0.1f32, 0.5, 0.8] {
        let mut g = GraphBuilder::new("test");
        let (x, random) = (g.input("x", &[COUNT], DType::F32), g.input("random", &[4], DType::U32));
        let y = g.dropout(x, p, random, 0).expect("the shapes fit");
        g.output("y", y);
        let mut session = Session::new(gpu);
        let plan =
            session.load(&g.finish(), &std::collections::HashMap::new()).expect("the graph should load");
        let ones = f32_tensor(&[COUNT], vec![1.0; COUNT]);
        let mut masks: Vec<Vec<bool>> = Vec::new();
        for step in 0..4 {
            let random = u32_tensor(&[4], vec![5, 6, step, 0]);
            let mut made =
                session.run(plan, &[("x", &ones), ("random", &random)]).expect("the plan should run");
            let made = made.take("y").expect("the run should give y");
            let made = made.as_f32().expect("y should be f32");
            let mask: Vec<bool> = made.iter().map(|&y| y != 0.0).collect();
            let kept = mask.iter().filter(|&&kept| kept).count();
            let expected = COUNT as f64 * f64::from(1.0 - p);
            assert!(
                (kept as f64 - expected).abs() < 5.0 * 158.0,
                "{kept} of {COUNT} with p {p} in step {step}"
            );
            let mean: f64 = made.iter().map(|&y| f64::from(y)).sum::<f64>() / COUNT as f64;
            assert!((mean - 1.0).abs() < 0.04, "a mean of {mean} with p {p}");
            masks.push(mask);
        }
        // Steps are independent: two masks agree as often as two throws of one coin.
        let alike = masks[0].iter().zip(&masks[1]).filter(|(a, b)| a == b).count() as f64;
        let expected = COUNT as f64 * f64::from(p * p + (1.0 - p) * (1.0 - p));
        assert!((alike - expected).abs() < 5.0 * 158.0, "{alike} alike, of {expected}");
    }
}

/// On a device that binds little, a tensor is cut by its rows, here of a size that no block of four divides: the
/// elements' count goes on from piece to piece.
#[test]
fn a_tensor_in_pieces_is_dropped_as_one() {
    let Some(gpu) = device::gpu() else { return };
    let shape = [640, 67];
    let operands = [seeded("x", &shape), u32_tensor(&[4], vec![3, 2, 1, 0])];
    for mut profile in profiles(gpu) {
        let whole = graph::run_op(gpu, &profile, graph::Source::Inputs, &operands, |g, v| {
            g.dropout(v[0], 0.4, v[1], 9)
        });
        profile.limits.max_binding = 64 * 1024;
        let cut = graph::run_op(gpu, &profile, graph::Source::Inputs, &operands, |g, v| {
            g.dropout(v[0], 0.4, v[1], 9)
        });
        assert_eq!(whole.expect("the op should run"), cut.expect("the op should run in pieces"));
    }
}
