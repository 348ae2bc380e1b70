//! Sums, means and variances by channel, in parts that are joined.

use kiln_engine::ops::{ChannelJoin, ChannelResult, ChannelSum, ChannelTerms};
use kiln_engine::{EngineError, GraphBuilder, Scalar, Tensor, Value};
use kiln_gpu::{DeviceProfile, Limits};
use kiln_reference::{Array, channel_dot, channel_mean, channel_sum, channel_variance, relu_of_norm_grad};
use kiln_tests::graph::{Source, array, conforms, f32_tensor, profiles, run_op, seeded};
use kiln_tests::tolerance::{CHANNEL_MOMENTS, SUM};
use kiln_tests::{data, device};

/// One part and many, of whole images and of segments, with planes of whole vectors and others, short and long.
const SHAPES: [&[usize]; 17] = [
    &[1, 1],
    &[7, 3],
    &[1009, 3],
    &[100, 500, 1, 1],
    &[20_011, 2],
    &[3, 5, 2],
    &[61, 67, 4],
    &[97, 13, 5, 7],
    &[131, 2, 5, 7],
    &[53, 5, 8, 8],
    &[10, 20, 24, 24],
    &[18, 5, 10, 10],
    &[5, 2, 26, 26],
    &[9, 3, 31, 31],
    &[1, 3, 67, 128],
    &[1, 1, 70_001],
    &[2, 3, 2, 3, 5, 7],
];

#[test]
fn sums_and_products() {
    let Some(gpu) = device::gpu() else { return };
    for shape in SHAPES {
        let (a, b) = (seeded("a", shape), seeded("b", shape));
        let (x, y) = (array(&a), array(&b));
        let bounds = SUM.bounds(&channel_sum(&x.abs()));
        let what = format!("sum of {shape:?}");
        conforms(gpu, what, std::slice::from_ref(&a), |g, v| g.channel_sum(v[0]), &channel_sum(&x), &bounds);
        let bounds = SUM.bounds(&channel_dot(&x.abs(), &y.abs()));
        let what = format!("dot of {shape:?}");
        conforms(gpu, what, &[a, b], |g, v| g.channel_dot(v[0], v[1]), &channel_dot(&x, &y), &bounds);
    }
}

/// The gradients of weight and bias of a batch norm, with a relu behind it and without.
#[test]
fn sums_of_gradients() {
    let Some(gpu) = device::gpu() else { return };
    let epsilon = 1e-5f32;
    for shape in SHAPES {
        let channels = shape[1];
        let mean = data::uniform("mean", channels);
        let variance: Vec<f32> = data::uniform("variance", channels).iter().map(|v| v * v + 0.01).collect();
        let operands = [
            seeded("grad", shape),
            seeded("x", shape),
            f32_tensor(&[2, channels], [mean.as_slice(), &variance].concat()),
            seeded("weight", &[channels]),
            seeded("bias", &[channels]),
        ];
        let [grad, x, _, weight, bias] = operands.each_ref().map(array);
        let [mean, variance] = [mean, variance].map(|numbers| Array::from_f32(&[channels], &numbers));
        let eps = f64::from(epsilon);
        let masked = relu_of_norm_grad(&grad, &x, &mean, &variance, &weight, &bias, eps);
        let by_channel = |of: &dyn Fn(f64, usize) -> f64| {
            let plane: usize = shape[2..].iter().product();
            let numbers = x.data.iter().enumerate().map(|(i, &x)| of(x, i / plane % channels));
            Array::new(shape, numbers.collect())
        };
        let z = by_channel(&|x, c| (x - mean.data[c]) / (variance.data[c] + eps).sqrt());
        let size = by_channel(&|x, c| (x.abs() + mean.data[c].abs()) / (variance.data[c] + eps).sqrt());
        for (relu, grad) in [(false, &grad), (true, &masked)] {
            let terms = ChannelTerms::Normalized { epsilon: Scalar::new(epsilon), relu };
            for (row, expected, magnitudes) in [
                (0, channel_sum(grad), channel_sum(&grad.abs())),
                (1, channel_dot(grad, &z), channel_dot(&grad.abs(), &size)),
            ] {
                let build = |g: &mut GraphBuilder, v: &[Value]| {
                    let parts = g.apply(ChannelSum { terms }, v)?;
                    g.apply(ChannelJoin { of: shape.to_vec(), result: ChannelResult::Sum { row } }, &[parts])
                };
                let operands = &operands[..3 + 2 * usize::from(relu)];
                let what = format!("row {row} of {shape:?}, relu {relu}");
                conforms(gpu, what, operands, build, &expected, &SUM.bounds(&magnitudes));
            }
        }
    }
}

/// Channel `c` is around `centres[c % 4]`.
fn off_centre(shape: &[usize], centres: [f32; 4]) -> Tensor {
    let plane: usize = shape[2..].iter().product();
    let numbers = data::uniform("x", shape.iter().product()).into_iter().enumerate();
    f32_tensor(shape, numbers.map(|(i, x)| x + centres[i / plane % shape[1] % 4]).collect())
}

fn check_moments(what: &str, x: &Tensor) {
    let Some(gpu) = device::gpu() else { return };
    let x64 = array(x);
    let (mean, variance) = (channel_mean(&x64), channel_variance(&x64));
    let deviation = variance.map(f64::sqrt);
    let what = format!("{what} of {:?}", x64.shape);
    let (channels, plane) = (x64.shape[1], x64.shape[2..].iter().product::<usize>());
    // The mean is a rounding of its own and some errors of the spread.
    let terms = Array::new(
        &mean.shape,
        mean.data.iter().zip(&deviation.data).map(|(mean, spread)| mean.abs() / 4.0 + spread).collect(),
    );
    let bounds = CHANNEL_MOMENTS.bounds(&terms);
    let x = std::slice::from_ref(x);
    conforms(gpu, format!("mean {what}"), x, |g, v| Ok(g.channel_moments(v[0])?.0), &mean, &bounds);
    // A difference is rounded as the two are from which it is taken, of which one may be the furthest from the mean.
    let reach = |c: usize| {
        let own = x64.data.iter().enumerate().filter(|(i, _)| i / plane % channels == c);
        own.map(|(_, x)| (x - mean.data[c]).abs()).fold(0.0, f64::max)
    };
    let terms = (0..channels).map(|c| variance.data[c] + deviation.data[c] * reach(c) / 8.0).collect();
    let bounds = CHANNEL_MOMENTS.bounds(&Array::new(&[channels], terms));
    conforms(gpu, format!("variance {what}"), x, |g, v| Ok(g.channel_moments(v[0])?.1), &variance, &bounds);
}

#[test]
fn moments() {
    for shape in SHAPES {
        check_moments("around 0", &off_centre(shape, [0.0; 4]));
    }
}

/// 1000 +- 1, where E[x^2] - E[x]^2 has no digit of the variance left, and 10^6 +- 1, of which f32 itself keeps four.
#[test]
fn far_from_zero() {
    for shape in SHAPES {
        check_moments("far", &off_centre(shape, [1000.0, -1000.0, 1e6, 0.0]));
    }
}

/// A first element far from all others is the worst that a sum relative to it can meet.
#[test]
fn with_an_outlier() {
    for shape in [&[100, 3, 24, 24][..], &[1009, 3], &[1, 2, 67, 128]] {
        let mut x = data::uniform("x", shape.iter().product());
        x[0] = 1e5;
        check_moments("with an outlier", &f32_tensor(shape, x));
    }
}

#[test]
fn channels_of_one_number_have_no_variance() {
    for shape in SHAPES {
        let count = shape.iter().product();
        let x = f32_tensor(shape, vec![1000.1; count]);
        let Some(gpu) = device::gpu() else { return };
        let expected = Array::new(&[shape[1]], vec![0.0; shape[1]]);
        let build = |g: &mut GraphBuilder, v: &[Value]| Ok(g.channel_moments(v[0])?.1);
        conforms(gpu, format!("constant {shape:?}"), &[x], build, &expected, &vec![0.0; shape[1]]);
    }
}

#[test]
fn nan_stays_in_its_channel() {
    let Some(gpu) = device::gpu() else { return };
    for shape in [&[7, 3][..], &[9, 3, 31, 31], &[53, 5, 8, 8]] {
        let plane: usize = shape[2..].iter().product();
        let mut x = data::uniform("x", shape.iter().product());
        let last = x.len() - plane;
        x[last] = f32::NAN;
        let x = f32_tensor(shape, x);
        let expected = channel_sum(&array(&x));
        let bounds = SUM.bounds(&channel_sum(&array(&x).abs()));
        let x = std::slice::from_ref(&x);
        conforms(gpu, "NaN", x, |g, v| g.channel_sum(v[0]), &expected, &bounds);
        check_moments("NaN", &x[0]);
    }
}

type Build = fn(&mut GraphBuilder, &[Value]) -> Result<Value, EngineError>;

/// Tensors that a device cannot bind at once, cut between images or between groups of them: the same bits.
#[test]
fn in_pieces() -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let table: [(&str, Build); 5] = [
        ("sum", |g, v| g.channel_sum(v[0])),
        ("dot", |g, v| g.channel_dot(v[0], v[1])),
        ("mean", |g, v| Ok(g.channel_moments(v[0])?.0)),
        ("variance", |g, v| Ok(g.channel_moments(v[0])?.1)),
        ("batch norm", |g, v| Ok(g.batch_norm_training(v[0], None, None, 1e-5)?.output)),
    ];
    for profile in profiles(gpu) {
        let limits = Limits { max_binding: 16 << 10, max_buffer: 20 << 10, ..profile.limits };
        let small = DeviceProfile { limits, ..profile.clone() };
        // Groups of one image, in segments; groups of 16; rows without planes.
        for shape in [&[3, 1, 4000][..], &[300, 9, 7], &[3000, 5]] {
            let operands = [seeded("a", shape), seeded("b", shape)];
            for (what, build) in table {
                let whole = run_op(gpu, &profile, Source::Inputs, &operands, build)?;
                let cut = run_op(gpu, &small, Source::Inputs, &operands, build)?;
                assert_eq!(whole, cut, "{what} of {shape:?}");
            }
        }
    }
    Ok(())
}
