//! Kernels that make each element from the elements at its place.

use kiln_kernels::{binary, binary_flat, fill, gated, pack_half, unary, unpack_half};
use kiln_reference::{Array, Unary};
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{self, EXACT};
use kiln_tests::{data, device, sweep};

use crate::support::{halves, repeated, u};

#[test]
fn fill_writes_its_count_and_no_more() {
    let Some(gpu) = device::gpu() else { return };
    for variant in fill::Variant::ALL {
        for count in sweep::sizes(variant.threads() as usize) {
            let params = fill::Params { value: -2.5, count: u(count) };
            let groups = count.div_ceil(variant.threads() as usize);
            let width = if *variant == fill::Variant::Quad { 4 } else { 1 };
            let binds = vec![Bind::output(width * count)];
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            assert_eq!(got, vec![-2.5; width * count]);
        }
    }
}

/// The shader's numbers for the functions, and for their options.
const FUNCTIONS: [(u32, [f32; 2], Unary); 27] = [
    (1, [0.0; 2], Unary::Relu),
    (2, [0.0; 2], Unary::Gelu),
    (3, [0.0; 2], Unary::GeluTanh),
    (4, [0.0; 2], Unary::Sigmoid),
    (5, [0.0; 2], Unary::Tanh),
    (6, [0.0; 2], Unary::Silu),
    (7, [0.0; 2], Unary::Neg),
    (8, [0.0; 2], Unary::Exp),
    (9, [0.0; 2], Unary::Log),
    (10, [0.0; 2], Unary::Sqrt),
    (11, [0.0; 2], Unary::Rsqrt),
    (12, [0.0; 2], Unary::Abs),
    (13, [0.01, 0.0], Unary::LeakyRelu { slope: 0.01f32 as f64 }),
    (13, [-2.5, 0.0], Unary::LeakyRelu { slope: -2.5 }),
    (14, [1.0, 0.0], Unary::Elu { alpha: 1.0 }),
    (14, [-1.75, 0.0], Unary::Elu { alpha: -1.75 }),
    (15, [1.0, 20.0], Unary::Softplus { beta: 1.0, threshold: 20.0 }),
    (15, [0.25, 1e30], Unary::Softplus { beta: 0.25, threshold: 1e30 }),
    (15, [-3.0, 5.0], Unary::Softplus { beta: -3.0, threshold: 5.0 }),
    (16, [-1.0, 1.0], Unary::Hardtanh { min: -1.0, max: 1.0 }),
    (16, [0.0, 6.0], Unary::Hardtanh { min: 0.0, max: 6.0 }),
    (17, [0.0; 2], Unary::LogSigmoid),
    (18, [0.5, 0.0], Unary::Softshrink { lambda: 0.5 }),
    (18, [0.0, 0.0], Unary::Softshrink { lambda: 0.0 }),
    (18, [4.0, 0.0], Unary::Softshrink { lambda: 4.0 }),
    (19, [2.0, 0.0], Unary::SmoothL1 { beta: 2.0 }),
    (19, [0.0, 0.0], Unary::SmoothL1 { beta: 0.0 }),
];

const EXTREMES: [f32; 12] =
    [f32::NAN, 0.0, -0.5, 0.5, -50.0, 50.0, -100.0, 100.0, -1e30, 1e30, f32::NEG_INFINITY, f32::INFINITY];

/// Numbers over the range where a function bends, then some that it must survive.
fn arguments(function: Unary, count: usize) -> Vec<f32> {
    let positive = matches!(function, Unary::Log | Unary::Sqrt | Unary::Rsqrt);
    let mut x: Vec<f32> = data::uniform("unary", count).iter().map(|x| 12.0 * x).collect();
    for (i, x) in x.iter_mut().enumerate() {
        if i % 3 == 0 {
            *x /= 100.0; // around zero as well
        }
        if positive {
            *x = x.abs() + 1e-3;
        }
    }
    let edges: &[f32] = match function {
        Unary::Log | Unary::Sqrt | Unary::Rsqrt => &[f32::NAN, 1.0, 1e-30, 1e30],
        // At minus infinity these are 0 times infinity.
        Unary::Gelu | Unary::GeluTanh | Unary::Silu => &[f32::NAN, 0.0, -50.0, 50.0, 1e6, f32::INFINITY],
        _ => &EXTREMES,
    };
    let edges = &edges[..edges.len().min(count)];
    x[count - edges.len()..].copy_from_slice(edges);
    x
}

#[test]
fn halves_are_packed_and_unpacked() {
    let Some(gpu) = device::gpu() else { return };
    let array = |x: &[f32]| Array::from_f32(&[x.len()], x);
    for variant in pack_half::Variant::ALL {
        for count in sweep::sizes(variant.threads() as usize) {
            let x: Vec<f32> = data::uniform("pack_half", 2 * count).iter().map(|x| x * 300.0).collect();
            let params = pack_half::Params { count: u(count) };
            let groups = count.div_ceil(variant.threads() as usize);
            let binds = vec![Bind::f32(&x), Bind::output(count)];
            let got = Run::new(variant.kernel(), &params, binds, groups).words(gpu);
            assert_same_bits(variant.kernel(), &got, &kiln_reference::pack_half(&array(&x)), &[count]);
        }
    }
    for variant in unpack_half::Variant::ALL {
        for count in sweep::sizes(variant.threads() as usize) {
            let x: Vec<f32> = data::uniform("unpack_half", 2 * count).iter().map(|x| x * 300.0).collect();
            let words = kiln_reference::pack_half(&array(&x));
            let params = unpack_half::Params { count: u(count) };
            let groups = count.div_ceil(variant.threads() as usize);
            let binds = vec![Bind::u32(&words), Bind::output(2 * count)];
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let expected = kiln_reference::unpack_half(&words, &[2 * count]);
            assert_close(variant.kernel(), &got, &expected, &EXACT.bounds(&expected));
        }
    }
}

#[test]
fn gates_open_by_their_halves() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in gated::Variant::ALL {
        let each = if variant == gated::Variant::Quad { 4 } else { 1 };
        for [rows, width] in sweep::shapes([&[1, 2, 5], &sweep::sizes(variant.threads() as usize)]) {
            let mut x = data::uniform("gated", 2 * rows * width * each);
            x.iter_mut().for_each(|x| *x *= 5.0);
            let array = Array::from_f32(&[rows, 2 * width * each], &x);
            let params = gated::Params { count: u(rows * width), width: u(width) };
            let groups = (rows * width).div_ceil(variant.threads() as usize);
            for (kind, _, function) in &FUNCTIONS[..6] {
                let overrides = gated::Overrides { kind: *kind }.pairs();
                let binds = vec![Bind::f32(&x), Bind::output(rows * width * each)];
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                let expected = kiln_reference::gated(*function, &array);
                let what = format!("{} {function:?} of {rows}x{width}", variant.kernel());
                assert_close(what, &got, &expected, &tolerance::gated(*function, &array));
            }
        }
    }
}

/// How many elements a variant takes as one.
fn numbers(variant: unary::Variant) -> usize {
    if variant == unary::Variant::Quad { 4 } else { 1 }
}

fn run_unary(gpu: &kiln_gpu::Gpu, variant: unary::Variant, op: u32, [a, b]: [f32; 2], x: &[f32]) -> Vec<f32> {
    let numbers = numbers(variant);
    let params = unary::Params { begin: 0, end: u(x.len() / numbers), a, b };
    let overrides = unary::Overrides { op }.pairs();
    let groups = (x.len() / numbers).div_ceil(variant.threads() as usize);
    let binds = vec![Bind::f32(x), Bind::output(x.len())];
    Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
}

#[test]
fn unary_functions() {
    let Some(gpu) = device::gpu() else { return };
    for variant in unary::Variant::ALL {
        for (op, options, function) in FUNCTIONS {
            for count in
                sweep::sizes(variant.threads() as usize).iter().map(|count| numbers(*variant) * count)
            {
                let x = arguments(function, count);
                let got = run_unary(gpu, *variant, op, options, &x);
                let x = Array::from_f32(&[count], &x);
                let bounds: Vec<f64> =
                    x.data.iter().map(|&x| finite(tolerance::unary(function, x))).collect();
                let expected = kiln_reference::unary(function, &x).map(|y| f64::from(y as f32));
                assert_close(format_args!("{function:?} of {count}"), &got, &expected, &bounds);
            }
        }
    }
}

/// Where the expectation is not finite either, the bound has no part in the verdict.
fn finite(bound: f64) -> f64 {
    if bound.is_finite() { bound } else { 0.0 }
}

#[test]
fn unary_identity_copies() {
    let Some(gpu) = device::gpu() else { return };
    let x = data::uniform("identity", 100);
    for variant in unary::Variant::ALL {
        assert_eq!(run_unary(gpu, *variant, 0, [0.0; 2], &x), x);
    }
}

type BinaryOp = fn(&Array, &Array) -> Array;

const OPERATIONS: [(u32, &str, BinaryOp); 8] = [
    (0, "add", kiln_reference::add),
    (1, "sub", kiln_reference::sub),
    (2, "mul", kiln_reference::mul),
    (3, "div", kiln_reference::div),
    (4, "maximum", kiln_reference::maximum),
    (5, "minimum", kiln_reference::minimum),
    (6, "greater", kiln_reference::greater),
    (7, "equal", kiln_reference::equal),
];

#[test]
fn binary_operations_broadcast() {
    let Some(gpu) = device::gpu() else { return };
    let table: [(&[usize], &[usize]); 9] = [
        (&[1], &[1]),
        (&[63], &[63]),
        (&[65], &[1]),
        (&[5, 13], &[13]),
        (&[5, 1], &[1, 13]),
        (&[], &[4, 16]),
        (&[2, 1, 3, 7], &[11, 1, 7]),
        (&[1, 1, 5], &[3, 2, 1]),
        (&[2, 1, 2, 1, 3, 1, 2, 3], &[1, 3, 1, 2, 3, 2, 1, 3]),
    ];
    for variant in binary::Variant::ALL {
        for (lhs_shape, rhs_shape) in table {
            for (op, name, reference) in OPERATIONS {
                let mut left = data::uniform("binary.lhs", lhs_shape.iter().product());
                let right = data::uniform("binary.rhs", rhs_shape.iter().product());
                if left.len() > 2 {
                    left[1] = f32::NAN;
                }
                let (lhs, rhs) = (Array::from_f32(lhs_shape, &left), Array::from_f32(rhs_shape, &right));
                let expected = reference(&lhs, &rhs);
                let shape = &expected.shape;
                let (shape_low, shape_high) = halves(shape);
                let (lhs_low, lhs_high) = halves(&repeated(lhs_shape, shape));
                let (rhs_low, rhs_high) = halves(&repeated(rhs_shape, shape));
                let count = expected.data.len();
                let params = binary::Params {
                    count: u(count),
                    rank: u(shape.len()),
                    shape_low,
                    shape_high,
                    lhs_low,
                    lhs_high,
                    rhs_low,
                    rhs_high,
                    ..Default::default()
                };
                let overrides = binary::Overrides { op }.pairs();
                let binds = vec![Bind::f32(&left), Bind::f32(&right), Bind::output(count)];
                let groups = count.div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                let tolerance = binary_tolerance(name);
                let what = format!("{name} of {lhs_shape:?} and {rhs_shape:?}");
                assert_close(what, &got, &expected, &tolerance.bounds(&expected));
            }
        }
    }
}

fn binary_tolerance(name: &str) -> tolerance::Tolerance {
    match name {
        "maximum" | "minimum" | "greater" | "equal" => EXACT,
        "div" => tolerance::DIV,
        _ => tolerance::ROUNDED,
    }
}

/// Both sides of one shape, or either a single number.
#[test]
fn binary_operations_on_vectors() {
    let Some(gpu) = device::gpu() else { return };
    for variant in binary_flat::Variant::ALL {
        for count in [4, 252, 256, 260] {
            for (op, name, reference) in OPERATIONS {
                let side = |name: &str, single: bool| {
                    let shape = if single { vec![] } else { vec![count] };
                    let mut numbers = data::uniform(name, shape.iter().product());
                    if !single {
                        numbers[count - 2] = f32::NAN;
                    }
                    (Array::from_f32(&shape, &numbers), numbers)
                };
                let (lhs, left) = side("binary.lhs", *variant == binary_flat::Variant::Left);
                let (rhs, right) = side("binary.rhs", *variant == binary_flat::Variant::Right);
                let expected = reference(&lhs, &rhs);
                let params = binary_flat::Params {
                    count: u(count / 4),
                    lhs_step: u(usize::from(left.len() > 1)),
                    rhs_step: u(usize::from(right.len() > 1)),
                };
                let overrides = binary_flat::Overrides { op }.pairs();
                let binds = vec![Bind::f32(&left), Bind::f32(&right), Bind::output(count)];
                let groups = (count / 4).div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                let what = format!("{name} of {count}, {variant:?}");
                assert_close(what, &got, &expected, &binary_tolerance(name).bounds(&expected));
            }
        }
    }
}

/// The greater of NaN and a number is NaN, whichever side it stands on.
#[test]
fn binary_keeps_nan_on_either_side() {
    let Some(gpu) = device::gpu() else { return };
    let (left, right) = ([f32::NAN, 1.0, f32::NAN, 2.0], [1.0, f32::NAN, f32::NAN, 3.0]);
    for (op, name, _) in &OPERATIONS[..6] {
        let op = *op;
        let (shape_low, shape_high) = halves(&[4]);
        let (lhs_low, lhs_high) = halves(&[1]);
        let params = binary::Params {
            count: 4,
            rank: 1,
            shape_low,
            shape_high,
            lhs_low,
            lhs_high,
            rhs_low: lhs_low,
            rhs_high: lhs_high,
            ..Default::default()
        };
        let overrides = binary::Overrides { op }.pairs();
        let binds = vec![Bind::f32(&left), Bind::f32(&right), Bind::output(4)];
        let got = Run::new(binary::Variant::Base.kernel(), &params, binds, 1).with(&overrides).output(gpu);
        let nan: Vec<u32> = got.iter().map(|x| u32::from(x.is_nan())).collect();
        assert_same_bits(name, &nan, &[1, 1, 1, 0], &[4]);
    }
}
