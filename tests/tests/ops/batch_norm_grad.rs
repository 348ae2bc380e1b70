//! The gradient of a batch normalisation by its own statistics.

use kiln_engine::Scalar;
use kiln_engine::ops::BatchNormGrad;
use kiln_tests::graph::{array, conforms, f32_tensor, seeded};
use kiln_tests::tolerance::BATCH_NORM_GRAD;
use kiln_tests::{data, device};

const EPSILON: f32 = 1e-5;

#[test]
fn by_channel() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [
        &[1, 1][..],
        &[5, 67],
        &[3, 7, 31],
        &[2, 3, 33],
        &[2, 5, 8, 8],
        &[1, 3, 17, 31],
        &[2, 2, 32, 16],
        &[1, 2, 27, 19],
        &[2, 3, 4, 5, 29],
        &[70, 3, 4],
        &[4, 6, 10, 10],
        &[3, 2, 26, 26],
    ] {
        let channels = shape[1];
        let variance: Vec<f32> = data::uniform("variance", channels).iter().map(|v| v * v).collect();
        let mean = data::uniform("mean", channels);
        let mut grad = data::uniform("grad", shape.iter().product());
        if grad.len() > 2 {
            grad[1] = f32::NAN;
        }
        let operands = [
            f32_tensor(shape, grad),
            seeded("x", shape),
            f32_tensor(&[2, channels], [mean.as_slice(), &variance].concat()),
            seeded("weight", &[channels]),
            seeded("bias_grad", &[channels]),
            seeded("weight_grad", &[channels]),
            seeded("bias", &[channels]),
        ];
        let [grad, x, _, weight, bias_grad, weight_grad, bias] = operands.each_ref().map(array);
        let [mean, variance] = [mean, variance].map(|numbers| Array::from_f32(&[channels], &numbers));
        let epsilon = f64::from(EPSILON);
        let masked = kiln_reference::relu_of_norm_grad(&grad, &x, &mean, &variance, &weight, &bias, epsilon);
        for (relu, grad) in [(false, &grad), (true, &masked)] {
            let of = |function: Oracle| {
                function(grad, &x, &mean, &variance, &weight, &bias_grad, &weight_grad, epsilon)
            };
            let expected = of(kiln_reference::batch_norm_grad);
            let bounds = BATCH_NORM_GRAD.bounds(&of(kiln_reference::batch_norm_grad_terms));
            let op = BatchNormGrad { epsilon: Scalar::new(EPSILON), relu };
            let operands = &operands[..6 + usize::from(relu)];
            let what = format!("{shape:?}, relu {relu}");
            conforms(gpu, what, operands, |g, v| g.apply(op, v), &expected, &bounds);
        }
    }
}

type Array = kiln_reference::Array;
type Oracle = fn(&Array, &Array, &Array, &Array, &Array, &Array, &Array, f64) -> Array;
