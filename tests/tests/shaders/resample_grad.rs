//! The kernels of the gradients of padding and upsampling.

use kiln_gpu::Gpu;
use kiln_kernels::{pad_grad, upsample2d_grad_bilinear, upsample2d_grad_nearest};
use kiln_reference::{Array, Pad};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{SUM, UPSAMPLE};
use kiln_tests::{data, device, sweep};

use crate::support::u;

#[track_caller]
fn check_pad(
    gpu: &Gpu,
    variant: pad_grad::Variant,
    mode: u32,
    shape: [usize; 3],
    [before, after]: [usize; 2],
) {
    let [outer, extent, inner] = shape;
    let padded = [outer, before + extent + after, inner];
    let grad = data::uniform("pad_grad", padded.iter().product());
    let grads = Array::from_f32(&padded, &grad);
    let oracle = [Pad::Constant(1.0), Pad::Reflect, Pad::Replicate][mode as usize];
    let sides = [[0, 0], [before, after], [0, 0]];
    let expected = kiln_reference::pad_grad(&shape, &grads, &sides, oracle);
    let bounds = SUM.bounds(&kiln_reference::pad_grad(&shape, &grads.abs(), &sides, oracle));
    let inner = inner / variant.width() as usize;
    let line_groups = (extent * inner).div_ceil(variant.cells() as usize);
    let count = outer * line_groups;
    let params = pad_grad::Params {
        count: u(count),
        line_groups: u(line_groups),
        extent: u(extent),
        inner: u(inner),
        before: u(before),
        after: u(after),
    };
    let binds = vec![Bind::f32(&grad), Bind::output(expected.data.len())];
    let groups = count.div_ceil(variant.threads() as usize);
    let overrides = pad_grad::Overrides { mode };
    let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).output(gpu);
    assert_close(
        format_args!("{} {mode} of {shape:?} by {sides:?}", variant.kernel()),
        &got,
        &expected,
        &bounds,
    );
}

#[test]
fn pads() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pad_grad::Variant::ALL {
        let inners = sweep::sizes(variant.cells() as usize);
        for mode in 0..3 {
            for [outer, extent, inner, before, after] in
                sweep::shapes([&[1, 3, 65], &sweep::sizes(8), &inners, &[0, 1, 4], &[0, 3, 10]])
            {
                let most = if mode == 1 { extent - 1 } else { usize::MAX };
                let shape = [outer, extent, inner * variant.width() as usize];
                check_pad(gpu, *variant, mode, shape, [before.min(most), after.min(most)]);
            }
        }
    }
}

fn nearest(gpu: &Gpu, variant: upsample2d_grad_nearest::Variant, [n, in_h, in_w, out_h, out_w]: [usize; 5]) {
    let (shape, resized) = ([n, 1, in_h, in_w], [n, 1, out_h, out_w]);
    let grad = data::uniform("upsample_grad", n * out_h * out_w);
    let grads = Array::from_f32(&resized, &grad);
    let expected = kiln_reference::upsample_nearest2d_grad(&shape, &grads);
    let bounds = SUM.bounds(&kiln_reference::upsample_nearest2d_grad(&shape, &grads.abs()));
    let row_groups = in_w.div_ceil(variant.outputs() as usize);
    let count = n * in_h * row_groups;
    let params = upsample2d_grad_nearest::Params {
        count: u(count),
        row_groups: u(row_groups),
        in_h: u(in_h),
        in_w: u(in_w),
        out_h: u(out_h),
        out_w: u(out_w),
        scale_h: in_h as f32 / out_h as f32,
        scale_w: in_w as f32 / out_w as f32,
        inverse_h: out_h as f32 / in_h as f32,
        inverse_w: out_w as f32 / in_w as f32,
        slack_h: 1,
        slack_w: 1,
    };
    let binds = vec![Bind::f32(&grad), Bind::output(expected.data.len())];
    let groups = count.div_ceil(variant.threads() as usize);
    let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
    let what = format!("{} of {in_h}x{in_w} to {out_h}x{out_w}", variant.kernel());
    assert_close(what, &got, &expected, &bounds);
}

#[test]
fn nearest_elements() {
    let Some(gpu) = device::gpu() else { return };
    for variant in upsample2d_grad_nearest::Variant::ALL {
        for shape in sweep::shapes([&[1, 3], &[1, 2, 5], &sweep::sizes(8), &[1, 4, 7], &[1, 3, 8, 13, 25]]) {
            nearest(gpu, *variant, shape);
        }
        // Ratios that single precision rounds down to below a whole number.
        nearest(gpu, *variant, [1, 2, 3, 82, 123]);
        nearest(gpu, *variant, [1, 1, 10, 1, 410]);
        nearest(gpu, *variant, [1, 1, 1000, 1, 41_000]);
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
    for variant in upsample2d_grad_bilinear::Variant::ALL {
        for [n, in_h, in_w, out_h, out_w] in
            sweep::shapes([&[1, 3], &[1, 2, 5], &sweep::sizes(8), &[1, 4, 7], &[1, 3, 8, 13, 25]])
        {
            for corners in [false, true] {
                let (shape, resized) = ([n, 1, in_h, in_w], [n, 1, out_h, out_w]);
                let grad = data::uniform("upsample_grad", n * out_h * out_w);
                let grads = Array::from_f32(&resized, &grad);
                let oracle = kiln_reference::upsample_bilinear2d_grad;
                let expected = oracle(&shape, &grads, corners);
                let bounds = UPSAMPLE.bounds(&oracle(&shape, &grads.abs(), corners));
                let row_groups = in_w.div_ceil(variant.outputs() as usize);
                let count = n * in_h * row_groups;
                let (step_h, offset_h, below_h) = position(in_h, out_h, corners);
                let (step_w, offset_w, below_w) = position(in_w, out_w, corners);
                let params = upsample2d_grad_bilinear::Params {
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
                let binds = vec![Bind::f32(&grad), Bind::output(expected.data.len())];
                let groups = count.div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                let what = format!("{} of {shape:?} to {out_h}x{out_w}, {corners}", variant.kernel());
                assert_close(what, &got, &expected, &bounds);
            }
        }
    }
}
