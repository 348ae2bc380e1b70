//! The kernel of local response normalisation's gradient: channels around an invocation's, windows of any length it takes.

use kiln_kernels::local_response_norm_grad;
use kiln_reference::{Array, LocalResponseNorm};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::LOCAL_RESPONSE_NORM;
use kiln_tests::{data, device, sweep};

use crate::support::u;

fn check(variant: local_response_norm_grad::Variant, shape: [usize; 3], size: usize, beta: f32, k: f32) {
    let Some(gpu) = device::gpu() else { return };
    let [n, channels, inner] = shape;
    let count = n * channels * inner;
    let mut x: Vec<f32> = data::uniform("response_grad.x", count).iter().map(|x| 3.0 * x + 0.5).collect();
    if count > 2 {
        x[count / 2] = f32::NAN;
    }
    let grad = data::uniform("response_grad.grad", count);
    let alpha = 0.75f32;
    let channel_groups = channels.div_ceil(variant.channels() as usize);
    let invocations = n * channel_groups * inner;
    let params = local_response_norm_grad::Params {
        count: u(invocations),
        channel_groups: u(channel_groups),
        channels: u(channels),
        inner: u(inner),
        k,
        scale: alpha / size as f32,
        beta,
    };
    let overrides = local_response_norm_grad::Overrides { before: u(size / 2), after: u((size - 1) / 2) };
    let binds = vec![Bind::f32(&x), Bind::f32(&grad), Bind::output(count)];
    let groups = invocations.div_ceil(variant.threads() as usize);
    let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides.pairs()).output(gpu);
    let options = LocalResponseNorm { size, alpha: f64::from(alpha), beta: f64::from(beta), k: f64::from(k) };
    let [x, grad] = [x, grad].map(|numbers| Array::from_f32(&shape, &numbers));
    let expected = kiln_reference::local_response_norm_grad(&x, &grad, &options);
    let terms = kiln_reference::local_response_norm_grad_terms(&x, &grad, &options);
    let what = format!("{} of {shape:?}, size {size}, beta {beta}", variant.kernel());
    assert_close(what, &got, &expected, &LOCAL_RESPONSE_NORM.bounds(&terms));
}

#[test]
fn windows_of_channels() {
    for &variant in local_response_norm_grad::Variant::ALL {
        for shape in
            sweep::shapes([&[1, 3, 2], &sweep::sizes(variant.channels() as usize), &[1, 7, 64, 65, 2]])
        {
            check(variant, shape, 5, 0.75, 1.0);
        }
        for size in 1..=variant.longest() as usize {
            check(variant, [2, 19, 5], size, 0.75, 2.0);
            check(variant, [2, 7, 3], size, -1.5, 0.125);
        }
    }
}
