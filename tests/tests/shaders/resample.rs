//! The kernels of padding and upsampling.

use kiln_gpu::Gpu;
use kiln_kernels::{pad, upsample2d_bilinear, upsample2d_nearest};
use kiln_reference::{Array, Pad};
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::UPSAMPLE;
use kiln_tests::{data, device, sweep};

use crate::support::{halves, u};

/// Words that are told apart, NaN and numbers below the normal range among them: a move must not touch them.
fn words(count: usize) -> Vec<u32> {
    let mut words: Vec<u32> = (0..u(count)).map(|i| (i + 1).wrapping_mul(0x9e37_79b9)).collect();
    for (word, odd) in words.iter_mut().zip([0x7fc0_1234, 0xffc0_0001, 0x0000_0001, 0x8000_0000]) {
        *word = odd;
    }
    words
}

#[track_caller]
fn check_pad(gpu: &Gpu, variant: pad::Variant, mode: u32, shape: &[usize], sides: &[[usize; 2]]) {
    const VALUE: u32 = 0x7fc0_beef;
    let input = words(shape.iter().product());
    // The oracle moves numbers, so it moves the places and the words follow.
    let places = Array::new(shape, (0..input.len()).map(|i| i as f64).collect());
    let oracle = [Pad::Constant(f64::INFINITY), Pad::Reflect, Pad::Replicate][mode as usize];
    let places = kiln_reference::pad(&places, sides, oracle);
    let word = |&place: &f64| if place.is_finite() { input[place as usize] } else { VALUE };
    let expected: Vec<u32> = places.data.iter().map(word).collect();

    let output = &places.shape;
    let width = output.last().copied().expect("the table has no scalars");
    let row_groups = width.div_ceil(variant.outputs() as usize);
    let count = places.data.len() / width * row_groups;
    let (out_low, out_high) = halves(output);
    let (in_low, in_high) = halves(shape);
    let before: Vec<usize> = sides.iter().map(|[before, _]| *before).collect();
    let (before_low, before_high) = halves(&before);
    let params = pad::Params {
        count: u(count),
        row_groups: u(row_groups),
        value: VALUE,
        out_low,
        out_high,
        in_low,
        in_high,
        before_low,
        before_high,
        ..Default::default()
    };
    let overrides = pad::Overrides { mode, rank: u(shape.len()) };
    let binds = vec![Bind::u32(&input), Bind::output(expected.len())];
    let groups = count.div_ceil(variant.threads() as usize);
    let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).words(gpu);
    assert_same_bits(
        format_args!("{} {mode} of {shape:?} by {sides:?}", variant.kernel()),
        &got,
        &expected,
        output,
    );
}

#[test]
fn pads() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pad::Variant::ALL {
        for mode in 0..3 {
            for [rows, cols, before, after] in
                sweep::shapes([&[1, 3, 65], &sweep::sizes(8), &[0, 1, 4], &[0, 3]])
            {
                let most = if mode == 1 { cols - 1 } else { usize::MAX };
                let side = [before.min(most), after.min(most)];
                check_pad(gpu, *variant, mode, &[rows, cols], &[[0, 0], side]);
                check_pad(gpu, *variant, mode, &[cols, rows], &[side, [0, 0]]);
            }
            check_pad(gpu, *variant, mode, &[3, 4, 2, 5], &[[1, 0], [2, 3], [1, 1], [0, 4]]);
            let sides = [[1, 0], [0, 0], [1, 2], [0, 1], [0, 0], [1, 1], [2, 0], [1, 2]];
            check_pad(gpu, *variant, mode, &[2, 3, 3, 2, 1, 2, 3, 4], &sides);
        }
    }
}

fn nearest(gpu: &Gpu, variant: upsample2d_nearest::Variant, [n, in_h, in_w, out_h, out_w]: [usize; 5]) {
    let input = words(n * in_h * in_w);
    let places = Array::new(&[n, 1, in_h, in_w], (0..input.len()).map(|i| i as f64).collect());
    let places = kiln_reference::upsample_nearest2d(&places, [out_h, out_w]);
    let expected: Vec<u32> = places.data.iter().map(|&place| input[place as usize]).collect();
    let row_groups = out_w.div_ceil(variant.outputs() as usize);
    let count = n * out_h * row_groups;
    let params = upsample2d_nearest::Params {
        count: u(count),
        row_groups: u(row_groups),
        in_h: u(in_h),
        in_w: u(in_w),
        out_h: u(out_h),
        out_w: u(out_w),
        scale_h: in_h as f32 / out_h as f32,
        scale_w: in_w as f32 / out_w as f32,
    };
    let binds = vec![Bind::u32(&input), Bind::output(expected.len())];
    let groups = count.div_ceil(variant.threads() as usize);
    let got = Run::new(variant.kernel(), &params, binds, groups).words(gpu);
    let what = format!("{} of {in_h}x{in_w} to {out_h}x{out_w}", variant.kernel());
    assert_same_bits(what, &got, &expected, &places.shape);
}

#[test]
fn nearest_elements() {
    let Some(gpu) = device::gpu() else { return };
    for variant in upsample2d_nearest::Variant::ALL {
        for shape in sweep::shapes([&[1, 3], &[1, 2, 5], &[1, 3, 8, 13], &[1, 4, 7], &sweep::sizes(8)]) {
            nearest(gpu, *variant, shape);
        }
        // Ratios that single precision rounds down to below a whole number.
        nearest(gpu, *variant, [1, 2, 3, 82, 123]);
        nearest(gpu, *variant, [1, 1, 10, 1, 410]);
    }
}

/// Step, offset and divisor of an axis, straight from the definition: `align_corners` reads at
/// `place (in - 1) / (out - 1)`, else at `((2 place + 1) in - out) / (2 out)`.
fn position(input: usize, output: usize, corners: bool) -> (u32, i32, u32) {
    match corners {
        true if output == 1 => (0, 0, 1),
        true => (u(input - 1), 0, u(output - 1)),
        false => (u(2 * input), input as i32 - output as i32, u(2 * output)),
    }
}

#[test]
fn bilinear_interpolation() {
    let Some(gpu) = device::gpu() else { return };
    for variant in upsample2d_bilinear::Variant::ALL {
        for [n, in_h, in_w, out_h, out_w] in
            sweep::shapes([&[1, 3], &[1, 2, 5], &[1, 3, 8, 13], &[1, 4, 7], &sweep::sizes(8)])
        {
            for corners in [false, true] {
                let shape = [n, 1, in_h, in_w];
                let mut numbers = data::uniform("upsample.input", n * in_h * in_w);
                if n > 1 {
                    numbers[in_h * in_w] = f32::NAN;
                }
                let x = Array::from_f32(&shape, &numbers);
                let expected = kiln_reference::upsample_bilinear2d(&x, [out_h, out_w], corners);
                let terms = kiln_reference::upsample_bilinear2d(&x.abs(), [out_h, out_w], corners);
                let bounds: Vec<f64> =
                    UPSAMPLE.bounds(&terms).iter().map(|&b| if b.is_finite() { b } else { 0.0 }).collect();
                let row_groups = out_w.div_ceil(variant.outputs() as usize);
                let count = n * out_h * row_groups;
                let (step_h, offset_h, below_h) = position(in_h, out_h, corners);
                let (step_w, offset_w, below_w) = position(in_w, out_w, corners);
                let params = upsample2d_bilinear::Params {
                    count: u(count),
                    row_groups: u(row_groups),
                    in_h: u(in_h),
                    in_w: u(in_w),
                    out_h: u(out_h),
                    out_w: u(out_w),
                    step_h,
                    step_w,
                    offset_h,
                    offset_w,
                    below_h,
                    below_w,
                    reach_h: u32::from(in_h != out_h),
                    reach_w: u32::from(in_w != out_w),
                };
                let binds = vec![Bind::f32(&numbers), Bind::output(expected.data.len())];
                let groups = count.div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                let what = format!("{} of {shape:?} to {out_h}x{out_w}, {corners}", variant.kernel());
                assert_close(what, &got, &expected, &bounds);
            }
        }
    }
}
