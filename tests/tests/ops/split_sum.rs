//! Sums in parts and their joining: the same products and convolutions, however many parts there are.

use kiln_engine::ops::{
    Conv2d, ConvOptions, Epilogue, JoinParts, LhsLayout, Matmul, RhsLayout, SplitSum, Summed,
};
use kiln_engine::{Activation, EngineError, GraphBuilder, Padding, Tensor, Value};
use kiln_gpu::{DeviceKind, DeviceProfile};
use kiln_reference::{Array, Conv, Unary};
use kiln_tests::graph::{Source, array, conforms, run_op, seeded};
use kiln_tests::tolerance::{LINEAR, MATMUL};
use kiln_tests::{compare, device};

/// The two steps for an op on the first two operands.
fn split(
    g: &mut GraphBuilder,
    v: &[Value],
    of: Summed,
    parts: usize,
    join: JoinParts,
) -> Result<Value, EngineError> {
    let made = g.apply(SplitSum { of, parts }, &v[..2])?;
    g.apply(join, &[&[made], &v[2..]].concat())
}

const PLAIN: Epilogue = Epilogue { bias: false, activation: None, residual: false };

#[test]
fn products_in_parts() {
    let Some(gpu) = device::gpu() else { return };
    for (lhs, cols, parts) in [
        (&[1, 16][..], 1, 1),
        (&[5, 32], 3, 2),
        (&[9, 48], 70, 3),
        (&[33, 256], 65, 4),
        (&[2, 8, 96], 33, 6),
        (&[130, 224], 130, 14),
    ] {
        let depth = lhs[lhs.len() - 1];
        for layout in [RhsLayout::RowMajor, RhsLayout::Transposed] {
            let transposed = layout == RhsLayout::Transposed;
            let rhs = if transposed { [cols, depth] } else { [depth, cols] };
            let operands = [seeded("a", lhs), seeded("b", &rhs)];
            let (x, y) = (array(&operands[0]), array(&operands[1]));
            let expected = kiln_reference::matmul(&x, &y, false, transposed);
            let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), false, transposed));
            let of = Summed::Matmul(Matmul::with_rhs(layout));
            let join = JoinParts { bias_dim: lhs.len() - 1, epilogue: PLAIN };
            let what = format!("{lhs:?} by {rhs:?} in {parts} parts");
            conforms(gpu, what, &operands, |g, v| split(g, v, of, parts, join), &expected, &bounds);
        }
    }
}

/// The left side the other way round, and a right side of halves.
#[test]
fn products_of_other_layouts_in_parts() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("a", &[64, 9]), seeded("b", &[64, 37])];
    let (x, y) = (array(&operands[0]), array(&operands[1]));
    let expected = kiln_reference::matmul(&x, &y, true, false);
    let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), true, false));
    let join = JoinParts { bias_dim: 1, epilogue: PLAIN };
    let build = |g: &mut GraphBuilder, v: &[Value]| split(g, v, Summed::Matmul(left_transposed()), 4, join);
    conforms(gpu, "left side transposed", &operands, build, &expected, &bounds);

    let operands = [seeded("a", &[9, 96]), seeded("b", &[37, 96])];
    let (x, y) = (array(&operands[0]), array(&operands[1]));
    let rounded = kiln_reference::unpack_half(&kiln_reference::pack_half(&y), &[37, 96]);
    let expected = kiln_reference::matmul(&x, &rounded, false, true);
    // What is below the least normal half may count as zero.
    let terms = kiln_reference::matmul(&x.abs(), &rounded.abs(), false, true);
    let bounds: Vec<f64> = LINEAR.bounds(&terms).into_iter().map(|bound| bound + 96.0 / 16384.0).collect();
    let of = Summed::Matmul(Matmul::with_rhs(RhsLayout::TransposedHalves));
    let build = |g: &mut GraphBuilder, v: &[Value]| {
        let packed = g.pack_half(v[1])?;
        split(g, &[v[0], packed], of, 3, join)
    };
    conforms(gpu, "halves", &operands, build, &expected, &bounds);
}

fn left_transposed() -> Matmul {
    Matmul { lhs: LhsLayout::Transposed, ..Matmul::new() }
}

/// Each part of the epilogue, and all of them, with a bias along the last dimension and along the channels.
#[test]
fn what_is_done_with_the_sums() {
    let Some(gpu) = device::gpu() else { return };
    let image = [
        seeded("x", &[2, 32, 5, 6]),
        seeded("weight", &[7, 32, 3, 3]),
        seeded("bias", &[7]),
        seeded("y", &[2, 7, 5, 6]),
    ];
    let rows =
        [seeded("x", &[9, 64]), seeded("weight", &[11, 64]), seeded("bias", &[11]), seeded("y", &[9, 11])];
    let padded = ConvOptions { padding: Padding::all(1), ..ConvOptions::default() };
    let options = Conv { stride: [1; 2], padding: [[1; 2]; 2], dilation: [1; 2], groups: 1 };
    let conv = |x: &Array, w: &Array, bias: Option<&Array>| kiln_reference::conv2d(x, w, bias, options);
    let linear = |x: &Array, w: &Array, bias: Option<&Array>| kiln_reference::linear(x, w, bias);
    type Oracle<'a> = &'a dyn Fn(&Array, &Array, Option<&Array>) -> Array;
    let ops: [(&[Tensor; 4], Summed, usize, usize, Oracle<'_>); 2] = [
        (&image, Summed::Conv2d(Conv2d::new(padded)), 9, 1, &conv),
        (&rows, Summed::Matmul(Matmul::with_rhs(RhsLayout::Transposed)), 2, 1, &linear),
    ];
    for (operands, of, parts, bias_dim, oracle) in ops {
        let [x, weight, bias, residual] = operands.each_ref().map(array);
        for (with_bias, relu, with_residual) in
            [(true, false, false), (false, true, false), (false, false, true), (true, true, true)]
        {
            let mut expected = oracle(&x, &weight, with_bias.then_some(&bias));
            let mut terms = oracle(&x.abs(), &weight.abs(), Some(&bias.abs()));
            if relu {
                expected = kiln_reference::unary(Unary::Relu, &expected);
            }
            if with_residual {
                expected = kiln_reference::add(&expected, &residual);
                terms = kiln_reference::add(&terms, &residual.abs());
            }
            let activation = relu.then_some(Activation::Relu);
            let epilogue = Epilogue { bias: with_bias, activation, residual: with_residual };
            let join = JoinParts { bias_dim, epilogue };
            let what = format!("{epilogue:?} of {of:?}");
            let build = |g: &mut GraphBuilder, v: &[Value]| {
                let used = [(true, v[0]), (true, v[1]), (with_bias, v[2]), (with_residual, v[3])];
                let used: Vec<Value> =
                    used.into_iter().filter(|(used, _)| *used).map(|(_, value)| value).collect();
                split(g, &used, of, parts, join)
            };
            conforms(gpu, what, operands, build, &expected, &LINEAR.bounds(&terms));
        }
    }
}

/// What the pass splits by itself, as for a GPU: the same results as in one part, and the same bits each time.
#[test]
fn deep_and_narrow_ops_as_on_a_gpu() {
    let Some(gpu) = device::gpu() else { return };
    let profile = DeviceProfile { kind: DeviceKind::Discrete, ..gpu.profile().clone() };
    let operands = [seeded("a", &[8, 12_288]), seeded("b", &[40, 12_288])];
    let (x, y) = (array(&operands[0]), array(&operands[1]));
    let expected = kiln_reference::matmul(&x, &y, false, true);
    let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), false, true));
    for source in Source::ALL {
        let run = || {
            let made = run_op(gpu, &profile, source, &operands, |g, v| g.matmul_nt(v[0], v[1]));
            made.unwrap_or_else(|e| panic!("{source}: {e}"))
        };
        let made = run();
        compare::assert_close(
            format_args!("8x12288 {source}"),
            made.as_f32().expect("f32"),
            &expected,
            &bounds,
        );
        assert_eq!(made, run(), "{source}");
    }
}
