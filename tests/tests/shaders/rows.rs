//! Kernels that walk rows: one result a row, or a row normalised.

use kiln_kernels::{
    Kernel, group_norm_row, l2_normalize_row, layer_norm_row, reduce_dense, reduce_row, rms_norm_row,
    segment_mean, softmax_row,
};
use kiln_reference::Array;
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{
    EXACT, GROUP_NORM, L2_NORMALIZE, LAYER_NORM, LOG_SOFTMAX, RMS_NORM, SOFTMAX, SUM,
};
use kiln_tests::{data, device, sweep};

use crate::support::{halves, repeated, strides, u};

/// Rows around what a workgroup makes, and widths around what its lanes make in a step.
fn row_shapes(threads: u32, lanes: u32) -> Vec<[usize; 2]> {
    sweep::shapes([&sweep::sizes((threads / lanes) as usize), &sweep::sizes(lanes.max(16) as usize)])
}

/// Seeded, off centre, NaN in the last row where there are several.
fn rows_with_nan(name: &str, rows: usize, cols: usize) -> Vec<f32> {
    let mut x: Vec<f32> = data::uniform(name, rows * cols).iter().map(|x| 3.0 * x + 0.5).collect();
    if rows > 2 {
        x[rows * cols - 1] = f32::NAN;
    }
    x
}

#[test]
fn layer_norms() {
    let Some(gpu) = device::gpu() else { return };
    for variant in layer_norm_row::Variant::ALL {
        for [rows, numbers] in row_shapes(variant.threads(), variant.lanes()) {
            let cols = numbers * variant.width() as usize;
            let x = rows_with_nan("layer_norm.x", rows, cols);
            let (weight, bias) =
                (data::uniform("layer_norm.weight", cols), data::uniform("layer_norm.bias", cols));
            let epsilon = 1e-5;
            let params = layer_norm_row::Params { rows: u(rows), cols: u(numbers), epsilon };
            let binds = vec![Bind::f32(&x), Bind::f32(&weight), Bind::f32(&bias), Bind::output(rows * cols)];
            let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let x = Array::from_f32(&[rows, cols], &x);
            let (weight, bias) = (Array::from_f32(&[cols], &weight), Array::from_f32(&[cols], &bias));
            let expected = kiln_reference::layer_norm(&x, &weight, &bias, f64::from(epsilon));
            let terms = kiln_reference::layer_norm_terms(&x, &weight, &bias, f64::from(epsilon));
            let what = format!("{} of {rows}x{cols}", variant.kernel());
            assert_close(what, &got, &expected, &LAYER_NORM.bounds(&terms));
        }
    }
}

/// `[n][groups][channels][inner]` with the lanes folded in one way.
fn check_group_norm(variant: group_norm_row::Variant, shape: [usize; 4], span: u32, x: &[f32]) {
    let Some(gpu) = device::gpu() else { return };
    let [n, groups, channels, inner] = shape;
    let all = groups * channels;
    let (weight, bias) = (data::uniform("group_norm.weight", all), data::uniform("group_norm.bias", all));
    let epsilon = 1e-5;
    let params = group_norm_row::Params {
        rows: u(n * groups),
        cols: u(channels * inner),
        groups: u(groups),
        channels: u(channels),
        inner: u(inner),
        span,
        epsilon,
    };
    let binds = vec![Bind::f32(x), Bind::f32(&weight), Bind::f32(&bias), Bind::output(x.len())];
    let workgroups = (n * groups).div_ceil((variant.threads() / variant.lanes()) as usize);
    let got = Run::new(variant.kernel(), &params, binds, workgroups).output(gpu);
    let x = Array::from_f32(&[n, all, inner], x);
    let (weight, bias) = (Array::from_f32(&[all], &weight), Array::from_f32(&[all], &bias));
    let expected = kiln_reference::group_norm(&x, groups, &weight, &bias, f64::from(epsilon));
    let terms = kiln_reference::group_norm_terms(&x, groups, &weight, &bias, f64::from(epsilon));
    let what = format!("{} of {shape:?}, span {span}", variant.kernel());
    assert_close(what, &got, &expected, &GROUP_NORM.bounds(&terms));
}

#[test]
fn group_norms() {
    for &variant in group_norm_row::Variant::ALL {
        let lanes = variant.lanes();
        for [rows, inner] in row_shapes(variant.threads(), lanes) {
            for shape in [[rows, 1, 1, inner], [1, rows, 3, inner], [2, 3, inner, 1]] {
                let [n, groups, channels, inner] = shape;
                let x = rows_with_nan("group_norm.x", n * groups, channels * inner);
                // The host picks one; the result is that of any.
                for span in [1, 8, 128] {
                    if span <= lanes {
                        check_group_norm(variant, shape, span, &x);
                    }
                }
            }
        }
    }
}

/// Long rows: what a chain of some ten thousand additions loses would be seen, and what a mean far from zero takes from
/// the differences, and an error of the mean from a row without variance.
#[test]
fn group_norms_of_long_rows() {
    for &variant in group_norm_row::Variant::ALL {
        let shape = [1, 2, 4, 4999];
        for centre in [0.0, 1.0, 100.0] {
            let x = data::uniform("group_norm.long", 8 * 4999);
            let x: Vec<f32> = x.iter().map(|x| x + centre).collect();
            check_group_norm(variant, shape, variant.lanes(), &x);
        }
        check_group_norm(variant, shape, variant.lanes(), &vec![100.1; 8 * 4999]);
    }
}

#[test]
fn l2_normalizes() {
    let Some(gpu) = device::gpu() else { return };
    for variant in l2_normalize_row::Variant::ALL {
        for [rows, cols] in row_shapes(variant.threads(), variant.lanes()) {
            let mut x = rows_with_nan("l2_normalize.x", rows, cols);
            x[..cols].fill(0.0); // a row without direction stays zero
            let epsilon = 1e-12;
            let params = l2_normalize_row::Params { rows: u(rows), cols: u(cols), epsilon };
            let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
            let binds = vec![Bind::f32(&x), Bind::output(rows * cols)];
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let x = Array::from_f32(&[rows, cols], &x);
            let expected = kiln_reference::l2_normalize(&x, f64::from(epsilon));
            let terms = kiln_reference::l2_normalize_terms(&x, f64::from(epsilon));
            let what = format!("{} of {rows}x{cols}", variant.kernel());
            assert_close(what, &got, &expected, &L2_NORMALIZE.bounds(&terms));
        }
    }
}

#[test]
fn rms_norms() {
    let Some(gpu) = device::gpu() else { return };
    for variant in rms_norm_row::Variant::ALL {
        for [rows, numbers] in row_shapes(variant.threads(), variant.lanes()) {
            let cols = numbers * variant.width() as usize;
            let mut x = rows_with_nan("rms_norm.x", rows, cols);
            x[..cols].fill(0.0); // a row without direction stays zero
            let weight = data::uniform("rms_norm.weight", cols);
            let epsilon = 1e-6;
            let params = rms_norm_row::Params { rows: u(rows), cols: u(numbers), epsilon };
            let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
            let binds = vec![Bind::f32(&x), Bind::f32(&weight), Bind::output(rows * cols)];
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let (x, weight) = (Array::from_f32(&[rows, cols], &x), Array::from_f32(&[cols], &weight));
            let expected = kiln_reference::rms_norm(&x, &weight, f64::from(epsilon));
            let what = format!("{} of {rows}x{cols}", variant.kernel());
            assert_close(what, &got, &expected, &RMS_NORM.bounds(&expected));
        }
    }
}

/// A softmax along the middle of `[outer][cols][inner]` with a mask of some shape that repeats over it, and its
/// logarithm.
fn check_softmax(variant: softmax_row::Variant, shape: [usize; 3], mask_shape: Option<&[usize]>) {
    let Some(gpu) = device::gpu() else { return };
    let [outer, cols, inner] = shape;
    let rows = outer * inner;
    let x: Vec<f32> = data::uniform("softmax.x", rows * cols).iter().map(|x| 5.0 * x).collect();
    let mask_own = mask_shape.unwrap_or(&[1]);
    let mut mask = data::uniform("softmax.mask", mask_own.iter().product());
    if mask.len() > 2 {
        mask[1] = f32::NEG_INFINITY;
    }
    let mut mask_strides = repeated(mask_own, &shape);
    let mask_col_stride = u(mask_strides.remove(1));
    let (kept_low, kept_high) = halves(&[outer, inner]);
    let (mask_low, mask_high) = halves(&mask_strides);
    let params = softmax_row::Params {
        rows: u(rows),
        cols: u(cols),
        inner: u(inner),
        flags: u32::from(mask_shape.is_some()),
        mask_col_stride,
        kept_rank: 2,
        kept_low,
        kept_high,
        mask_low,
        mask_high,
        ..Default::default()
    };
    let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
    let run = |log: u32| {
        // Without the flag the mask must not be read: it is all NaN then.
        let bound_mask = if mask_shape.is_some() { Bind::f32(&mask) } else { Bind::f32(&[f32::NAN]) };
        let binds = vec![Bind::f32(&x), bound_mask, Bind::output(rows * cols)];
        let overrides = softmax_row::Overrides { log }.pairs();
        Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
    };
    let (got, log) = (run(0), run(1));
    let x = Array::from_f32(&shape, &x);
    let mask = mask_shape.map(|shape| Array::from_f32(shape, &mask));
    let expected = kiln_reference::softmax(&x, mask.as_ref(), 1);
    let bounds = SOFTMAX.bounds(&kiln_reference::softmax_terms(&x, mask.as_ref(), 1));
    let what = format!("{} of {shape:?} masked by {mask_shape:?}", variant.kernel());
    assert_close(&what, &got, &expected, &bounds);
    let expected = kiln_reference::log_softmax(&x, mask.as_ref(), 1);
    let bounds = LOG_SOFTMAX.bounds(&kiln_reference::log_softmax_terms(&x, mask.as_ref(), 1));
    assert_close(format_args!("log of {what}"), &log, &expected, &bounds);
}

#[test]
fn softmaxes() {
    for &variant in softmax_row::Variant::ALL {
        for [rows, cols] in row_shapes(variant.threads(), variant.lanes()) {
            check_softmax(variant, [rows, cols, 1], None);
            check_softmax(variant, [rows, cols, 1], Some(&[cols, 1]));
        }
        for mask in [&[3, 37, 5][..], &[37, 1], &[3, 37, 1], &[37, 5], &[3, 1, 1], &[]] {
            check_softmax(variant, [3, 37, 5], Some(mask));
        }
        check_softmax(variant, [2, 7, 9], None);
    }
}

/// NaN in a row fills it and leaves its neighbours alone; so do a row of minus infinities, and scores that overflow
/// without the shift do not.
#[test]
fn softmax_of_nan_and_of_extremes() {
    let Some(gpu) = device::gpu() else { return };
    let low = f32::NEG_INFINITY;
    #[rustfmt::skip]
    let x = [
        1.0, f32::NAN, 2.0, 3.0,
        1.0, 2.0, 3.0, 4.0,
        low, low, low, low,
        1e30, 1e30, low, -1e30,
    ];
    let x = Array::from_f32(&[4, 4], &x);
    let expected = kiln_reference::softmax(&x, None, 1);
    assert_eq!(expected.data[12..], [0.5, 0.5, 0.0, 0.0]);
    let bounds = SOFTMAX.bounds(&expected.map(|y| 30.0 * y));
    for variant in softmax_row::Variant::ALL {
        let (kept_low, _) = halves(&[4, 1]);
        let params =
            softmax_row::Params { rows: 4, cols: 4, inner: 1, kept_rank: 2, kept_low, ..Default::default() };
        let data: Vec<f32> = x.data.iter().map(|&x| x as f32).collect();
        let groups = 4usize.div_ceil((variant.threads() / variant.lanes()) as usize);
        let run = |log: u32| {
            let binds = vec![Bind::f32(&data), Bind::f32(&[0.0]), Bind::output(16)];
            let overrides = softmax_row::Overrides { log }.pairs();
            Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu)
        };
        assert_close(variant.kernel(), &run(0), &expected, &bounds);
        let log = kiln_reference::log_softmax(&x, None, 1);
        let bounds = LOG_SOFTMAX.bounds(&kiln_reference::log_softmax_terms(&x, None, 1));
        assert_close(format_args!("log of {}", variant.kernel()), &run(1), &log, &bounds);
    }
}

/// A reduction of a tensor over some of its axes; what came, as bits.
fn reduce(
    variant: reduce_row::Variant,
    op: u32,
    shape: &[usize],
    dims: &[usize],
    x: &[f32],
) -> Option<Vec<u32>> {
    let gpu = device::gpu()?;
    let all = strides(shape);
    let part = |reduced: bool| -> (Vec<usize>, Vec<usize>) {
        let axes = (0..shape.len()).filter(|axis| dims.contains(axis) == reduced);
        axes.map(|axis| (shape[axis], all[axis])).unzip()
    };
    let ((kept, kept_strides), (cols, cols_strides)) = (part(false), part(true));
    let (kept_low, kept_high) = halves(&kept);
    let (kept_stride_low, kept_stride_high) = halves(&kept_strides);
    let (cols_low, cols_high) = halves(&cols);
    let (cols_stride_low, cols_stride_high) = halves(&cols_strides);
    let rows: usize = kept.iter().product();
    let params = reduce_row::Params {
        rows: u(rows),
        cols: u(cols.iter().product()),
        kept_rank: u(kept.len()),
        cols_rank: u(cols.len()),
        kept_low,
        kept_high,
        kept_stride_low,
        kept_stride_high,
        cols_low,
        cols_high,
        cols_stride_low,
        cols_stride_high,
    };
    let overrides = reduce_row::Overrides { op }.pairs();
    let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
    let binds = vec![Bind::f32(x), Bind::output(rows)];
    Some(Run::new(variant.kernel(), &params, binds, groups).with(&overrides).words(gpu))
}

/// A reduction of rows of neighbours.
fn reduce_rows(
    variant: reduce_dense::Variant,
    op: u32,
    [rows, cols]: [usize; 2],
    x: &[f32],
) -> Option<Vec<u32>> {
    let gpu = device::gpu()?;
    let params = reduce_dense::Params { rows: u(rows), cols: u(cols) / variant.width() };
    let overrides = reduce_dense::Overrides { op }.pairs();
    let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
    let binds = vec![Bind::f32(x), Bind::output(rows)];
    Some(Run::new(variant.kernel(), &params, binds, groups).with(&overrides).words(gpu))
}

/// Checks what `reduce` makes by each op's number.
fn check_reductions(
    kernel: &Kernel,
    shape: &[usize],
    dims: &[usize],
    data: &[f32],
    reduce: impl Fn(u32) -> Option<Vec<u32>>,
) {
    let x = Array::from_f32(shape, data);
    let what = |name: &str| format!("{kernel} ({name}) of {shape:?} over {dims:?}");
    let floats = |words: Vec<u32>| words.into_iter().map(f32::from_bits).collect::<Vec<_>>();

    let Some(sum) = reduce(0) else { return };
    let expected = kiln_reference::sum(&x, dims, false);
    let bounds = SUM.bounds(&kiln_reference::sum(&x.abs(), dims, false));
    assert_close(what("sum"), &floats(sum), &expected, &bounds);

    let Some(mean) = reduce(1) else { return };
    let expected = kiln_reference::mean(&x, dims, false);
    let bounds = SUM.bounds(&kiln_reference::mean(&x.abs(), dims, false));
    assert_close(what("mean"), &floats(mean), &expected, &bounds);

    let Some(max) = reduce(2) else { return };
    let expected = kiln_reference::max(&x, dims, false);
    assert_close(what("max"), &floats(max), &expected, &EXACT.bounds(&expected));

    let Some(argmax) = reduce(3) else { return };
    let expected = kiln_reference::argmax(&x, dims, false);
    let places: Vec<u32> = expected.data.iter().map(|&place| place as u32).collect();
    assert_same_bits(what("argmax"), &argmax, &places, &expected.shape);
}

#[test]
fn reduces_rows() {
    for &variant in reduce_row::Variant::ALL {
        for [rows, cols] in row_shapes(variant.threads(), variant.lanes()) {
            let x = rows_with_nan("reduce.x", rows, cols);
            check_reductions(variant.kernel(), &[rows, cols], &[1], &x, |op| {
                reduce(variant, op, &[rows, cols], &[1], &x)
            });
        }
    }
}

#[test]
fn reduces_rows_of_neighbours() {
    for &variant in reduce_dense::Variant::ALL {
        let long = [[1, 32_128], [3, 5000]].map(|[rows, cols]| [rows, cols / variant.width() as usize]);
        for [rows, numbers] in row_shapes(variant.threads(), variant.lanes()).into_iter().chain(long) {
            let cols = numbers * variant.width() as usize;
            let x = rows_with_nan("reduce.x", rows, cols);
            check_reductions(variant.kernel(), &[rows, cols], &[1], &x, |op| {
                reduce_rows(variant, op, [rows, cols], &x)
            });
        }
    }
}

#[test]
fn reduces_any_axes() {
    let table: [(&[usize], &[usize]); 8] = [
        (&[5, 7], &[0]),
        (&[5, 7], &[0, 1]),
        (&[3, 4, 5], &[1]),
        (&[3, 4, 5], &[0, 2]),
        (&[2, 3, 4, 5], &[0, 2]),
        (&[2, 3, 4, 5], &[1, 3]),
        (&[2, 3, 2, 2, 3, 2, 2, 3], &[0, 2, 5, 7]),
        (&[150, 3], &[0]),
    ];
    for &variant in reduce_row::Variant::ALL {
        for (shape, dims) in table {
            let x = data::uniform("reduce.axes", shape.iter().product());
            check_reductions(variant.kernel(), shape, dims, &x, |op| reduce(variant, op, shape, dims, &x));
        }
    }
}

/// The first of equals wins, the first NaN wins over all, and a row of minus infinities has a greatest element.
#[test]
fn the_greatest_of_ties_nan_and_infinities() {
    let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
    // Ties lie in different lanes, in one lane at different steps, and in one vector.
    let mut x = vec![-1.0f32; 6 * 300];
    let equal = &[(7, 5.0), (129, 5.0), (135, 5.0)];
    let (mixed, near) = (&[(200, nan), (20, nan), (3, f32::INFINITY)], &[(42, 5.0), (41, 5.0), (74, 5.0)]);
    for (row, marks) in [(0, &equal[..]), (1, &mixed[..]), (5, &near[..])] {
        for &(col, value) in marks {
            x[row * 300 + col] = value;
        }
    }
    x[600..900].fill(low);
    x[900 + 299] = 0.0;
    let (shape, places) = ([6, 300], [7, 20, 0, 299, 0, 41]);
    for &variant in reduce_row::Variant::ALL {
        check_greatest(variant.kernel(), &shape, &x, &places, |op| reduce(variant, op, &shape, &[1], &x));
    }
    for &variant in reduce_dense::Variant::ALL {
        check_greatest(variant.kernel(), &shape, &x, &places, |op| reduce_rows(variant, op, shape, &x));
    }
}

fn check_greatest(
    kernel: &Kernel,
    shape: &[usize],
    x: &[f32],
    places: &[u32],
    reduce: impl Fn(u32) -> Option<Vec<u32>>,
) {
    let array = Array::from_f32(shape, x);
    let expected = kiln_reference::argmax(&array, &[1], false);
    assert_eq!(expected.data, places.iter().map(|&p| f64::from(p)).collect::<Vec<_>>(), "the table is wrong");
    let Some(argmax) = reduce(3) else { return };
    assert_same_bits(kernel, &argmax, places, &[places.len()]);
    let Some(max) = reduce(2) else { return };
    let max: Vec<f32> = max.into_iter().map(f32::from_bits).collect();
    let expected = kiln_reference::max(&array, &[1], false);
    assert_close(kernel, &max, &expected, &EXACT.bounds(&expected));
}

#[test]
fn segment_means() {
    let Some(gpu) = device::gpu() else { return };
    // Empty segments at both ends and between, one row, many rows, and rows that belong to none.
    let offsets = [0u32, 0, 1, 4, 4, 40, 41, 41];
    let (rows, segments) = (43, offsets.len() - 1);
    for variant in segment_mean::Variant::ALL {
        for width in sweep::sizes(64) {
            let mut x = data::uniform("segment_mean.x", rows * width);
            x[2 * width] = f32::NAN;
            let count = segments * width;
            let params = segment_mean::Params { count: u(count), width: u(width), rows: u(rows) };
            let binds = vec![Bind::f32(&x), Bind::u32(&offsets), Bind::output(count)];
            let groups = count.div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let x = Array::from_f32(&[rows, width], &x);
            let expected = kiln_reference::segment_mean(&x, &offsets);
            let bounds = SUM.bounds(&kiln_reference::segment_mean(&x.abs(), &offsets));
            assert_close(format_args!("width {width}"), &got, &expected, &bounds);
        }
    }
}
