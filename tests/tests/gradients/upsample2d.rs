//! Images of another size, larger and smaller.

use kiln_engine::ops::Upsampling;
use kiln_engine::{DType, EngineError, GraphBuilder, Session};
use kiln_reference::reshape;
use kiln_tests::compare::assert_close;
use kiln_tests::graph::{array, profiles, seeded};
use kiln_tests::tolerance::UPSAMPLE;
use kiln_tests::{device, gradient};

#[test]
fn larger_and_smaller() {
    let Some(gpu) = device::gpu() else { return };
    for (shape, output) in [
        ([2, 2, 3, 4], [6, 8]),
        ([1, 2, 3, 4], [5, 9]),
        ([1, 2, 5, 7], [3, 4]),
        ([1, 2, 4, 5], [4, 8]),
        ([1, 2, 4, 5], [4, 5]),
        ([1, 2, 1, 1], [3, 4]),
        ([1, 2, 4, 5], [1, 1]),
    ] {
        gradient::conforms(
            gpu,
            format!("nearest of {shape:?} to {output:?}"),
            &[seeded("x", &shape)],
            |g, v| g.upsample_nearest2d(v[0], output),
            |x| kiln_reference::upsample_nearest2d(&x[0], output),
        );
        for corners in [false, true] {
            gradient::conforms(
                gpu,
                format!("bilinear of {shape:?} to {output:?}, align_corners {corners}"),
                &[seeded("x", &shape)],
                |g, v| g.upsample_bilinear2d(v[0], output, corners),
                |x| kiln_reference::upsample_bilinear2d(&x[0], output, corners),
            );
        }
    }
}

#[test]
fn along_one_axis() {
    let Some(gpu) = device::gpu() else { return };
    let image = |x: &kiln_reference::Array| reshape(x, &[2, 3, 1, 5]);
    let line = |y: &kiln_reference::Array| reshape(y, &[2, 3, 8]);
    let x = [seeded("x", &[2, 3, 5])];
    gradient::conforms(
        gpu,
        "nearest",
        &x,
        |g, v| g.upsample_nearest1d(v[0], 8),
        |x| line(&kiln_reference::upsample_nearest2d(&image(&x[0]), [1, 8])),
    );
    gradient::conforms(
        gpu,
        "linear",
        &x,
        |g, v| g.upsample_linear1d(v[0], 8, true),
        |x| line(&kiln_reference::upsample_bilinear2d(&image(&x[0]), [1, 8], true)),
    );
}

/// Elements that show at so many places that their sums are taken in two steps.
#[test]
fn a_few_elements_of_a_large_image() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let (shape, output) = ([1, 2, 1, 2], [150, 310]);
    let grad = seeded("grad", &[1, 2, 150, 310]);
    let nearest = kiln_reference::upsample_nearest2d_grad;
    let (expected, terms) = (nearest(&shape, &array(&grad)), nearest(&shape, &array(&grad).abs()));
    for (mode, expected, terms) in [
        (Upsampling::Nearest, expected, terms),
        (
            Upsampling::Bilinear { align_corners: false },
            kiln_reference::upsample_bilinear2d_grad(&shape, &array(&grad), false),
            kiln_reference::upsample_bilinear2d_grad(&shape, &array(&grad).abs(), false),
        ),
    ] {
        for profile in profiles(gpu) {
            let mut g = GraphBuilder::new("few");
            let x = g.input("x", &shape, DType::F32);
            let grad_value = g.input("grad", grad.shape(), DType::F32);
            let y = g.apply(kiln_engine::ops::Upsample2d { output, mode }, &[x])?;
            let weighed = g.mul(y, grad_value)?;
            let loss = g.sum(weighed, &[0, 1, 2, 3], false)?;
            let gradient = g.gradients(loss, &[x])?[0];
            g.output("gradient", gradient);
            let mut session = Session::with_profile(gpu, profile);
            let plan = session.load(&g.finish(), &kiln_engine::NoWeights)?;
            let outputs = session.run(plan, &[("x", &seeded("x", &shape)), ("grad", &grad)])?;
            let got = outputs["gradient"].as_f32()?;
            assert_close(format_args!("{mode:?}"), got, &expected, &UPSAMPLE.bounds(&terms));
        }
    }
    Ok(())
}
