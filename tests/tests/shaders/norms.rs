//! Normalisation by channel and its gradient, and the sums by channel that these take.

use kiln_kernels::{
    Kernel, batch_norm, batch_norm_flat, batch_norm_grad, batch_norm_grad_flat, channel_join,
    channel_moments, channel_moments_eights, channel_sum, channel_sum_eights, segment_mean_grad,
};
use kiln_reference::{Array, channel_dot, channel_mean, channel_variance, relu_of_norm_grad};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{BATCH_NORM, BATCH_NORM_GRAD, CHANNEL_MOMENTS, DIV, SUM};
use kiln_tests::{data, device, sweep};

use crate::planes::{cut, planes_with_nan, shapes};
use crate::support::u;

const EPSILON: f32 = 1e-5;

/// Numbers for each channel of a normalisation: mean, variance, and three more.
fn channels(count: usize) -> [Vec<f32>; 5] {
    let mut variance: Vec<f32> =
        data::uniform("norms.variance", count).iter().map(|v| v * v + 0.01).collect();
    variance[0] = 0.0; // the epsilon alone is left
    let [mean, a, b, c] =
        ["mean", "weight", "a", "b"].map(|name| data::uniform(&format!("norms.{name}"), count));
    [mean, variance, a, b, c]
}

/// The tensor of `[n][channels][inner]` in loads, each of `width` elements of so many channels. Several channels lie
/// side by side where a plane is one element.
fn whole([n, channels, inner]: [usize; 3], width: u32, abreast: u32) -> Option<[usize; 3]> {
    (abreast == 1 || inner == 1).then_some([n, channels * abreast as usize, inner * width as usize])
}

#[test]
fn batch_norms() {
    let Some(gpu) = device::gpu() else { return };
    for variant in batch_norm::Variant::ALL {
        for cut_up in shapes(variant.lanes(), variant.steps()) {
            let [n, channel_loads, loads] = cut_up;
            let Some(shape) = whole(cut_up, variant.width(), variant.channels()) else { continue };
            let c = shape[1];
            let x = planes_with_nan("batch_norm.x", shape.iter().product());
            let [mean, variance, weight, bias, _] = channels(c);
            // Variances by themselves, or behind the means.
            let joint = shape[0] == 3;
            let variances = if joint { [mean.as_slice(), &variance].concat() } else { variance.clone() };
            let (per_plane, groups) = cut(cut_up, variant.threads(), variant.lanes(), variant.steps());
            let params = batch_norm::Params {
                planes: u(n * channel_loads),
                channels: u(channel_loads),
                inner: u(loads),
                runs_per_plane: u(per_plane),
                variances: if joint { u(channel_loads) } else { 0 },
                epsilon: EPSILON,
            };
            let binds = || {
                let binds = [&x, &mean, &variances, &weight, &bias].map(|data| Bind::f32(data));
                binds.into_iter().chain([Bind::output(x.len())]).collect()
            };
            let got = Run::new(variant.kernel(), &params, binds(), groups).output(gpu);
            let relu = batch_norm::Overrides { relu: 1 }.pairs();
            let cut_off = Run::new(variant.kernel(), &params, binds(), groups).with(&relu).output(gpu);
            check_norm(variant.kernel(), &shape, &x, [mean, variance, weight, bias], &got, &cut_off);
        }
    }
}

/// A batch norm's result, and what a relu makes of it.
fn check_norm(
    kernel: &Kernel,
    shape: &[usize; 3],
    x: &[f32],
    by_channel: [Vec<f32>; 4],
    got: &[f32],
    cut_off: &[f32],
) {
    let x = Array::from_f32(shape, x);
    let [mean, variance, weight, bias] = by_channel.map(|data| Array::from_f32(&[shape[1]], &data));
    let epsilon = f64::from(EPSILON);
    let expected = kiln_reference::batch_norm(&x, &mean, &variance, &weight, &bias, epsilon);
    let terms = kiln_reference::batch_norm_terms(&x, &mean, &variance, &weight, &bias, epsilon);
    let what = format!("{kernel} of {shape:?}");
    assert_close(&what, got, &expected, &BATCH_NORM.bounds(&terms));
    let expected = expected.map(|y| if y < 0.0 { 0.0 } else { y });
    assert_close(format!("{what}, relu"), cut_off, &expected, &BATCH_NORM.bounds(&terms));
}

/// Planes of fours that together make eights, and a run of them: no longer than a plane.
const EIGHTS: [([usize; 3], usize); 9] = [
    ([1, 1, 8], 1),
    ([1, 2, 4], 1),
    ([2, 3, 12], 1),
    ([3, 2, 100], 12),
    ([2, 5, 100], 5),
    ([2, 3, 64], 8),
    ([4, 3, 676], 32),
    ([1, 1, 1032], 32),
    ([130, 2, 36], 4),
];

#[test]
fn batch_norms_by_eights() {
    let Some(gpu) = device::gpu() else { return };
    for variant in batch_norm_flat::Variant::ALL {
        for (shape, run) in EIGHTS {
            let [n, c, inner] = shape;
            let x = planes_with_nan("batch_norm.x", n * c * inner);
            let [mean, variance, weight, bias, _] = channels(c);
            let params = batch_norm_flat::Params {
                eights: u(x.len() / 8),
                run: u(run),
                channels: u(c),
                inner: u(inner / 4),
                variances: u(c),
                epsilon: EPSILON,
            };
            let variances = [mean.as_slice(), &variance].concat();
            let binds = || {
                let binds = [&x, &mean, &variances, &weight, &bias].map(|data| Bind::f32(data));
                binds.into_iter().chain([Bind::output(x.len())]).collect()
            };
            let groups = (x.len() / 8).div_ceil(run).div_ceil(variant.threads() as usize);
            let got = Run::new(variant.kernel(), &params, binds(), groups).output(gpu);
            let relu = batch_norm_flat::Overrides { relu: 1 }.pairs();
            let cut_off = Run::new(variant.kernel(), &params, binds(), groups).with(&relu).output(gpu);
            check_norm(variant.kernel(), &shape, &x, [mean, variance, weight, bias], &got, &cut_off);
        }
    }
}

#[test]
fn batch_norm_grads() {
    let Some(gpu) = device::gpu() else { return };
    for variant in batch_norm_grad::Variant::ALL {
        for cut_up in shapes(variant.lanes(), variant.steps()) {
            let [n, channel_loads, loads] = cut_up;
            let Some(shape) = whole(cut_up, variant.width(), variant.channels()) else { continue };
            let c = shape[1];
            let count = shape.iter().product();
            let (grad, x) =
                (planes_with_nan("batch_norm_grad.grad", count), data::uniform("batch_norm_grad.x", count));
            let (per_plane, groups) = cut(cut_up, variant.threads(), variant.lanes(), variant.steps());
            let params = batch_norm_grad::Params {
                planes: u(n * channel_loads),
                channels: u(channel_loads),
                inner: u(loads),
                runs_per_plane: u(per_plane),
                share: 1.0 / (count / c) as f32,
                epsilon: EPSILON,
            };
            for relu in [0, 1] {
                let binds = grad_binds(&grad, &x, c);
                let overrides = batch_norm_grad::Overrides { relu }.pairs();
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                check_grad(variant.kernel(), &shape, &grad, &x, relu == 1, &got);
            }
        }
    }
}

#[test]
fn batch_norm_grads_by_eights() {
    let Some(gpu) = device::gpu() else { return };
    for variant in batch_norm_grad_flat::Variant::ALL {
        for (shape, run) in EIGHTS {
            let [n, c, inner] = shape;
            let count = n * c * inner;
            let (grad, x) =
                (planes_with_nan("batch_norm_grad.grad", count), data::uniform("batch_norm_grad.x", count));
            let params = batch_norm_grad_flat::Params {
                eights: u(count / 8),
                run: u(run),
                channels: u(c),
                inner: u(inner / 4),
                share: 1.0 / (count / c) as f32,
                epsilon: EPSILON,
            };
            let groups = (count / 8).div_ceil(run).div_ceil(variant.threads() as usize);
            for relu in [0, 1] {
                let binds = grad_binds(&grad, &x, c);
                let overrides = batch_norm_grad_flat::Overrides { relu }.pairs();
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                check_grad(variant.kernel(), &shape, &grad, &x, relu == 1, &got);
            }
        }
    }
}

/// What the gradient of a batch norm is made of: the variances behind the means.
fn grad_binds(grad: &[f32], x: &[f32], c: usize) -> Vec<Bind> {
    let [mean, variance, weight, bias_grad, weight_grad] = channels(c);
    let moments = [mean.as_slice(), &variance].concat();
    let bias = data::uniform("norms.bias", c);
    let inputs = [grad, x, &moments, &weight, &bias, &bias_grad, &weight_grad];
    inputs.map(Bind::f32).into_iter().chain([Bind::output(x.len())]).collect()
}

fn check_grad(kernel: &Kernel, shape: &[usize; 3], grad: &[f32], x: &[f32], relu: bool, got: &[f32]) {
    let c = shape[1];
    let [mean, variance, weight, bias_grad, weight_grad] =
        channels(c).map(|data| Array::from_f32(&[c], &data));
    let bias = Array::from_f32(&[c], &data::uniform("norms.bias", c));
    let epsilon = f64::from(EPSILON);
    let [mut grad, x] = [grad, x].map(|data| Array::from_f32(shape, data));
    if relu {
        grad = relu_of_norm_grad(&grad, &x, &mean, &variance, &weight, &bias, epsilon);
    }
    let of = |function: Gradient| {
        function(&grad, &x, &mean, &variance, &weight, &bias_grad, &weight_grad, epsilon)
    };
    let expected = of(kiln_reference::batch_norm_grad);
    let terms = of(kiln_reference::batch_norm_grad_terms);
    assert_close(
        format!("{kernel} of {shape:?}, relu {relu}"),
        got,
        &expected,
        &BATCH_NORM_GRAD.bounds(&terms),
    );
}

type Gradient = fn(&Array, &Array, &Array, &Array, &Array, &Array, &Array, f64) -> Array;

/// How `[images][channels][inner]` is cut, where `inner` and `length` count loads.
#[derive(Clone, Copy, Debug)]
struct Cut {
    images: usize,
    channels: usize,
    inner: usize,
    part_images: usize,
    length: usize,
}

impl Cut {
    const fn new(images: usize, channels: usize, inner: usize, part_images: usize, length: usize) -> Self {
        Self { images, channels, inner, part_images, length }
    }

    fn segments(&self) -> usize {
        self.inner.div_ceil(self.length)
    }

    fn parts(&self) -> usize {
        self.images.div_ceil(self.part_images) * self.segments()
    }

    /// Whether its fours together make eights.
    fn makes_eights(&self) -> bool {
        (self.images * self.channels * self.inner).is_multiple_of(2)
    }

    /// The elements of part `p`, of a tensor whose loads have `width` numbers.
    fn part(&self, x: &Array, p: usize, width: usize) -> Array {
        let (image, begin) = (p / self.segments() * self.part_images, p % self.segments() * self.length);
        let images = self.part_images.min(self.images - image);
        let length = self.length.min(self.inner - begin) * width;
        Array::from_fn(&[images, self.channels, length], |at| {
            x.at(&[image + at[0], at[1], begin * width + at[2]])
        })
    }
}

/// One part and several, with groups and segments that do not come out even.
const CUTS: [Cut; 12] = [
    Cut::new(1, 1, 1, 1, 1),
    Cut::new(3, 2, 1, 1, 1),
    Cut::new(7, 3, 1, 4, 1),
    Cut::new(300, 2, 1, 256, 1),
    Cut::new(9, 5, 3, 2, 3),
    Cut::new(5, 13, 16, 8, 16),
    Cut::new(2, 3, 67, 1, 67),
    Cut::new(2, 3, 150, 1, 50),
    Cut::new(1, 2, 301, 1, 100),
    Cut::new(3, 1, 257, 2, 257),
    Cut::new(6, 3, 25, 4, 25),
    Cut::new(2, 3, 9, 1, 3),
];

/// Ways to fold the lanes over a segment.
fn spans(lanes: u32, length: usize) -> Vec<u32> {
    let own = u(length).min(lanes).next_power_of_two();
    let mut spans = vec![1, own, lanes];
    spans.dedup();
    spans
}

#[test]
fn channel_sums() {
    let Some(gpu) = device::gpu() else { return };
    for variant in channel_sum::Variant::ALL {
        let width = variant.width() as usize;
        for at in CUTS {
            let sums = Sums::new(at, width);
            for (kind, span) in (0..4)
                .flat_map(|kind| spans(variant.lanes(), at.length).into_iter().map(move |span| (kind, span)))
            {
                let params = channel_sum::Params {
                    count: u(at.parts() * at.channels),
                    start: 0,
                    images: u(at.images),
                    channels: u(at.channels),
                    inner: u(at.inner),
                    part_images: u(at.part_images),
                    segments: u(at.segments()),
                    length: u(at.length),
                    span,
                    epsilon: EPSILON,
                };
                let groups =
                    (at.parts() * at.channels).div_ceil((variant.threads() / variant.lanes()) as usize);
                let overrides = channel_sum::Overrides { kind }.pairs();
                let run = Run::new(variant.kernel(), &params, sums.binds(kind), groups).with(&overrides);
                sums.check(format!("{}, span {span}", variant.kernel()), kind, &run.output(gpu));
            }
        }
    }
}

#[test]
fn channel_sums_by_eights() {
    let Some(gpu) = device::gpu() else { return };
    for variant in channel_sum_eights::Variant::ALL {
        for at in CUTS.into_iter().filter(Cut::makes_eights) {
            let sums = Sums::new(at, 4);
            let params = channel_sum_eights::Params {
                count: u(at.parts() * at.channels),
                start: 0,
                images: u(at.images),
                channels: u(at.channels),
                inner: u(at.inner),
                part_images: u(at.part_images),
                segments: u(at.segments()),
                length: u(at.length),
                epsilon: EPSILON,
            };
            let groups = (at.parts() * at.channels).div_ceil(variant.threads() as usize);
            for kind in 0..4 {
                let overrides = channel_sum_eights::Overrides { kind }.pairs();
                let run = Run::new(variant.kernel(), &params, sums.binds(kind), groups).with(&overrides);
                sums.check(variant.kernel(), kind, &run.output(gpu));
            }
        }
    }
}

/// What sums by channel are taken of, and what they should be.
struct Sums {
    at: Cut,
    width: usize,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Sums {
    /// Of planes whose loads have `width` numbers.
    fn new(at: Cut, width: usize) -> Self {
        let count = at.images * at.channels * at.inner * width;
        let (first, second) =
            (planes_with_nan("channel_sum.a", count), data::uniform("channel_sum.b", count));
        Self { at, width, first, second }
    }

    fn rows(kind: u32) -> usize {
        if kind >= 2 { 2 } else { 1 }
    }

    fn binds(&self, kind: u32) -> Vec<Bind> {
        let [mean, variance, weight, bias, _] = channels(self.at.channels);
        let moments = [mean.as_slice(), &variance].concat();
        let binds = [&self.first, &self.second, &moments, &weight, &bias].map(|data| Bind::f32(data));
        let output = Bind::output(self.at.parts() * Self::rows(kind) * self.at.channels);
        binds.into_iter().chain([output]).collect()
    }

    fn check(&self, what: impl std::fmt::Display, kind: u32, got: &[f32]) {
        let (at, width, c) = (&self.at, self.width, self.at.channels);
        let shape = [at.images, c, at.inner * width];
        let [mut a, b] = [&self.first, &self.second].map(|data| Array::from_f32(&shape, data));
        let [mean, variance, weight, bias, _] = channels(c).map(|data| Array::from_f32(&[c], &data));
        let epsilon = f64::from(EPSILON);
        if kind == 3 {
            a = relu_of_norm_grad(&a, &b, &mean, &variance, &weight, &bias, epsilon);
        }
        let deviation = |c: usize| (variance.data[c] + epsilon).sqrt();
        let normalized = Array::from_fn(&shape, |i| (b.at(i) - mean.data[i[1]]) / deviation(i[1]));
        let spread = Array::from_fn(&shape, |i| (b.at(i).abs() + mean.data[i[1]].abs()) / deviation(i[1]));
        let ones = a.map(|_| 1.0);
        // Each row is a product of two tensors, and so are the sums of its terms.
        let rows = match kind {
            0 => vec![(&ones, &ones)],
            1 => vec![(&b, &b)],
            _ => vec![(&ones, &ones), (&normalized, &spread)],
        };
        let (mut expected, mut terms) = (vec![], vec![]);
        for p in 0..at.parts() {
            let part = at.part(&a, p, width);
            for (factor, size) in &rows {
                expected.extend(channel_dot(&part, &at.part(factor, p, width)).data);
                terms.extend(channel_dot(&part.abs(), &at.part(size, p, width).abs()).data);
            }
        }
        let row = [expected.len()];
        let (expected, terms) = (Array::new(&row, expected), Array::new(&row, terms));
        assert_close(format!("{what}, kind {kind}, of {at:?}"), got, &expected, &SUM.bounds(&terms));
    }
}

/// The rows of `channel_moments` of one tensor, by part: mean relative to the first element, squares, first element.
fn moments(x: &Array, at: &Cut, width: usize) -> Vec<[Array; 3]> {
    let of = |p| {
        let part = at.part(x, p, width);
        let first = Array::from_fn(&[at.channels], |c| part.at(&[0, c[0], 0]));
        let count = (part.data.len() / at.channels) as f64;
        let mean = channel_mean(&part);
        let mean = Array::from_fn(&[at.channels], |c| mean.at(c) - first.at(c));
        [mean, channel_variance(&part).map(|variance| variance * count), first]
    };
    (0..at.parts()).map(of).collect()
}

/// Each channel around a centre of its own, NaN in the last element where there are several channels.
fn off_centre(shape: [usize; 3]) -> Vec<f32> {
    let centres = [0.5, 1000.0, -3.0];
    let numbers = data::uniform("moments.x", shape.iter().product()).into_iter().enumerate();
    let mut x: Vec<f32> = numbers.map(|(i, x)| x + centres[i / shape[2] % shape[1] % 3]).collect();
    if let Some(last) = x.last_mut().filter(|_| shape[1] > 1) {
        *last = f32::NAN;
    }
    x
}

#[test]
fn moments_of_parts() {
    let Some(gpu) = device::gpu() else { return };
    for variant in channel_moments::Variant::ALL {
        let width = variant.width() as usize;
        for at in CUTS {
            let numbers = off_centre([at.images, at.channels, at.inner * width]);
            for span in spans(variant.lanes(), at.length) {
                let params = channel_moments::Params {
                    count: u(at.parts() * at.channels),
                    start: 0,
                    images: u(at.images),
                    channels: u(at.channels),
                    inner: u(at.inner),
                    part_images: u(at.part_images),
                    segments: u(at.segments()),
                    length: u(at.length),
                    span,
                };
                let binds = vec![Bind::f32(&numbers), Bind::output(3 * at.parts() * at.channels)];
                let groups =
                    (at.parts() * at.channels).div_ceil((variant.threads() / variant.lanes()) as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                check_moments(format!("{}, span {span}", variant.kernel()), &at, width, &numbers, &got);
            }
        }
    }
}

#[test]
fn moments_of_parts_by_eights() {
    let Some(gpu) = device::gpu() else { return };
    for variant in channel_moments_eights::Variant::ALL {
        for at in CUTS.into_iter().filter(Cut::makes_eights) {
            let shape = [at.images, at.channels, at.inner * 4];
            let numbers = off_centre(shape);
            let x = Array::from_f32(&shape, &numbers);
            let params = channel_moments_eights::Params {
                count: u(at.parts() * at.channels),
                start: 0,
                images: u(at.images),
                channels: u(at.channels),
                inner: u(at.inner),
                part_images: u(at.part_images),
                segments: u(at.segments()),
                length: u(at.length),
            };
            let binds = vec![Bind::f32(&numbers), Bind::output(3 * at.parts() * at.channels)];
            let groups = (at.parts() * at.channels).div_ceil(variant.threads() as usize);
            let mut got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            // The means are relative to some number near the first element: its distance is theirs as well.
            for (p, rows) in got.chunks_mut(3 * at.channels).enumerate() {
                let part = at.part(&x, p, 4);
                for c in 0..at.channels {
                    let (near, first) = (rows[2 * at.channels + c], part.at(&[0, c, 0]));
                    assert!(near.is_nan() || (f64::from(near) - first).abs() < 2.0, "{near} beside {first}");
                    rows[c] = (f64::from(rows[c]) + (f64::from(near) - first)) as f32;
                    rows[2 * at.channels + c] = first as f32;
                }
            }
            check_moments(variant.kernel(), &at, 4, &numbers, &got);
        }
    }
}

fn check_moments(what: impl std::fmt::Display, at: &Cut, width: usize, numbers: &[f32], got: &[f32]) {
    let x = Array::from_f32(&[at.images, at.channels, at.inner * width], numbers);
    let parts = moments(&x, at, width);
    let expected: Vec<f64> = parts.iter().flatten().flat_map(|row| row.data.clone()).collect();
    // A mean's errors are of the spread; those of the squares are of the first element's distance too.
    let terms = parts.iter().enumerate().flat_map(|(p, [mean, squares, first])| {
        let count = (at.part(&x, p, width).data.len() / at.channels) as f64;
        let reach = |c: usize| mean.data[c].abs() + (squares.data[c] / count).sqrt();
        let means = (0..at.channels).map(reach);
        let square = move |c: usize| {
            squares.data[c] + count * mean.data[c].abs().min(1.0) * (squares.data[c] / count).sqrt()
        };
        means.chain((0..at.channels).map(square)).chain(first.map(|_| 0.0).data).collect::<Vec<f64>>()
    });
    let row = [expected.len()];
    let (terms, expected) = (Array::new(&row, terms.collect()), Array::new(&row, expected));
    assert_close(format!("{what}, of {at:?}"), got, &expected, &CHANNEL_MOMENTS.bounds(&terms));
}

#[test]
fn channel_joins() {
    let Some(gpu) = device::gpu() else { return };
    for variant in channel_join::Variant::ALL {
        let per_group = (variant.threads() / variant.lanes()) as usize;
        for at in CUTS {
            let shape = [at.images, at.channels, at.inner];
            let numbers = off_centre(shape);
            let x = Array::from_f32(&shape, &numbers);
            let parts = moments(&x, &at, 1);
            let rows: Vec<f32> =
                parts.iter().flatten().flat_map(|row| row.data.iter().map(|&n| n as f32)).collect();
            let (mean, variance) = (channel_mean(&x), channel_variance(&x));
            let sum = |row: usize, size: fn(f64) -> f64| {
                Array::from_fn(&[at.channels], |c| parts.iter().map(|part| size(part[row].at(c))).sum())
            };
            let deviations =
                Array::from_fn(&[at.channels], |c| mean.at(c).abs() / 4.0 + variance.at(c).sqrt());
            let both =
                |a: &Array, b: &Array| Array::new(&[2 * at.channels], [a.data.as_slice(), &b.data].concat());
            for (kind, row, expected, terms) in [
                (0, 0, sum(0, |n| n), sum(0, f64::abs)),
                (0, 1, sum(1, |n| n), sum(1, f64::abs)),
                (1, 0, mean.clone(), deviations.clone()),
                // The means of the parts were rounded.
                (2, 0, variance.clone(), variance.clone()),
                (3, 0, both(&mean, &variance), both(&deviations, &variance)),
            ] {
                let params = channel_join::Params {
                    count: u(at.parts()),
                    rows: 3,
                    row: u(row),
                    channels: u(at.channels),
                    images: u(at.images),
                    inner: u(at.inner),
                    part_images: u(at.part_images),
                    segments: u(at.segments()),
                    length: u(at.length),
                };
                let binds = vec![Bind::f32(&rows), Bind::output(expected.data.len())];
                let overrides = channel_join::Overrides { kind }.pairs();
                let groups = at.channels.div_ceil(per_group);
                let got = Run::new(variant.kernel(), &params, binds, groups).with(&overrides).output(gpu);
                let what = format!("{}, kind {kind}, row {row}, of {at:?}", variant.kernel());
                assert_close(what, &got, &expected, &CHANNEL_MOMENTS.bounds(&terms));
            }
        }
    }
}

#[test]
fn segment_mean_grads() {
    let Some(gpu) = device::gpu() else { return };
    for variant in segment_mean_grad::Variant::ALL {
        let columns = variant.columns() as usize;
        for width in sweep::sizes(columns) {
            for offsets in [&[0u32, 1][..], &[0, 0, 3, 3, 9, 40, 40], &[2, 5, 11], &[0, 64, 65, 67]] {
                let (segments, rows) = (offsets.len() - 1, offsets[offsets.len() - 1] as usize + 1);
                let grad = planes_with_nan("segment_mean_grad", segments * width);
                let per_row = width.div_ceil(columns);
                let params = segment_mean_grad::Params {
                    rows: u(rows),
                    width: u(width),
                    segments: u(segments),
                    runs_per_row: u(per_row),
                };
                let binds = vec![Bind::f32(&grad), Bind::u32(offsets), Bind::output(rows * width)];
                let groups = (rows * per_row).div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                let grad = Array::from_f32(&[segments, width], &grad);
                let expected = kiln_reference::segment_mean_grad(&grad, offsets, rows);
                let what = format!("{} of width {width} by {offsets:?}", variant.kernel());
                assert_close(what, &got, &expected, &DIV.bounds(&expected));
            }
        }
    }
}
