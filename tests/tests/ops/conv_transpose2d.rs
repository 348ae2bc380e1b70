//! `torch.nn.functional.conv_transpose2d` and `conv_transpose1d`, whatever kernel the plan chooses.

use kiln_engine::ops::{ConvOptions, ConvTransposeOptions};
use kiln_engine::{Activation, EngineError, GraphBuilder, Padding, Value};
use kiln_gpu::Gpu;
use kiln_reference::{Array, ConvTranspose, Unary};
use kiln_tests::graph::{Source, array, conforms, f32_tensor, run_op, seeded};
use kiln_tests::tolerance::{self, LINEAR, MATMUL};
use kiln_tests::{compare, data, device, golden};
use serde::Deserialize;

use crate::pytorch::{assert_oracle, operands};

/// Neither stride nor padding, dilation or groups.
const PLAIN: ConvTransposeOptions<2> = ConvTransposeOptions {
    stride: [1, 1],
    padding: [0, 0],
    output_padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
};

/// With a window of 4x4: twice the extents.
const DOUBLING: ConvTransposeOptions<2> = ConvTransposeOptions { stride: [2, 2], padding: [1, 1], ..PLAIN };

fn spelled<const N: usize>(options: ConvTransposeOptions<N>) -> ConvTranspose<N> {
    let ConvTransposeOptions { stride, padding, output_padding, dilation, groups } = options;
    ConvTranspose { stride, padding, output_padding, dilation, groups }
}

/// A transposed convolution of seeded numbers against the oracle, from every source and for both sorts of device.
#[track_caller]
fn check(gpu: &Gpu, x: [usize; 4], weight: [usize; 4], bias: bool, options: ConvTransposeOptions<2>) {
    let mut operands = vec![seeded("x", &x), seeded("weight", &weight)];
    if bias {
        operands.push(seeded("bias", &[weight[1] * options.groups]));
    }
    let arrays: Vec<Array> = operands.iter().map(array).collect();
    let conv = spelled(options);
    let expected = kiln_reference::conv_transpose2d(&arrays[0], &arrays[1], arrays.get(2), conv);
    let terms: Vec<Array> = arrays.iter().map(Array::abs).collect();
    let terms = kiln_reference::conv_transpose2d(&terms[0], &terms[1], terms.get(2), conv);
    let bounds = if bias { LINEAR } else { MATMUL }.bounds(&terms);
    let what = format!("{x:?} by {weight:?}, bias {bias}, {options:?}");
    let build =
        |g: &mut GraphBuilder, v: &[Value]| g.conv_transpose2d(v[0], v[1], v.get(2).copied(), options);
    conforms(gpu, what, &operands, build, &expected, &bounds);
}

/// Channels and pixels around the tiles of 8, 16, 32 and 64, and primes.
#[test]
fn sizes() {
    let Some(gpu) = device::gpu() else { return };
    for (i, (x, weight)) in [
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([1, 1, 1, 1], [1, 1, 3, 3]),
        ([1, 3, 11, 13], [3, 7, 3, 3]),
        ([2, 3, 9, 7], [3, 8, 4, 4]),
        ([3, 5, 8, 8], [5, 9, 3, 3]),
        ([1, 7, 15, 17], [7, 15, 4, 3]),
        ([1, 8, 16, 16], [8, 16, 2, 2]),
        ([2, 9, 17, 31], [9, 17, 3, 3]),
        ([1, 16, 10, 33], [16, 31, 3, 3]),
        ([1, 17, 5, 65], [17, 33, 3, 3]),
        ([1, 31, 9, 9], [31, 63, 4, 4]),
        ([1, 33, 8, 10], [33, 64, 3, 3]),
        ([2, 64, 7, 7], [64, 65, 3, 3]),
        ([5, 2, 2, 2], [2, 67, 5, 5]),
        ([1, 2, 1, 129], [2, 3, 3, 5]),
        ([1, 2, 129, 1], [2, 3, 5, 3]),
        ([1, 5, 12, 12], [5, 1, 4, 4]),
        ([1, 5, 12, 12], [5, 2, 4, 4]),
    ]
    .into_iter()
    .enumerate()
    {
        check(gpu, x, weight, i % 2 == 0, PLAIN);
        check(gpu, x, weight, i % 2 == 1, ConvTransposeOptions { stride: [2, 2], ..PLAIN });
    }
}

#[test]
fn strides_dilations_and_paddings() {
    let Some(gpu) = device::gpu() else { return };
    for (x, weight, stride, padding, output_padding, dilation) in [
        ([2, 3, 7, 5], [3, 5, 4, 4], [2, 2], [1, 1], [0, 0], [1, 1]),
        ([1, 3, 7, 5], [3, 5, 3, 3], [2, 2], [1, 1], [1, 1], [1, 1]),
        ([1, 3, 7, 5], [3, 5, 3, 3], [2, 3], [0, 1], [1, 2], [1, 1]),
        ([1, 3, 5, 7], [3, 6, 3, 2], [3, 1], [2, 0], [2, 0], [1, 1]),
        // Places that no tap reaches: the bias alone is left.
        ([1, 2, 3, 4], [2, 9, 2, 1], [5, 3], [0, 0], [4, 2], [1, 1]),
        ([2, 3, 5, 6], [3, 17, 3, 3], [1, 1], [2, 2], [0, 0], [2, 2]),
        // The stride and the dilation have a factor in common, or one divides the other.
        ([1, 3, 5, 6], [3, 5, 3, 4], [4, 6], [1, 5], [3, 2], [6, 4]),
        ([1, 3, 5, 6], [3, 5, 4, 3], [2, 4], [3, 0], [1, 3], [4, 2]),
        ([1, 3, 5, 6], [3, 5, 3, 3], [2, 3], [2, 4], [0, 1], [3, 5]),
        ([1, 3, 4, 4], [3, 5, 2, 2], [1, 1], [0, 1], [2, 1], [3, 2]),
        // A stride that means nothing, since there is one input.
        ([1, 2, 1, 1], [2, 9, 3, 3], [1_000_000, 1_000_000], [0, 1], [1, 0], [1, 1]),
        // Nearly everything is left out.
        ([1, 2, 3, 3], [2, 3, 5, 5], [1, 1], [3, 3], [0, 0], [1, 1]),
        ([1, 2, 2, 2], [2, 3, 16, 16], [8, 8], [4, 4], [0, 0], [1, 1]),
    ] {
        let options = ConvTransposeOptions { stride, padding, output_padding, dilation, groups: 1 };
        check(gpu, x, weight, true, options);
    }
}

#[test]
fn groups() {
    let Some(gpu) = device::gpu() else { return };
    for (x, weight, groups) in [
        ([2, 6, 7, 5], [6, 3, 3, 3], 3),
        ([1, 32, 6, 6], [32, 33, 3, 3], 2),
        ([1, 10, 6, 6], [10, 1, 3, 3], 5),
        // Depthwise, with one, two and nine filters a channel.
        ([2, 7, 5, 6], [7, 1, 4, 4], 7),
        ([1, 5, 9, 8], [5, 2, 3, 2], 5),
        ([1, 3, 6, 5], [3, 9, 2, 3], 3),
    ] {
        check(gpu, x, weight, true, ConvTransposeOptions { groups, ..PLAIN });
        let all = ConvTransposeOptions {
            stride: [2, 3],
            padding: [1, 0],
            output_padding: [1, 2],
            dilation: [3, 1],
            groups,
        };
        check(gpu, x, weight, false, all);
    }
}

/// The epilogues that a pass puts into the op: bias, an activation, a residual, and all of them.
#[test]
fn epilogues() {
    let Some(gpu) = device::gpu() else { return };
    const ACTIVATIONS: [(Option<Activation>, Option<Unary>); 3] = [
        (None, None),
        (Some(Activation::Relu), Some(Unary::Relu)),
        (Some(Activation::Gelu), Some(Unary::Gelu)),
    ];
    for (x, weight, options) in [
        ([2, 5, 7, 9], [5, 11, 4, 4], DOUBLING),
        ([1, 6, 5, 4], [6, 35, 3, 3], ConvTransposeOptions { groups: 2, output_padding: [1, 1], ..DOUBLING }),
        ([2, 6, 5, 4], [6, 1, 4, 4], ConvTransposeOptions { groups: 6, ..DOUBLING }),
    ] {
        let conv = spelled(options);
        let zeros = |shape: &[usize]| Array::from_fn(shape, |_| 0.0);
        let shape = kiln_reference::conv_transpose2d(&zeros(&x), &zeros(&weight), None, conv).shape;
        for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
            for (activation, function) in ACTIVATIONS {
                let mut operands = vec![seeded("x", &x), seeded("weight", &weight)];
                if bias {
                    operands.push(seeded("bias", &shape[1..2]));
                }
                operands.push(seeded("residual", &shape));
                let own = operands.len() - 1;
                let arrays: Vec<Array> = operands.iter().map(array).collect();
                let terms: Vec<Array> = arrays.iter().map(Array::abs).collect();
                let of = |arrays: &[Array]| {
                    kiln_reference::conv_transpose2d(&arrays[0], &arrays[1], arrays[..own].get(2), conv)
                };
                let (sum, mut terms_sum) = (of(&arrays), of(&terms));
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
                let what = format!("{x:?} by {weight:?}, {bias}, {activation:?}, {residual}, {options:?}");
                let build = |g: &mut GraphBuilder, v: &[Value]| -> Result<Value, EngineError> {
                    let y = g.conv_transpose2d(v[0], v[1], v[..own].get(2).copied(), options)?;
                    let y = match activation {
                        Some(activation) => g.activation(activation, y)?,
                        None => y,
                    };
                    if residual { g.add(y, v[own]) } else { Ok(y) }
                };
                conforms(gpu, what, &operands, build, &expected, &bounds);
            }
        }
    }
}

/// `<conv2d(x), y> = <x, conv_transpose2d(y)>`, on the device, with all options at once.
#[test]
fn it_is_the_adjoint_of_conv2d() {
    let Some(gpu) = device::gpu() else { return };
    let (stride, dilation, padding, groups) = ([2, 3], [2, 1], [2, 1], 2);
    // 17x13: the last row and the last column of the padded image meet no window.
    let operands =
        [seeded("x", &[2, 6, 17, 13]), seeded("weight", &[10, 3, 3, 2]), seeded("y", &[2, 10, 9, 5])];
    let forward = ConvOptions { stride, dilation, padding: Padding::axes(padding), groups };
    let back = ConvTransposeOptions { stride, dilation, padding, output_padding: [0, 1], groups };
    let [x, weight, y] = operands.each_ref().map(array);
    let options = kiln_reference::Conv { stride, dilation, padding: padding.map(|n| [n; 2]), groups };
    let convolved = kiln_reference::conv2d(&x, &weight, None, options);
    assert_eq!(convolved.shape, y.shape);
    let dot = |a: &Array, b: &Array| a.data.iter().zip(&b.data).map(|(a, b)| a * b).sum::<f64>();
    let expected = Array::new(&[2], vec![dot(&convolved, &y); 2]);
    let terms = dot(&kiln_reference::conv2d(&x.abs(), &weight.abs(), None, options), &y.abs());
    let bounds = LINEAR.bounds(&Array::new(&[2], vec![terms; 2]));
    let build = |g: &mut GraphBuilder, v: &[Value]| -> Result<Value, EngineError> {
        let [x, weight, y] = [v[0], v[1], v[2]];
        let there = g.conv2d(x, weight, None, forward)?;
        let there = g.mul(there, y)?;
        let there = g.sum(there, &[0, 1, 2, 3], false)?;
        let back = g.conv_transpose2d(y, weight, None, back)?;
        let back = g.mul(x, back)?;
        let back = g.sum(back, &[0, 1, 2, 3], false)?;
        let (there, back) = (g.reshape(there, &[1])?, g.reshape(back, &[1])?);
        g.concat(&[there, back], 0)
    };
    conforms(gpu, "both products", &operands, build, &expected, &bounds);
}

/// Sums beyond what a software driver lets one invocation loop: Mesa's llvmpipe stops all loops of an invocation, in
/// silence, after 65,535 iterations in total.
#[test]
fn deep_sums() {
    let Some(gpu) = device::gpu() else { return };
    let (x, weight) = ([1, 20_000, 2, 3], [20_000, 3, 4, 4]);
    let operands = [seeded("x", &x), seeded("weight", &weight), seeded("bias", &[3])];
    let [image, kernel, bias] = operands.each_ref().map(array);
    let conv = spelled(DOUBLING);
    let expected = kiln_reference::conv_transpose2d(&image, &kernel, Some(&bias), conv);
    let expected = kiln_reference::unary(Unary::Relu, &expected);
    let terms = kiln_reference::conv_transpose2d(&image.abs(), &kernel.abs(), Some(&bias.abs()), conv);
    // As this device plans it, and no other: a plan for a GPU may loop for longer than a software driver allows.
    for source in Source::ALL {
        let made = run_op(gpu, gpu.profile(), source, &operands, |g, v| {
            let y = g.conv_transpose2d(v[0], v[1], Some(v[2]), DOUBLING)?;
            g.relu(y)
        });
        let made = made.unwrap_or_else(|e| panic!("{source}: {e}"));
        compare::assert_close(source, made.as_f32().expect("f32"), &expected, &LINEAR.bounds(&terms));
    }
}

#[test]
fn nan_reaches_what_it_gives_to_and_no_more() {
    let Some(gpu) = device::gpu() else { return };
    for (x, weight, options) in [
        ([2, 3, 5, 5], [3, 18, 4, 4], DOUBLING),
        ([2, 6, 5, 5], [6, 1, 3, 3], ConvTransposeOptions { groups: 6, ..PLAIN }),
    ] {
        let mut image = data::uniform("x", x.iter().product());
        image[2 * 5 + 2] = f32::NAN;
        let operands = [f32_tensor(&x, image), seeded("weight", &weight)];
        let arrays = operands.each_ref().map(array);
        let expected = kiln_reference::conv_transpose2d(&arrays[0], &arrays[1], None, spelled(options));
        let nan = expected.data.iter().filter(|x| x.is_nan()).count();
        assert!(nan > 0 && nan < expected.data.len() / 2);
        let depth = (weight[0] * weight[2] * weight[3]) as f64;
        let bounds = MATMUL.bounds(&expected.map(|_| depth));
        let build = |g: &mut GraphBuilder, v: &[Value]| {
            let y = g.conv_transpose2d(v[0], v[1], None, options)?;
            g.relu(y)
        };
        let expected = kiln_reference::unary(Unary::Relu, &expected);
        conforms(gpu, format!("NaN in {x:?} by {weight:?}"), &operands, build, &expected, &bounds);
    }
}

#[test]
fn along_one_axis() {
    let Some(gpu) = device::gpu() else { return };
    let plain = ConvTransposeOptions::<1>::default();
    for (x, weight, options) in [
        ([1, 1, 8], [1, 1, 3], plain),
        ([2, 3, 31], [3, 5, 4], ConvTransposeOptions { stride: [2], padding: [1], ..plain }),
        ([1, 4, 67], [4, 6, 3], ConvTransposeOptions { dilation: [5], groups: 2, ..plain }),
        (
            [3, 5, 17],
            [5, 2, 3],
            ConvTransposeOptions { stride: [3], output_padding: [2], groups: 5, ..plain },
        ),
    ] {
        let outputs = weight[1] * options.groups;
        let operands = [seeded("x", &x), seeded("weight", &weight), seeded("bias", &[outputs])];
        let [image, kernel, bias] = operands.each_ref().map(array);
        let conv = spelled(options);
        let expected = kiln_reference::conv_transpose1d(&image, &kernel, Some(&bias), conv);
        let terms = kiln_reference::conv_transpose1d(&image.abs(), &kernel.abs(), Some(&bias.abs()), conv);
        let what = format!("{x:?} by {weight:?}, {options:?}");
        let build = |g: &mut GraphBuilder, v: &[Value]| g.conv_transpose1d(v[0], v[1], Some(v[2]), options);
        conforms(gpu, what, &operands, build, &expected, &LINEAR.bounds(&terms));
    }
}

#[derive(Deserialize)]
struct Attributes<T> {
    stride: T,
    padding: T,
    output_padding: T,
    dilation: T,
    groups: usize,
}

/// The oracle and the engine against PyTorch.
#[test]
fn as_in_pytorch() {
    for case in golden::op_cases("conv_transpose2d") {
        let Attributes { stride, padding, output_padding, dilation, groups } = case.attributes();
        let options = ConvTransposeOptions { stride, padding, output_padding, dilation, groups };
        let conv = spelled(options);
        let [x, weight, ..] = case.inputs.as_slice() else { panic!("{}: two inputs", case.name) };
        assert_oracle(&case, &kiln_reference::conv_transpose2d(x, weight, case.inputs.get(2), conv));
        let terms: Vec<Array> = case.inputs.iter().map(Array::abs).collect();
        let terms = kiln_reference::conv_transpose2d(&terms[0], &terms[1], terms.get(2), conv);
        on_device(&case, &terms, |g, v| g.conv_transpose2d(v[0], v[1], v.get(2).copied(), options));
    }
    for case in golden::op_cases("conv_transpose1d") {
        let of = |n: usize| [n];
        let attributes: Attributes<usize> = case.attributes();
        let options = ConvTransposeOptions {
            stride: of(attributes.stride),
            padding: of(attributes.padding),
            output_padding: of(attributes.output_padding),
            dilation: of(attributes.dilation),
            groups: attributes.groups,
        };
        let conv = spelled(options);
        let [x, weight, bias] = case.inputs.as_slice() else { panic!("{}: three inputs", case.name) };
        assert_oracle(&case, &kiln_reference::conv_transpose1d(x, weight, Some(bias), conv));
        let terms = kiln_reference::conv_transpose1d(&x.abs(), &weight.abs(), Some(&bias.abs()), conv);
        on_device(&case, &terms, |g, v| g.conv_transpose1d(v[0], v[1], Some(v[2]), options));
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
