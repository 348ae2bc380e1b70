//! A range of a dimension.

use kiln_engine::{GraphBuilder, Value};
use kiln_tests::device;
use kiln_tests::graph::{Source, array, conforms, run_op, seeded, u32_tensor};

#[test]
fn ranges() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, dim, start, end) in [
        (&[7][..], 0, 0, 7),
        (&[7], 0, 6, 7),
        (&[65, 3], 0, 1, 64),
        (&[3, 65], 1, 64, 65),
        (&[2, 9, 4], 1, 2, 5),
        (&[2, 3, 4, 5], 2, 1, 4),
    ] {
        let operands = [seeded("x", shape)];
        let expected = kiln_reference::slice(&array(&operands[0]), dim, start, end);
        let bounds = vec![0.0; expected.data.len()];
        let what = format!("{start}..{end} of {dim} in {shape:?}");
        conforms(gpu, what, &operands, |g, v| g.slice(v[0], dim, start, end), &expected, &bounds);
    }
}

/// Of what has been computed, the first rows are taken where they are, while others read the rest.
#[test]
fn of_what_is_computed() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, end) in [(&[7, 3][..], 4), (&[3, 64], 1), (&[65], 65)] {
        let operands = [seeded("x", shape)];
        let squares = array(&operands[0]).map(|x| f64::from(x as f32 * x as f32));
        let first = kiln_reference::slice(&squares, 0, 0, end);
        let bounds = vec![0.0; first.data.len()];
        let build = |g: &mut GraphBuilder, v: &[Value]| {
            let squares = g.mul(v[0], v[0])?;
            let first = g.slice(squares, 0, 0, end)?;
            let rest = g.neg(squares)?;
            g.output("rest", rest);
            Ok(first)
        };
        conforms(gpu, format_args!("the first {end} of {shape:?}"), &operands, build, &first, &bounds);
    }
}

/// Indices are sliced as numbers are.
#[test]
fn of_indices() {
    let Some(gpu) = device::gpu() else { return };
    let x = u32_tensor(&[2, 3], vec![1, 2, u32::MAX, 4, 0x7fc0_0000, 6]);
    let got = run_op(gpu, gpu.profile(), Source::Inputs, &[x], |g, v| g.slice(v[0], 1, 1, 3))
        .expect("indices should be sliced");
    assert_eq!(got, u32_tensor(&[2, 2], vec![2, u32::MAX, 0x7fc0_0000, 6]));
}
