//! Whether a training step may change anything, and how far its gradients are clipped.

use kiln_engine::{GraphBuilder, Value};
use kiln_reference::Array;
use kiln_tests::device;
use kiln_tests::graph::{conforms, f32_tensor};

#[test]
fn clips_or_stops() {
    let Some(gpu) = device::gpu() else { return };
    for (loss, squared, stopped) in [
        (1.5, 16.0, 0.0),
        (0.0, 0.0, 0.0),
        (1.5, 1e-12, 0.0),
        (f32::NAN, 16.0, 0.0),
        (1.5, f32::INFINITY, 0.0),
        (1.5, f32::NAN, 0.0),
        (1.5, 16.0, 1.0),
    ] {
        for max_norm in [None, Some(8.0f32), Some(0.5)] {
            let operands = [
                f32_tensor(&[], vec![loss]),
                f32_tensor(&[], vec![squared]),
                f32_tensor(&[1], vec![stopped]),
                f32_tensor(&[], vec![7.0]),
            ];
            let most = max_norm.map(f64::from);
            let expected = kiln_reference::guard(loss.into(), squared.into(), stopped != 0.0, most);
            let expected = Array::new(&[5], [&expected[..], &[loss.into(), 7.0]].concat());
            // The root, its sum with 1e-6, and a quotient.
            let bounds: Vec<f64> =
                expected.data.iter().map(|x| 8.0 * f64::from(f32::EPSILON) * x.abs()).collect();
            let what = format!("loss {loss}, squared norm {squared}, {stopped}, at most {max_norm:?}");
            let build = |g: &mut GraphBuilder, v: &[Value]| g.guard(v[0], v[1], v[2], Some(v[3]), max_norm);
            conforms(gpu, what, &operands, build, &expected, &bounds);
        }
    }
}
