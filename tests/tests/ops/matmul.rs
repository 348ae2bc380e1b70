//! `torch.matmul` and `torch.nn.functional.linear`, whatever kernel the plan chooses.

use kiln_engine::ops::{LhsLayout, Matmul, RhsLayout};
use kiln_engine::{Activation, DType, GraphBuilder, Tensor};
use kiln_gpu::DeviceProfile;
use kiln_reference::{Array, Unary};
use kiln_tests::graph::{Source, array, conforms, f32_tensor, run_op, seeded};
use kiln_tests::tolerance::{self, LINEAR, MATMUL};
use kiln_tests::{compare, data, device};

/// Shapes of both sides: few rows, few columns, around the tiles of 8, 32 and 64, batches on both sides or on one; then
/// depths in fours and columns in eights, which software adapters have kernels for.
const SHAPES: [(&[usize], &[usize]); 23] = [
    (&[1, 1], &[1, 1]),
    (&[1, 67], &[67, 129]),
    (&[3, 64], &[64, 64]),
    (&[4, 5], &[5, 33]),
    (&[5, 37], &[37, 2]),
    (&[7, 9], &[9, 8]),
    (&[8, 8], &[8, 64]),
    (&[9, 31], &[31, 65]),
    (&[63, 65], &[65, 63]),
    (&[64, 16], &[16, 64]),
    (&[65, 17], &[17, 131]),
    (&[2, 5, 7], &[2, 7, 9]),
    (&[3, 9, 33], &[33, 17]),
    (&[9, 33], &[3, 33, 17]),
    (&[2, 3, 1, 5], &[2, 3, 5, 4]),
    (&[2, 2, 3, 11], &[11, 6]),
    (&[2, 1031], &[1031, 3]),
    (&[8, 4], &[4, 8]),
    (&[20, 12], &[12, 72]),
    (&[68, 64], &[64, 136]),
    (&[3, 8, 20], &[20, 64]),
    (&[3, 40, 20], &[3, 20, 24]),
    (&[2, 130, 16], &[2, 16, 8]),
];

#[test]
fn plain() {
    let Some(gpu) = device::gpu() else { return };
    for (a, b) in SHAPES {
        let operands = [seeded("a", a), seeded("b", b)];
        let (x, y) = (array(&operands[0]), array(&operands[1]));
        let expected = kiln_reference::matmul(&x, &y, false, false);
        let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), false, false));
        let what = format!("matmul of {a:?} and {b:?}");
        conforms(gpu, what, &operands, |g, v| g.matmul(v[0], v[1]), &expected, &bounds);
    }
}

/// As devices plan it that have no 64-bit integers, or whose subgroups are none of eight: by kernels that ask for neither.
#[test]
fn on_devices_with_less() {
    let Some(gpu) = device::gpu() else { return };
    let own = gpu.profile();
    for profile in [
        DeviceProfile { int64: false, ..own.clone() },
        DeviceProfile { subgroup: (4, 4), ..own.clone() },
        DeviceProfile { subgroup: (4, 4), int64: false, ..own.clone() },
    ] {
        for (a, b) in SHAPES {
            let operands = [seeded("a", a), seeded("b", b)];
            let (x, y) = (array(&operands[0]), array(&operands[1]));
            let expected = kiln_reference::matmul(&x, &y, false, false);
            let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), false, false));
            for source in Source::ALL {
                let what = format!(
                    "matmul of {a:?} and {b:?} {source}, int64 {}, subgroups of {:?}",
                    profile.int64, profile.subgroup
                );
                let made = run_op(gpu, &profile, source, &operands, |g, v| g.matmul(v[0], v[1]));
                let made = made.unwrap_or_else(|e| panic!("{what}: {e}"));
                compare::assert_close(what, made.as_f32().expect("f32"), &expected, &bounds);
            }
        }
    }
}

fn swapped(shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    let rank = shape.len();
    shape.swap(rank - 1, rank - 2);
    shape
}

#[test]
fn right_side_transposed() {
    let Some(gpu) = device::gpu() else { return };
    for (a, b) in SHAPES {
        let operands = [seeded("a", a), seeded("b", &swapped(b))];
        let (x, y) = (array(&operands[0]), array(&operands[1]));
        let expected = kiln_reference::matmul(&x, &y, false, true);
        let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), false, true));
        let what = format!("matmul_nt of {a:?} and {b:?}");
        conforms(gpu, what, &operands, |g, v| g.matmul_nt(v[0], v[1]), &expected, &bounds);
    }
}

#[test]
fn left_side_transposed() {
    let Some(gpu) = device::gpu() else { return };
    for (a, b) in SHAPES {
        let operands = [seeded("a", &swapped(a)), seeded("b", b)];
        let (x, y) = (array(&operands[0]), array(&operands[1]));
        let expected = kiln_reference::matmul(&x, &y, true, false);
        let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), true, false));
        let what = format!("matmul_tn of {a:?} and {b:?}");
        conforms(gpu, what, &operands, |g, v| g.matmul_tn(v[0], v[1]), &expected, &bounds);
    }
}

/// The epilogues that a pass puts into the product: bias, each activation, a residual, and all of them.
#[test]
fn linear_with_epilogues() {
    let Some(gpu) = device::gpu() else { return };
    const ACTIVATIONS: [(Option<Activation>, Option<Unary>); 4] = [
        (None, None),
        (Some(Activation::Relu), Some(Unary::Relu)),
        (Some(Activation::Gelu), Some(Unary::Gelu)),
        (Some(Activation::Silu), Some(Unary::Silu)),
    ];
    for (x, outputs) in [(&[1, 19][..], 37), (&[9, 64], 65), (&[3, 5, 40], 8), (&[70, 33], 66)] {
        let inputs = *x.last().expect("x has dimensions");
        let y_shape = [&x[..x.len() - 1], &[outputs]].concat();
        let operands = [
            seeded("x", x),
            seeded("weight", &[outputs, inputs]),
            seeded("bias", &[outputs]),
            seeded("y", &y_shape),
        ];
        let [x, weight, bias, residual] = operands.each_ref().map(array);
        let sum = kiln_reference::linear(&x, &weight, Some(&bias));
        let terms = kiln_reference::linear(&x.abs(), &weight.abs(), Some(&bias.abs()));
        let terms = kiln_reference::add(&terms, &residual.abs());
        for (activation, function) in ACTIVATIONS {
            let mut bounds = LINEAR.bounds(&terms);
            let mut activated = sum.clone();
            if let Some(function) = function {
                activated = kiln_reference::unary(function, &sum);
                for (bound, &x) in bounds.iter_mut().zip(&sum.data) {
                    *bound += 0.2 * *bound + tolerance::unary(function, x);
                }
            }
            let expected = kiln_reference::add(&activated, &residual);
            let what = format!("linear {:?} to {outputs}, {activation:?}", x.shape);
            conforms(
                gpu,
                what,
                &operands,
                |g, v| {
                    let y = g.linear(v[0], v[1], Some(v[2]))?;
                    let y = match activation {
                        Some(activation) => g.activation(activation, y)?,
                        None => y,
                    };
                    g.add(y, v[3])
                },
                &expected,
                &bounds,
            );
        }
    }
}

/// An inner extent beyond what a software driver lets one invocation loop: Mesa's llvmpipe stops all loops of an
/// invocation, in silence, after 65,535 iterations in total.
#[test]
fn deep_products() {
    let Some(gpu) = device::gpu() else { return };
    // The first of VGG-16's linear layers is 25,088 deep.
    for (rows, cols, depth) in
        [(1, 9, 25_088), (9, 9, 25_088), (1, 9, 70_001), (9, 1, 70_001), (9, 9, 70_001)]
    {
        let operands = [seeded("a", &[rows, depth]), seeded("b", &[cols, depth])];
        let (x, y) = (array(&operands[0]), array(&operands[1]));
        let expected = kiln_reference::matmul(&x, &y, false, true);
        let bounds = MATMUL.bounds(&kiln_reference::matmul(&x.abs(), &y.abs(), false, true));
        // As this device plans it, and no other: a plan for a GPU may loop for longer than a software driver allows.
        for source in Source::ALL {
            let what = format!("{rows}x{depth} by {depth}x{cols} {source}");
            let made = run_op(gpu, gpu.profile(), source, &operands, |g, v| g.matmul_nt(v[0], v[1]));
            let made = made.unwrap_or_else(|e| panic!("{what}: {e}"));
            compare::assert_close(what, made.as_f32().expect("f32"), &expected, &bounds);
        }
    }
    for (rows, depth) in [(1, 70_002), (3, 70_004), (9, 130_010)] {
        let left = seeded("a", &[rows, depth]);
        let Halves { weight, rounded, bounds } = halves(&array(&left), &[9, depth]);
        let expected = kiln_reference::linear(&array(&left), &rounded, None);
        for source in Source::ALL {
            let what = format!("{rows}x{depth} by halves {source}");
            let operands = [left.clone(), weight.clone()];
            let made = run_op(gpu, gpu.profile(), source, &operands, |g, v| {
                let packed = g.pack_half(v[1])?;
                g.linear(v[0], packed, None)
            });
            let made = made.unwrap_or_else(|e| panic!("{what}: {e}"));
            compare::assert_close(what, made.as_f32().expect("f32"), &expected, &bounds);
        }
    }
}

/// A weight of halves: what the oracle makes of the rounded weight, and how far the device may be from it.
struct Halves {
    weight: Tensor,
    rounded: Array,
    bounds: Vec<f64>,
}

/// The last weights of each row are below the least normal half, 2^-14, which a driver may take for zero.
fn halves(x: &Array, shape: &[usize]) -> Halves {
    let mut numbers = data::uniform("halves", shape.iter().product());
    let depth = shape[shape.len() - 1];
    for (i, number) in numbers.iter_mut().enumerate() {
        if depth > 4 && i % depth > depth - 3 {
            *number *= 6e-5;
        }
    }
    let weight = f32_tensor(shape, numbers);
    let rounded = kiln_reference::unpack_half(&kiln_reference::pack_half(&array(&weight)), shape);
    let lost = rounded.map(|w| if w.abs() < 1.0 / 16384.0 { w.abs() } else { 0.0 });
    let product = |w: &Array| kiln_reference::matmul(&x.abs(), w, false, true);
    let bounds = LINEAR.bounds(&product(&rounded.abs()));
    let bounds = bounds.iter().zip(&product(&lost).data).map(|(bound, lost)| bound + lost).collect();
    Halves { weight, rounded, bounds }
}

/// Weights in half precision, given with the run and packed at load; deep and not, in eights along the depth and not.
#[test]
fn weights_of_halves() {
    let Some(gpu) = device::gpu() else { return };
    for (x, outputs) in [
        (&[1, 2][..], 1),
        (&[1, 512], 300),
        (&[1, 38], 67),
        (&[2, 64], 64),
        (&[3, 22], 9),
        (&[4, 1032], 33),
        (&[5, 36], 130),
        (&[9, 10], 17),
        (&[20, 12], 24),
        (&[40, 64], 72),
        (&[65, 72], 65),
        (&[130, 34], 70),
        (&[2, 3, 16], 40),
    ] {
        let left = seeded("x", x);
        let Halves { weight, rounded, bounds } = halves(&array(&left), &[outputs, x[x.len() - 1]]);
        let expected = kiln_reference::linear(&array(&left), &rounded, None);
        let what = format!("linear {x:?} to {outputs}");
        conforms(
            gpu,
            what,
            &[left, weight],
            |g, v| {
                let packed = g.pack_half(v[1])?;
                g.linear(v[0], packed, None)
            },
            &expected,
            &bounds,
        );
    }
}

/// The epilogues, a left side that lies the other way round, a batch of right sides, and one of so many dimensions that
/// there is none to spare for panels.
#[test]
fn products_with_halves() {
    let Some(gpu) = device::gpu() else { return };
    for rows in [1, 4, 33] {
        let left = seeded("x", &[rows, 24]);
        let x = array(&left);
        let Halves { weight, rounded, mut bounds } = halves(&x, &[43, 24]);
        let (bias, residual) = (seeded("bias", &[43]), seeded("y", &[rows, 43]));
        let sum = kiln_reference::linear(&x, &rounded, Some(&array(&bias)));
        let expected = kiln_reference::add(&kiln_reference::unary(Unary::GeluTanh, &sum), &array(&residual));
        for (bound, &x) in bounds.iter_mut().zip(&sum.data) {
            *bound += 0.2 * *bound + 6.0 * f64::from(f32::EPSILON) + tolerance::unary(Unary::GeluTanh, x);
        }
        conforms(
            gpu,
            format_args!("{rows} rows with an epilogue"),
            &[left, weight, bias, residual],
            |g, v| {
                let packed = g.pack_half(v[1])?;
                let y = g.linear(v[0], packed, Some(v[2]))?;
                let y = g.gelu_tanh(y)?;
                g.add(y, v[3])
            },
            &expected,
            &bounds,
        );
    }
    let op = Matmul::with_rhs(RhsLayout::TransposedHalves);
    for (transpose_lhs, left, right) in [
        (false, &[3, 2, 16][..], &[3, 21, 16][..]),
        (false, &[5, 18], &[3, 21, 18]),
        (true, &[16, 3], &[21, 16]),
        (true, &[2, 10, 9], &[2, 5, 10]),
        (false, &[1, 1, 2, 1, 1, 1, 3, 8], &[1, 1, 2, 1, 1, 1, 70, 8]),
        (false, &[1, 1, 2, 1, 1, 1, 66, 8], &[1, 1, 2, 1, 1, 1, 70, 8]),
    ] {
        let lain = seeded("x", left);
        let mut x = array(&lain);
        if transpose_lhs {
            let dims: Vec<usize> = (0..left.len() - 2).chain([left.len() - 1, left.len() - 2]).collect();
            x = kiln_reference::permute(&x, &dims);
        }
        let Halves { weight, rounded, bounds } = halves(&x, right);
        let expected = kiln_reference::matmul(&x, &rounded, false, true);
        conforms(
            gpu,
            format_args!("{left:?}, transposed {transpose_lhs}, by {right:?}"),
            &[lain, weight],
            |g, v| {
                let packed = g.pack_half(v[1])?;
                let lhs = if transpose_lhs { LhsLayout::Transposed } else { LhsLayout::RowMajor };
                g.apply(Matmul { lhs, ..op }, &[v[0], packed])
            },
            &expected,
            &bounds,
        );
    }
}

#[test]
fn halves_that_do_not_fit_are_named() {
    let mut g = GraphBuilder::new("net");
    let (x, weight) = (g.input("x", &[2, 6], DType::F32), g.constant("weight", &[4, 8]));
    let packed = g.pack_half(weight).expect("8 is even");
    let error = g.linear(x, packed, None).expect_err("8 halves do not meet 6 numbers");
    let expected = "matmul \"net\": right side depth: expected 6, as left side f32[2, 6] has, got u32[4, 4]";
    assert_eq!(error.to_string(), expected);
    let error = g.matmul_nt(x, packed).expect_err("words are not numbers");
    assert_eq!(error.to_string(), "matmul \"net\": right side type: expected f32, got u32[4, 4]");
}

#[test]
fn nan_stays_in_its_row() {
    let Some(gpu) = device::gpu() else { return };
    for rows in [1, 12, 70] {
        let mut a = data::uniform("a", rows * 40);
        a[5] = f32::NAN;
        let operands = [f32_tensor(&[rows, 40], a), seeded("b", &[40, 70])];
        let (x, y) = (array(&operands[0]), array(&operands[1]));
        let expected = kiln_reference::matmul(&x, &y, false, false);
        assert!(
            expected.data[..70].iter().all(|x| x.is_nan()) && expected.data[70..].iter().all(|x| !x.is_nan())
        );
        let ones = Array::from_fn(&[rows, 70], |_| 40.0);
        conforms(gpu, "NaN", &operands, |g, v| g.matmul(v[0], v[1]), &expected, &MATMUL.bounds(&ones));
    }
}

#[test]
fn the_same_bits_each_time() {
    let Some(gpu) = device::gpu() else { return };
    let operands = [seeded("a", &[65, 130]), seeded("b", &[130, 67])];
    let run = || {
        run_op(gpu, gpu.profile(), Source::Weights, &operands, |g: &mut GraphBuilder, v| g.matmul(v[0], v[1]))
            .expect("the product should run")
    };
    assert_eq!(run(), run());
}

/// The kernel for such a left side would give wrong sums in subgroups of another size: it is refused there.
#[test]
fn a_left_side_in_panels_is_for_subgroups_of_eight() {
    let Some(gpu) = device::gpu() else { return };
    let op =
        Matmul { lhs: LhsLayout::Panels { rows: 11 }, ..Matmul::with_rhs(RhsLayout::Panels { cols: 16 }) };
    let operands = [seeded("a", &[2, 4, 8]), seeded("b", &[2, 4, 8])];
    let own = gpu.profile().clone();
    for (profile, lacking) in [
        (DeviceProfile { subgroups: true, subgroup: (4, 4), ..own.clone() }, "subgroups of 8 invocations"),
        (DeviceProfile { subgroups: false, ..own }, "operations across subgroups"),
    ] {
        let made = run_op(gpu, &profile, Source::Inputs, &operands, |g, v| g.apply(op, v));
        let error = made.expect_err("the device has no such kernel").to_string();
        assert!(error.contains(lacking) && error.contains("matmul_lanes_rows/"), "{error}");
    }
}
