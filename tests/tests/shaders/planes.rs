//! Kernels over planes that share a channel: whatever the form, every element of every plane, and none beyond.

use kiln_kernels::{local_response_norm, prelu};
use kiln_reference::{Array, LocalResponseNorm};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{LOCAL_RESPONSE_NORM, ROUNDED};
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// `[n][channels][inner]` around what lanes, runs and workgroups make.
pub(crate) fn shapes(lanes: u32, steps: u32) -> Vec<[usize; 3]> {
    let inner = [&sweep::sizes(lanes as usize)[..], &sweep::sizes((lanes * steps) as usize)].concat();
    sweep::shapes([&[1, 3, 2], &[7, 1, 3, 33], &inner])
}

/// Runs of a plane, and workgroups for all planes.
pub(crate) fn cut([n, channels, inner]: [usize; 3], threads: u32, lanes: u32, steps: u32) -> (usize, usize) {
    let per_plane = inner.div_ceil((lanes * steps) as usize);
    (per_plane, (n * channels * per_plane).div_ceil((threads / lanes) as usize))
}

/// Seeded, off centre, NaN in the middle where there is room.
pub(crate) fn planes_with_nan(name: &str, count: usize) -> Vec<f32> {
    let mut x: Vec<f32> = data::uniform(name, count).iter().map(|x| 3.0 * x + 0.5).collect();
    if count > 2 {
        x[count / 2] = f32::NAN;
    }
    x
}

#[test]
fn prelus() {
    let Some(gpu) = device::gpu() else { return };
    for variant in prelu::Variant::ALL {
        for shape in shapes(variant.lanes(), variant.steps()) {
            let [n, channels, inner] = shape;
            let mut x = planes_with_nan("prelu.x", n * channels * inner);
            x[0] = f32::NEG_INFINITY;
            let weight = data::uniform("prelu.weight", channels);
            let (per_plane, groups) = cut(shape, variant.threads(), variant.lanes(), variant.steps());
            let params = prelu::Params {
                planes: u(n * channels),
                channels: u(channels),
                inner: u(inner),
                runs_per_plane: u(per_plane),
            };
            let binds = vec![Bind::f32(&x), Bind::f32(&weight), Bind::output(x.len())];
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let expected =
                kiln_reference::prelu(&Array::from_f32(&shape, &x), &Array::from_f32(&[channels], &weight));
            let what = format!("{} of {shape:?}", variant.kernel());
            assert_close(what, &got, &expected, &ROUNDED.bounds(&expected));
        }
    }
}

fn check_response(variant: local_response_norm::Variant, shape: [usize; 3], size: usize, beta: f32, k: f32) {
    let Some(gpu) = device::gpu() else { return };
    let [n, channels, inner] = shape;
    let x = planes_with_nan("local_response_norm.x", n * channels * inner);
    let alpha = 0.75f32;
    let (per_plane, groups) = cut(shape, variant.threads(), variant.lanes(), variant.steps());
    let params = local_response_norm::Params {
        planes: u(n * channels),
        channels: u(channels),
        inner: u(inner),
        runs_per_plane: u(per_plane),
        before: u(size / 2),
        after: u((size - 1) / 2),
        k,
        scale: alpha / size as f32,
        beta,
    };
    let binds = vec![Bind::f32(&x), Bind::output(x.len())];
    let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
    let options = LocalResponseNorm { size, alpha: f64::from(alpha), beta: f64::from(beta), k: f64::from(k) };
    let x = Array::from_f32(&shape, &x);
    let expected = kiln_reference::local_response_norm(&x, &options);
    let terms = kiln_reference::local_response_norm_terms(&x, &options);
    let what = format!("{} of {shape:?}, size {size}, beta {beta}", variant.kernel());
    assert_close(what, &got, &expected, &LOCAL_RESPONSE_NORM.bounds(&terms));
}

#[test]
fn local_response_norms() {
    for &variant in local_response_norm::Variant::ALL {
        for shape in shapes(variant.lanes(), variant.steps()) {
            check_response(variant, shape, 5, 0.75, 1.0);
        }
        // Even, single, and wider than all channels; another exponent and offset.
        for size in [1, 2, 3, 4, 13, 14, 40] {
            check_response(variant, [2, 7, 35], size, 0.75, 2.0);
            check_response(variant, [2, 7, 35], size, -1.5, 0.125);
        }
    }
}
