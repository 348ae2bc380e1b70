//! `max_pool2d` with its indices, `avg_pool2d`, and the same over one axis.

use kiln_engine::ops::{AveragePadding, PoolOptions};
use kiln_engine::{EngineError, GraphBuilder, Padding, Tensor, Value};
use kiln_gpu::Gpu;
use kiln_reference::{Array, Pool};
use kiln_tests::compare::assert_same_bits;
use kiln_tests::golden::{self, OpCase};
use kiln_tests::graph::{Source, array, conforms, every_source, f32_tensor, run_op, seeded};
use kiln_tests::tolerance::{EXACT, SUM};
use kiln_tests::{data, device};
use serde::Deserialize;

pub(crate) const BOTH: [(AveragePadding, bool); 2] =
    [(AveragePadding::Include, true), (AveragePadding::Exclude, false)];

/// The options as the oracle takes them. Keras's `same` is spelled out, from its definition.
pub(crate) fn spelled<const N: usize>(options: PoolOptions<N>, extents: &[usize]) -> Pool<N> {
    let padding = match options.padding {
        Padding::Valid => [[0, 0]; N],
        Padding::Sides(sides) => sides,
        Padding::Same => std::array::from_fn(|axis| {
            let (input, stride) = (extents[axis] as isize, options.stride[axis] as isize);
            let span = (options.dilation[axis] * (options.kernel[axis] - 1) + 1) as isize;
            let windows = (input + stride - 1) / stride;
            let total = ((windows - 1) * stride + span - input).max(0) as usize;
            [total / 2, total - total / 2]
        }),
    };
    let PoolOptions { kernel, stride, dilation, ceil_mode, .. } = options;
    Pool { kernel, stride, padding, dilation, ceil_mode }
}

#[track_caller]
fn check_max(gpu: &Gpu, x: &Tensor, options: PoolOptions<2>) {
    let operands = [x.clone()];
    let (x, pool) = (array(x), spelled(options, &x.shape()[2..]));
    let what = format!("max of {:?}, {options:?}", x.shape);
    let expected = kiln_reference::max_pool2d(&x, pool);
    let bounds = EXACT.bounds(&expected);
    conforms(gpu, &what, &operands, |g, v| g.max_pool2d(v[0], options), &expected, &bounds);
    let expected = kiln_reference::max_pool2d_indices(&x, pool);
    same_places(gpu, &what, &operands, |g, v| g.max_pool2d_indices(v[0], options), &expected);
}

#[track_caller]
fn same_places(
    gpu: &Gpu,
    what: &str,
    operands: &[Tensor],
    build: impl Fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>,
    expected: &Array,
) {
    let places: Vec<u32> = expected.data.iter().map(|&place| place as u32).collect();
    every_source(gpu, operands, build, |source, made| {
        assert_eq!(made.shape(), expected.shape, "{what} {source}: the shape");
        let got = made.as_u32().expect("indices should be u32");
        assert_same_bits(format_args!("indices of {what} {source}"), got, &places, &expected.shape);
    });
}

#[track_caller]
fn check_average(gpu: &Gpu, x: &Tensor, options: PoolOptions<2>) {
    let operands = [x.clone()];
    let (x, pool) = (array(x), spelled(options, &x.shape()[2..]));
    for (padding, include) in BOTH {
        let expected = kiln_reference::avg_pool2d(&x, pool, include);
        let bounds = SUM.bounds(&kiln_reference::avg_pool2d(&x.abs(), pool, include));
        let what = format!("average of {:?}, {padding:?}, {options:?}", x.shape);
        conforms(gpu, what, &operands, |g, v| g.avg_pool2d(v[0], options, padding), &expected, &bounds);
    }
}

/// Kernel, stride, padding, dilation and ceil_mode, over sizes around the eight neighbours of an invocation.
pub(crate) type Row = ([usize; 4], [usize; 2], [usize; 2], Padding<2>, [usize; 2], bool);

const VALID: Padding<2> = Padding::Valid;

pub(crate) const TABLE: [Row; 27] = [
    ([1, 1, 1, 1], [1, 1], [1, 1], VALID, [1, 1], false),
    ([2, 3, 14, 16], [2, 2], [2, 2], VALID, [1, 1], false),
    ([1, 2, 15, 17], [2, 2], [2, 2], VALID, [1, 1], false),
    ([1, 2, 15, 17], [2, 2], [2, 2], VALID, [1, 1], true),
    ([3, 2, 9, 65], [2, 2], [2, 2], Padding::Same, [1, 1], false),
    ([1, 5, 7, 7], [7, 7], [7, 7], VALID, [1, 1], false),
    ([2, 3, 11, 13], [3, 3], [2, 2], VALID, [1, 1], false),
    ([1, 3, 12, 14], [3, 3], [2, 2], VALID, [1, 1], true),
    ([1, 3, 31, 33], [3, 3], [2, 2], Padding::all(1), [1, 1], false),
    ([1, 3, 8, 18], [3, 3], [2, 2], Padding::all(1), [1, 1], true),
    ([2, 3, 9, 8], [3, 3], [1, 1], Padding::all(1), [1, 1], false),
    ([1, 1, 5, 7], [3, 3], [1, 1], Padding::Same, [1, 1], false),
    ([1, 2, 10, 23], [5, 4], [3, 2], Padding::axes([2, 1]), [1, 1], true),
    ([1, 2, 13, 11], [4, 5], [1, 3], Padding::Sides([[2, 0], [1, 2]]), [1, 1], false),
    ([1, 2, 6, 41], [2, 13], [2, 1], Padding::axes([0, 6]), [1, 1], false),
    ([1, 2, 6, 61], [2, 29], [2, 1], Padding::axes([0, 14]), [1, 1], false),
    ([1, 2, 6, 61], [2, 30], [2, 1], Padding::axes([0, 15]), [1, 1], false),
    ([1, 2, 3, 70], [1, 40], [1, 1], VALID, [1, 1], false),
    ([1, 2, 9, 10], [2, 1], [3, 4], VALID, [1, 1], true),
    ([2, 1, 4, 5], [2, 2], [3, 3], Padding::all(1), [1, 1], true),
    ([1, 1, 2, 3], [5, 4], [1, 1], Padding::all(2), [1, 1], false),
    ([1, 3, 7, 8], [3, 2], [5, 4], Padding::Same, [1, 1], true),
    ([1, 2, 11, 13], [3, 3], [1, 1], VALID, [2, 3], false),
    ([1, 2, 11, 13], [3, 2], [2, 2], Padding::axes([2, 1]), [2, 3], true),
    ([1, 2, 9, 20], [3, 2], [1, 1], Padding::axes([2, 0]), [3, 1], false),
    ([1, 2, 7, 6], [2, 3], [2, 1], Padding::Same, [3, 2], false),
    // Windows of taps on either side of the input: nothing to see.
    ([1, 1, 2, 3], [2, 2], [1, 1], Padding::all(2), [3, 3], false),
];

/// Windows drawn at random, small ones of every kind: as many of the rows as can be.
pub(crate) fn drawn(count: usize) -> impl Iterator<Item = ([usize; 4], PoolOptions<2>)> {
    let rows = (0..).map(|number| {
        let dice = data::indices(&format!("pool {number}"), 16, 1 << 16);
        let roll = |at: usize, from: usize, to: usize| from + dice[at] as usize % (to - from + 1);
        let kernel = [roll(0, 1, 4), roll(1, 1, 5)];
        let dilation = if roll(2, 0, 2) == 0 { [roll(3, 1, 3), roll(4, 1, 3)] } else { [1, 1] };
        let half = [0, 1].map(|axis| (dilation[axis] * (kernel[axis] - 1)).div_ceil(2));
        let padding = match roll(5, 0, 3) {
            0 => Padding::Same,
            1 => Padding::Sides([
                [roll(6, 0, half[0]), roll(7, 0, half[0])],
                [roll(8, 0, half[1]), roll(9, 0, half[1])],
            ]),
            _ => Padding::Valid,
        };
        let options = PoolOptions {
            kernel,
            stride: [roll(10, 1, 4), roll(11, 1, 5)],
            padding,
            dilation,
            ceil_mode: roll(12, 0, 1) == 1,
        };
        ([roll(13, 1, 2), roll(13, 1, 3), roll(14, 1, 13), roll(15, 1, 22)], options)
    });
    let fits = |(shape, options): &([usize; 4], PoolOptions<2>)| {
        let mut g = GraphBuilder::new("fits");
        let x = g.input("x", shape, kiln_engine::DType::F32);
        g.max_pool2d(x, *options).is_ok()
    };
    rows.filter(fits).take(count)
}

#[test]
fn windows() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, kernel, stride, padding, dilation, ceil_mode) in TABLE {
        let options = PoolOptions { kernel, stride, padding, dilation, ceil_mode };
        let x = seeded("x", &shape);
        check_max(gpu, &x, options);
        if dilation == [1, 1] {
            check_average(gpu, &x, options);
        }
    }
}

/// The first of equal maxima, the last NaN, and planes that are minus infinity throughout; a NaN spoils the averages of
/// its windows and of no other.
#[test]
fn ties_nan_and_infinities() {
    let Some(gpu) = device::gpu() else { return };
    let mut x: Vec<f32> = data::uniform("x", 3 * 9 * 12).iter().map(|x| (3.0 * x).floor()).collect();
    for (place, value) in [(0, f32::NAN), (14, f32::NAN), (26, f32::NAN), (50, f32::INFINITY)] {
        x[place] = value;
    }
    x[108..216].fill(f32::NEG_INFINITY);
    let x = f32_tensor(&[1, 3, 9, 12], x);
    for options in [
        PoolOptions::new([3, 4]),
        PoolOptions { stride: [1, 1], padding: Padding::all(1), ..PoolOptions::new([3, 3]) },
        PoolOptions { stride: [2, 2], padding: Padding::Same, ..PoolOptions::new([2, 5]) },
        PoolOptions { dilation: [3, 2], stride: [1, 1], ..PoolOptions::new([2, 3]) },
    ] {
        check_max(gpu, &x, options);
        if options.dilation == [1, 1] {
            check_average(gpu, &x, options);
        }
    }
}

/// Of each plane another tap of the windows is NaN, in every other one of them; with widths for each kernel of 2x2 windows.
#[test]
fn nan_at_each_tap() {
    let Some(gpu) = device::gpu() else { return };
    for width in [4, 8, 24, 26] {
        let shape = [1, 4, 6, width];
        let mut x = data::uniform("x", shape.iter().product());
        for (at, x) in x.iter_mut().enumerate() {
            let (plane, row, col) = (at / width / 6, at / width % 6, at % width);
            if row % 2 * 2 + col % 2 == plane && (row / 2 + col / 2) % 2 == 0 {
                *x = f32::NAN;
            }
        }
        check_max(gpu, &f32_tensor(&shape, x), PoolOptions::new([2, 2]));
    }
}

#[test]
fn one_axis() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, kernel, stride, padding, ceil_mode) in [
        ([2, 3, 17], 3, 2, Padding::all(1), true),
        ([1, 4, 64], 2, 2, Padding::Valid, false),
        ([3, 1, 29], 5, 1, Padding::Same, false),
        ([1, 2, 10], 4, 3, Padding::Sides([[0, 2]]), false),
    ] {
        let options = PoolOptions { kernel: [kernel], stride: [stride], padding, dilation: [1], ceil_mode };
        let operands = [seeded("x", &shape)];
        let x = array(&operands[0]);
        let pool = spelled(options, &shape[2..]);
        let what = format!("{shape:?}, {options:?}");
        let expected = kiln_reference::max_pool1d(&x, pool);
        conforms(
            gpu,
            &what,
            &operands,
            |g, v| g.max_pool1d(v[0], options),
            &expected,
            &EXACT.bounds(&expected),
        );
        let places = kiln_reference::max_pool1d_indices(&x, pool);
        same_places(gpu, &what, &operands, |g, v| g.max_pool1d_indices(v[0], options), &places);
        for (padding, include) in BOTH {
            let expected = kiln_reference::avg_pool1d(&x, pool, include);
            let bounds = SUM.bounds(&kiln_reference::avg_pool1d(&x.abs(), pool, include));
            conforms(gpu, &what, &operands, |g, v| g.avg_pool1d(v[0], options, padding), &expected, &bounds);
        }
    }
}

/// The row kernel walks down a tall window and unrolls its columns: together they would be more iterations than a software
/// driver allows.
#[test]
fn tall_windows() {
    let Some(gpu) = device::gpu() else { return };
    let x = seeded("x", &[1, 1, 9001, 21]);
    let options = PoolOptions { stride: [500, 1], ..PoolOptions::new([8000, 2]) };
    check_max(gpu, &x, options);
    check_average(gpu, &x, options);
}

/// A window that is tall and narrow has as many ends of rows as elements, and these count as well: what a software driver
/// would cut short is refused.
#[test]
fn tall_columns() {
    let Some(gpu) = device::gpu() else { return };
    let sparse = |height| PoolOptions { stride: [1, 2], ..PoolOptions::new([height, 1]) };
    let x = seeded("x", &[1, 1, 19_990, 3]);
    check_max(gpu, &x, sparse(19_990));
    check_average(gpu, &x, sparse(19_990));
    let x = seeded("x", &[1, 1, 25_000, 3]);
    let pooled = run_op(gpu, gpu.profile(), Source::Inputs, std::slice::from_ref(&x), |g, v| {
        g.max_pool2d_indices(v[0], sparse(25_000))
    });
    if gpu.profile().kind.is_software() {
        let error = pooled.expect_err("the loops should be too long").to_string();
        assert!(error.contains("loop iterations on a software adapter"), "{error}");
    } else {
        check_max(gpu, &x, sparse(25_000));
    }
}

/// Windows of more elements than a software driver lets one invocation loop over are taken in two steps.
#[test]
fn large_windows() {
    let Some(gpu) = device::gpu() else { return };
    let x = seeded("x", &[1, 2, 310, 290]);
    let padding = Padding::Sides([[100, 0], [30, 50]]);
    for options in [
        PoolOptions::new([310, 290]),
        PoolOptions { stride: [40, 50], padding, ceil_mode: true, ..PoolOptions::new([280, 270]) },
        PoolOptions { stride: [80, 90], padding: Padding::Same, ..PoolOptions::new([260, 255]) },
    ] {
        let operands = [x.clone()];
        let (x, pool) = (array(&x), spelled(options, &x.shape()[2..]));
        let expected = kiln_reference::max_pool2d(&x, pool);
        let bounds = EXACT.bounds(&expected);
        conforms(gpu, "a large maximum", &operands, |g, v| g.max_pool2d(v[0], options), &expected, &bounds);
        check_average(gpu, &operands[0], options);
    }
}

#[derive(Deserialize)]
struct Attributes {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    #[serde(default)]
    dilation: Option<[usize; 2]>,
    ceil_mode: bool,
    #[serde(default)]
    count_include_pad: bool,
}

pub(crate) fn options(case: &OpCase) -> (PoolOptions<2>, AveragePadding) {
    let Attributes { kernel, stride, padding, dilation, ceil_mode, count_include_pad } = case.attributes();
    let dilation = dilation.unwrap_or([1, 1]);
    let counted = if count_include_pad { AveragePadding::Include } else { AveragePadding::Exclude };
    (PoolOptions { kernel, stride, padding: Padding::axes(padding), dilation, ceil_mode }, counted)
}

fn operand(case: &OpCase) -> [Tensor; 1] {
    let x = &case.inputs[0];
    [f32_tensor(&x.shape, x.data.iter().map(|&x| x as f32).collect())]
}

#[test]
fn as_in_pytorch() {
    let Some(gpu) = device::gpu() else { return };
    for case in golden::op_cases("max_pool2d") {
        let (options, _) = options(&case);
        let bounds = EXACT.bounds(&case.output);
        conforms(gpu, &case.name, &operand(&case), |g, v| g.max_pool2d(v[0], options), &case.output, &bounds);
    }
    for case in golden::op_cases("max_pool2d_indices") {
        let (options, _) = options(&case);
        same_places(
            gpu,
            &case.name,
            &operand(&case),
            |g, v| g.max_pool2d_indices(v[0], options),
            &case.output,
        );
    }
    for case in golden::op_cases("avg_pool2d") {
        let (options, padding) = options(&case);
        let operands = operand(&case);
        let terms = kiln_reference::avg_pool2d(
            &case.inputs[0].abs(),
            spelled(options, &case.inputs[0].shape[2..]),
            padding == AveragePadding::Include,
        );
        let bounds = SUM.bounds(&terms);
        let build = |g: &mut GraphBuilder, v: &[Value]| g.avg_pool2d(v[0], options, padding);
        conforms(gpu, &case.name, &operands, build, &case.output, &bounds);
    }
}
