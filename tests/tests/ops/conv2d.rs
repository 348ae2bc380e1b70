//! `torch.nn.functional.conv2d` and `conv1d`, whatever kernel the plan chooses.

use kiln_engine::ops::{Conv2d, ConvOptions, ConvWeight};
use kiln_engine::{Activation, EngineError, GraphBuilder, Padding, Value};
use kiln_gpu::Gpu;
use kiln_reference::{Array, Conv, Unary};
use kiln_tests::graph::{Source, array, conforms, f32_tensor, run_op, seeded};
use kiln_tests::tolerance::{self, LINEAR, MATMUL};
use kiln_tests::{compare, data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, operands};

/// Neither stride nor padding, dilation or groups.
const PLAIN: ConvOptions<2> =
    ConvOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 };

/// What 3x3 layers mostly have.
const PADDED: ConvOptions<2> = ConvOptions { padding: Padding::all(1), ..PLAIN };

/// The options as the oracle takes them. Keras's `same` is spelled out, from its definition.
fn spelled(options: ConvOptions<2>, x: &[usize], weight: &[usize]) -> Conv<2> {
    let padding = match options.padding {
        Padding::Valid => [[0, 0]; 2],
        Padding::Sides(sides) => sides,
        Padding::Same => std::array::from_fn(|axis| {
            let (input, stride) = (x[axis + 2] as isize, options.stride[axis] as isize);
            let span = (options.dilation[axis] * (weight[axis + 2] - 1) + 1) as isize;
            let outputs = (input + stride - 1) / stride;
            let total = ((outputs - 1) * stride + span - input).max(0) as usize;
            [total / 2, total - total / 2]
        }),
    };
    Conv { stride: options.stride, padding, dilation: options.dilation, groups: options.groups }
}

/// A convolution of seeded numbers against the oracle, from every source and for both sorts of device.
#[track_caller]
fn check(gpu: &Gpu, x: [usize; 4], weight: [usize; 4], bias: bool, options: ConvOptions<2>) {
    let mut operands = vec![seeded("x", &x), seeded("weight", &weight)];
    if bias {
        operands.push(seeded("bias", &weight[..1]));
    }
    let arrays: Vec<Array> = operands.iter().map(array).collect();
    let conv = spelled(options, &x, &weight);
    let expected = kiln_reference::conv2d(&arrays[0], &arrays[1], arrays.get(2), conv);
    let terms: Vec<Array> = arrays.iter().map(Array::abs).collect();
    let terms = kiln_reference::conv2d(&terms[0], &terms[1], terms.get(2), conv);
    let bounds = if bias { LINEAR } else { MATMUL }.bounds(&terms);
    let what = format!("{x:?} by {weight:?}, bias {bias}, {options:?}");
    conforms(
        gpu,
        what,
        &operands,
        |g, v| g.conv2d(v[0], v[1], v.get(2).copied(), options),
        &expected,
        &bounds,
    );
}

/// Channels and pixels around the tiles of 8, 16, 32 and 64, and primes.
#[test]
fn sizes() {
    let Some(gpu) = device::gpu() else { return };
    for (i, (x, weight)) in [
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([1, 1, 3, 3], [1, 1, 3, 3]),
        ([1, 3, 11, 13], [7, 3, 3, 3]),
        ([2, 3, 9, 7], [8, 3, 3, 3]),
        ([3, 5, 8, 8], [9, 5, 3, 3]),
        ([1, 7, 15, 17], [15, 7, 3, 3]),
        ([1, 8, 16, 16], [16, 8, 3, 3]),
        ([2, 9, 17, 31], [17, 9, 3, 3]),
        ([1, 16, 10, 33], [31, 16, 3, 3]),
        ([1, 17, 5, 65], [33, 17, 3, 3]),
        ([1, 31, 9, 9], [63, 31, 3, 3]),
        ([1, 33, 8, 10], [64, 33, 3, 3]),
        ([2, 64, 7, 7], [65, 64, 3, 3]),
        ([5, 2, 2, 2], [67, 2, 2, 2]),
        ([1, 2, 1, 129], [3, 2, 1, 5]),
        ([1, 2, 129, 1], [3, 2, 5, 1]),
        ([1, 3, 64, 64], [4, 3, 5, 5]),
    ]
    .into_iter()
    .enumerate()
    {
        check(gpu, x, weight, i % 2 == 0, PLAIN);
        check(gpu, x, weight, i % 2 == 1, PADDED);
    }
}

/// Maps of the widths that have kernels of their own on software adapters, and neighbours of those.
#[test]
fn small_maps() {
    let Some(gpu) = device::gpu() else { return };
    let padded = |by| ConvOptions { padding: Padding::all(by), ..PLAIN };
    for (x, weight, options) in [
        ([2, 1, 28, 28], [20, 1, 5, 5], PLAIN),
        ([3, 20, 12, 12], [50, 20, 5, 5], PLAIN),
        ([3, 3, 11, 12], [50, 3, 5, 5], PLAIN),
        ([2, 50, 8, 8], [20, 50, 5, 5], padded(4)),
        ([2, 1, 28, 28], [20, 1, 3, 3], PLAIN),
        ([2, 20, 26, 26], [20, 20, 3, 3], PLAIN),
        ([2, 20, 24, 24], [20, 20, 3, 3], padded(2)),
        ([3, 20, 12, 12], [50, 20, 3, 3], PLAIN),
        ([3, 50, 10, 10], [50, 50, 3, 3], PLAIN),
        ([3, 50, 10, 10], [20, 50, 3, 3], padded(2)),
        ([3, 50, 8, 8], [50, 50, 3, 3], padded(2)),
        ([2, 16, 32, 32], [16, 16, 3, 3], PADDED),
        ([2, 32, 16, 16], [32, 32, 3, 3], PADDED),
        ([2, 64, 8, 8], [64, 64, 3, 3], PADDED),
        ([2, 5, 9, 8], [8, 5, 3, 3], PADDED),
    ] {
        check(gpu, x, weight, true, options);
    }
}

/// A product of matrices in another guise.
#[test]
fn one_by_one() {
    let Some(gpu) = device::gpu() else { return };
    for (x, outputs, options) in [
        ([1, 1, 5, 5], 1, PLAIN),
        ([2, 37, 7, 9], 41, PLAIN),
        ([1, 64, 16, 16], 64, PLAIN),
        ([3, 65, 4, 4], 63, PLAIN),
        ([1, 128, 1, 1], 10, PLAIN),
        ([2, 13, 9, 8], 17, ConvOptions { stride: [2, 3], ..PLAIN }),
        ([2, 13, 5, 6], 17, PADDED),
        ([1, 12, 6, 5], 20, ConvOptions { groups: 4, ..PLAIN }),
    ] {
        check(gpu, x, [outputs, x[1] / options.groups, 1, 1], true, options);
    }
}

#[test]
fn strides_dilations_and_paddings() {
    let Some(gpu) = device::gpu() else { return };
    let sides = |top, bottom, left, right| Padding::Sides([[top, bottom], [left, right]]);
    for (x, weight, stride, padding, dilation) in [
        ([2, 3, 11, 13], [5, 3, 3, 3], [2, 2], Padding::all(1), [1, 1]),
        ([1, 3, 23, 29], [8, 3, 7, 7], [2, 2], Padding::all(3), [1, 1]),
        ([1, 3, 31, 31], [9, 3, 11, 11], [4, 4], Padding::all(2), [1, 1]),
        ([1, 2, 7, 7], [3, 2, 3, 3], [3, 3], Padding::Valid, [1, 1]),
        ([1, 2, 9, 8], [3, 2, 2, 1], [3, 5], Padding::Valid, [1, 1]),
        ([1, 2, 13, 5], [3, 2, 1, 3], [7, 1], Padding::Valid, [1, 1]),
        ([2, 3, 13, 11], [17, 3, 3, 3], [1, 1], Padding::all(2), [2, 2]),
        ([1, 3, 17, 19], [5, 3, 3, 2], [2, 3], Padding::axes([3, 1]), [3, 4]),
        ([1, 2, 5, 7], [3, 2, 3, 3], [1, 1], sides(0, 3, 2, 0), [1, 1]),
        ([1, 2, 5, 7], [3, 2, 3, 3], [2, 1], sides(4, 0, 0, 5), [1, 2]),
        ([1, 2, 3, 2], [3, 2, 2, 2], [1, 1], Padding::all(5), [1, 1]),
        ([1, 1, 2, 2], [1, 1, 7, 7], [1, 1], Padding::all(3), [1, 1]),
        ([2, 3, 7, 8], [5, 3, 3, 3], [1, 1], Padding::Same, [1, 1]),
        ([1, 3, 7, 8], [5, 3, 3, 2], [2, 2], Padding::Same, [1, 1]),
        ([1, 3, 10, 11], [5, 3, 4, 5], [3, 2], Padding::Same, [1, 2]),
        ([1, 3, 5, 5], [5, 3, 1, 1], [2, 2], Padding::Same, [1, 1]),
    ] {
        check(gpu, x, weight, true, ConvOptions { stride, padding, dilation, groups: 1 });
    }
}

#[test]
fn groups() {
    let Some(gpu) = device::gpu() else { return };
    for (x, weight, groups) in [
        ([2, 6, 7, 5], [9, 2, 3, 3], 3),
        ([1, 32, 9, 9], [64, 16, 3, 3], 2),
        ([1, 64, 5, 7], [34, 32, 3, 3], 2),
        ([1, 10, 6, 6], [5, 2, 3, 3], 5),
        // Depthwise, with one, two and three filters a channel.
        ([2, 7, 11, 13], [7, 1, 3, 3], 7),
        ([1, 16, 8, 9], [16, 1, 5, 5], 16),
        ([1, 33, 7, 7], [33, 1, 1, 1], 33),
        ([1, 5, 9, 8], [10, 1, 3, 2], 5),
        ([2, 3, 6, 5], [9, 1, 2, 3], 3),
    ] {
        check(gpu, x, weight, true, ConvOptions { groups, ..PADDED });
        let all = ConvOptions {
            stride: [2, 1],
            padding: Padding::Sides([[2, 1], [0, 3]]),
            dilation: [1, 2],
            groups,
        };
        check(gpu, x, weight, false, all);
    }
}

/// The epilogues that a pass puts into the convolution: bias, an activation, a residual, and all of them.
#[test]
fn epilogues() {
    let Some(gpu) = device::gpu() else { return };
    const ACTIVATIONS: [(Option<Activation>, Option<Unary>); 3] = [
        (None, None),
        (Some(Activation::Relu), Some(Unary::Relu)),
        (Some(Activation::Silu), Some(Unary::Silu)),
    ];
    for (x, weight, options) in [
        ([2, 5, 7, 9], [11, 5, 3, 3], PADDED),
        ([1, 24, 6, 5], [70, 24, 1, 1], PLAIN),
        ([2, 6, 9, 7], [6, 1, 3, 3], ConvOptions { groups: 6, ..PADDED }),
        ([1, 6, 9, 8], [8, 3, 3, 2], ConvOptions { groups: 2, stride: [2, 2], ..PADDED }),
        ([3, 4, 5, 6], [9, 4, 5, 6], PLAIN),
    ] {
        let conv = spelled(options, &x, &weight);
        let shape = kiln_reference::conv2d(&zeros(&x), &zeros(&weight), None, conv).shape;
        for bias in [false, true] {
            for residual in [false, true] {
                for (activation, function) in ACTIVATIONS {
                    let mut operands = vec![seeded("x", &x), seeded("weight", &weight)];
                    if bias {
                        operands.push(seeded("bias", &weight[..1]));
                    }
                    operands.push(seeded("residual", &shape));
                    let arrays: Vec<Array> = operands.iter().map(array).collect();
                    let own = 2 + usize::from(bias);
                    let sum = kiln_reference::conv2d(&arrays[0], &arrays[1], arrays[..own].get(2), conv);
                    let terms: Vec<Array> = arrays.iter().map(Array::abs).collect();
                    let mut terms_sum =
                        kiln_reference::conv2d(&terms[0], &terms[1], terms[..own].get(2), conv);
                    if residual {
                        terms_sum = kiln_reference::add(&terms_sum, &terms[own]);
                    }
                    let mut bounds = LINEAR.bounds(&terms_sum);
                    let mut expected = sum.clone();
                    if let Some(function) = function {
                        expected = kiln_reference::unary(function, &sum);
                        for (bound, &x) in bounds.iter_mut().zip(&sum.data) {
                            *bound += 0.2 * *bound + tolerance::unary(function, x);
                        }
                    }
                    if residual {
                        expected = kiln_reference::add(&expected, &arrays[own]);
                    }
                    let what =
                        format!("{x:?} by {weight:?}, {bias}, {activation:?}, {residual}, {options:?}");
                    let build = |g: &mut GraphBuilder, v: &[Value]| -> Result<Value, EngineError> {
                        let y = g.conv2d(v[0], v[1], v[..own].get(2).copied(), options)?;
                        let y = match activation {
                            Some(activation) => g.activation(activation, y)?,
                            None => y,
                        };
                        if residual { g.add(v[own], y) } else { Ok(y) }
                    };
                    conforms(gpu, what, &operands, build, &expected, &bounds);
                }
            }
        }
    }
}

fn zeros(shape: &[usize]) -> Array {
    Array::from_fn(shape, |_| 0.0)
}

type Build<'a> = dyn Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError> + 'a;

/// A window that covers its image is a linear layer, to the bit.
#[test]
fn fully_connected_as_a_convolution_is_linear() {
    let Some(gpu) = device::gpu() else { return };
    for (batch, channels, height, width, outputs) in [(1, 5, 3, 4, 7), (3, 16, 7, 7, 65), (6, 2, 1, 1, 9)] {
        let depth = channels * height * width;
        let operands = [
            seeded("x", &[batch, channels, height, width]),
            seeded("weight", &[outputs, channels, height, width]),
            seeded("bias", &[outputs]),
        ];
        for source in Source::ALL {
            let run = |build: &Build<'_>| {
                run_op(gpu, gpu.profile(), source, &operands, build).expect("it should run")
            };
            let conv = run(&|g, v| g.conv2d(v[0], v[1], Some(v[2]), PLAIN));
            let linear = run(&|g, v| {
                let x = g.reshape(v[0], &[batch, depth])?;
                let weight = g.reshape(v[1], &[outputs, depth])?;
                let y = g.linear(x, weight, Some(v[2]))?;
                g.reshape(y, &[batch, outputs, 1, 1])
            });
            assert_eq!(conv, linear, "{source}");
        }
    }
}

/// Sums beyond what a software driver lets one invocation loop: Mesa's llvmpipe stops all loops of an invocation, in
/// silence, after 65,535 iterations in total.
#[test]
fn deep_sums() {
    let Some(gpu) = device::gpu() else { return };
    for (x, weight, options) in [
        ([1, 8200, 3, 3], [3, 8200, 3, 3], PLAIN),
        ([1, 8200, 3, 3], [9, 8200, 3, 3], PADDED),
        ([1, 66_000, 1, 2], [3, 66_000, 1, 1], PLAIN),
        // Where an invocation makes whole images, their height counts as well.
        ([1, 64, 2048, 24], [8, 64, 3, 3], ConvOptions { padding: Padding::all(2), ..PLAIN }),
    ] {
        let operands = [seeded("x", &x), seeded("weight", &weight)];
        let (image, kernel) = (array(&operands[0]), array(&operands[1]));
        let conv = spelled(options, &x, &weight);
        let expected = kiln_reference::conv2d(&image, &kernel, None, conv);
        let bounds = MATMUL.bounds(&kiln_reference::conv2d(&image.abs(), &kernel.abs(), None, conv));
        // As this device plans it, and no other: a plan for a GPU may loop for longer than a software driver allows.
        for source in Source::ALL {
            let what = format!("{x:?} by {weight:?} {source}");
            let made =
                run_op(gpu, gpu.profile(), source, &operands, |g, v| g.conv2d(v[0], v[1], None, options));
            let made = made.unwrap_or_else(|e| panic!("{what}: {e}"));
            compare::assert_close(what, made.as_f32().expect("f32"), &expected, &bounds);
        }
    }
}

#[test]
fn nan_reaches_what_sees_it_and_no_more() {
    let Some(gpu) = device::gpu() else { return };
    for (x, weight, options) in [
        ([2, 3, 9, 9], [18, 3, 3, 3], PADDED),
        ([2, 3, 9, 9], [5, 3, 1, 1], PLAIN),
        ([2, 6, 9, 9], [6, 1, 3, 3], ConvOptions { groups: 6, ..PADDED }),
        ([2, 4, 9, 9], [6, 2, 3, 3], ConvOptions { groups: 2, stride: [2, 2], ..PADDED }),
    ] {
        let mut image = data::uniform("x", x.iter().product());
        image[4 * 9 + 4] = f32::NAN;
        let operands = [f32_tensor(&x, image), seeded("weight", &weight)];
        let arrays = operands.each_ref().map(array);
        let conv = spelled(options, &x, &weight);
        let expected = kiln_reference::conv2d(&arrays[0], &arrays[1], None, conv);
        let nan = expected.data.iter().filter(|x| x.is_nan()).count();
        assert!(nan > 0 && nan < expected.data.len() / 2);
        let depth = (weight[1] * weight[2] * weight[3]) as f64;
        let bounds = MATMUL.bounds(&expected.map(|_| depth));
        let build = |g: &mut GraphBuilder, v: &[Value]| {
            let y = g.conv2d(v[0], v[1], None, options)?;
            g.relu(y)
        };
        let expected = kiln_reference::unary(Unary::Relu, &expected);
        conforms(gpu, format!("NaN in {x:?} by {weight:?}"), &operands, build, &expected, &bounds);
    }
}

#[test]
fn along_one_axis() {
    let Some(gpu) = device::gpu() else { return };
    let plain = ConvOptions::<1>::default();
    for (x, weight, options) in [
        ([1, 1, 8], [1, 1, 3], plain),
        ([2, 3, 31], [5, 3, 4], ConvOptions { stride: [2], padding: Padding::all(2), ..plain }),
        ([1, 4, 67], [6, 2, 3], ConvOptions { dilation: [5], groups: 2, ..plain }),
        ([3, 5, 17], [10, 1, 3], ConvOptions { padding: Padding::Sides([[2, 0]]), groups: 5, ..plain }),
        ([1, 2, 10], [3, 2, 3], ConvOptions { padding: Padding::Same, stride: [3], ..plain }),
        ([2, 33, 40], [65, 33, 1], plain),
    ] {
        let operands = [seeded("x", &x), seeded("weight", &weight), seeded("bias", &weight[..1])];
        let [image, kernel, bias] = operands.each_ref().map(array);
        let row = ConvOptions::<2>::from(options);
        let conv = spelled(row, &[x[0], x[1], 1, x[2]], &[weight[0], weight[1], 1, weight[2]]);
        let conv = Conv {
            stride: [conv.stride[1]],
            padding: [conv.padding[1]],
            dilation: [conv.dilation[1]],
            groups: conv.groups,
        };
        let expected = kiln_reference::conv1d(&image, &kernel, Some(&bias), conv);
        let terms = kiln_reference::conv1d(&image.abs(), &kernel.abs(), Some(&bias.abs()), conv);
        let what = format!("{x:?} by {weight:?}, {options:?}");
        let build = |g: &mut GraphBuilder, v: &[Value]| g.conv1d(v[0], v[1], Some(v[2]), options);
        conforms(gpu, what, &operands, build, &expected, &LINEAR.bounds(&terms));
    }
}

#[derive(Deserialize)]
struct Attributes {
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
    dilation: [usize; 2],
    groups: usize,
}

#[derive(Deserialize)]
struct Attributes1d {
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
}

/// The oracle and the engine against PyTorch.
#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("conv2d") {
        let Attributes { stride, padding, dilation, groups } = case.attributes();
        let conv = Conv { stride, padding, dilation, groups };
        let [x, weight, ..] = case.inputs.as_slice() else { panic!("{}: two inputs", case.name) };
        let made = kiln_reference::conv2d(x, weight, case.inputs.get(2), conv);
        assert_oracle(&case, &made);
        let terms: Vec<Array> = case.inputs.iter().map(Array::abs).collect();
        let terms = kiln_reference::conv2d(&terms[0], &terms[1], terms.get(2), conv);
        let options = ConvOptions { stride, padding: Padding::Sides(padding), dilation, groups };
        on_device(&case, &terms, |g, v| g.conv2d(v[0], v[1], v.get(2).copied(), options));
    }
    for case in golden::op_cases("conv1d") {
        let Attributes1d { stride, padding, dilation, groups } = case.attributes();
        let conv = Conv { stride: [stride], padding: [[padding; 2]], dilation: [dilation], groups };
        let [x, weight, bias] = case.inputs.as_slice() else { panic!("{}: three inputs", case.name) };
        assert_oracle(&case, &kiln_reference::conv1d(x, weight, Some(bias), conv));
        let terms = kiln_reference::conv1d(&x.abs(), &weight.abs(), Some(&bias.abs()), conv);
        let options =
            ConvOptions { stride: [stride], padding: Padding::all(padding), dilation: [dilation], groups };
        on_device(&case, &terms, |g, v| g.conv1d(v[0], v[1], Some(v[2]), options));
    }
}

#[track_caller]
fn on_device(
    case: &golden::OpCase,
    terms: &Array,
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
) {
    let Some(gpu) = device::gpu() else { return };
    conforms(gpu, &case.name, &operands(case), build, &case.output, &LINEAR.bounds(terms));
}

/// There are kernels for few widths; others refuse a weight that only they read.
#[test]
fn a_weight_by_taps_is_for_widths_with_a_kernel() {
    let Some(gpu) = device::gpu() else { return };
    let op = Conv2d { weight: ConvWeight::Taps { kernel: [3, 3] }, ..Conv2d::new(PLAIN) };
    let operands = [seeded("x", &[1, 3, 9, 9]), seeded("weight", &[8, 3, 1, 16])];
    let made = run_op(gpu, gpu.profile(), Source::Inputs, &operands, |g, v| g.apply(op, v));
    let error = made.expect_err("there is no such kernel").to_string();
    assert!(error.contains("got by taps"), "{error}");
}
