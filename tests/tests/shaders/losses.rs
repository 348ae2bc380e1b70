//! Kernels of losses: the cross-entropy and its gradient, labels as rows, and what guards a training step.

use kiln_kernels::{cross_entropy_grad_row, cross_entropy_row, guard, one_hot, pick, sum_of_squares};
use kiln_reference::Array;
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{EXACT, LOG_SOFTMAX, SOFTMAX, SUM};
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// A NaN with the bits that kernels write for labels that are no class.
const NO_CLASS: u32 = 0x7fc0_0000;

/// Logits, labels of which some are no class, weights and row gradients.
struct Rows {
    shape: [usize; 2],
    logits: Vec<f32>,
    labels: Vec<u32>,
    weight: Vec<f32>,
    upstream: Vec<f32>,
}

impl Rows {
    fn new([rows, cols]: [usize; 2]) -> Self {
        let mut logits: Vec<f32> = data::uniform("logits", rows * cols).iter().map(|x| 6.0 * x).collect();
        let mut labels = data::indices("labels", rows, cols);
        if rows > 2 {
            labels[0] = u(cols);
            labels[1] = u32::MAX;
            logits[rows * cols - 1] = f32::NAN;
        }
        let weight = data::uniform("weight", cols).iter().map(|x| x + 1.25).collect();
        Self { shape: [rows, cols], logits, labels, weight, upstream: data::uniform("upstream", rows) }
    }

    fn arrays(&self) -> [Array; 3] {
        let [rows, cols] = self.shape;
        [
            Array::from_f32(&self.shape, &self.logits),
            Array::from_f32(&[cols], &self.weight),
            Array::from_f32(&[rows], &self.upstream),
        ]
    }
}

/// Rows around what a workgroup makes, widths around what its lanes make, with and without weights and smoothing.
fn every_row(threads: u32, lanes: u32, mut check: impl FnMut(&Rows, bool, f32)) {
    for shape in
        sweep::shapes([&sweep::sizes((threads / lanes) as usize), &sweep::sizes(lanes.max(16) as usize)])
    {
        let rows = Rows::new(shape);
        for (weighted, smoothing) in [(false, 0.0), (true, 0.0), (false, 0.25), (true, 0.25)] {
            check(&rows, weighted, smoothing);
        }
    }
}

#[test]
fn cross_entropies() {
    let Some(gpu) = device::gpu() else { return };
    for variant in cross_entropy_row::Variant::ALL {
        every_row(variant.threads(), variant.lanes(), |x, weighted, smoothing| {
            let [rows, cols] = x.shape;
            let each = smoothing / cols as f32;
            let params =
                cross_entropy_row::Params { rows: u(rows), cols: u(cols), own: 1.0 - smoothing, each };
            let smooth = u32::from(each != 0.0);
            let overrides = cross_entropy_row::Overrides { weighted: u32::from(weighted), smooth }.pairs();
            let binds = vec![
                Bind::f32(&x.logits),
                Bind::u32(&x.labels),
                Bind::f32(if weighted { &x.weight } else { &x.logits }),
                Bind::output(rows),
            ];
            let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
            let run = Run::new(variant.kernel(), &params, binds, groups).with(&overrides);
            let got = run.output(gpu);
            let [logits, weight, _] = x.arrays();
            let weight = weighted.then_some(&weight);
            let smoothing = f64::from(smoothing);
            let expected = kiln_reference::cross_entropy(&logits, &x.labels, weight, smoothing);
            let terms = kiln_reference::cross_entropy_terms(&logits, &x.labels, weight, smoothing);
            let what =
                format!("{} of {rows}x{cols}, weights {weighted}, smoothing {smoothing}", variant.kernel());
            assert_close(what, &got, &expected, &LOG_SOFTMAX.bounds(&terms));
        });
    }
}

#[test]
fn gradients_of_cross_entropies() {
    let Some(gpu) = device::gpu() else { return };
    for variant in cross_entropy_grad_row::Variant::ALL {
        every_row(variant.threads(), variant.lanes(), |x, weighted, smoothing| {
            let [rows, cols] = x.shape;
            let each = smoothing / cols as f32;
            let own = 1.0 - smoothing;
            let params = cross_entropy_grad_row::Params { rows: u(rows), cols: u(cols), own, each };
            let smooth = u32::from(each != 0.0);
            let overrides =
                cross_entropy_grad_row::Overrides { weighted: u32::from(weighted), smooth }.pairs();
            let binds = vec![
                Bind::f32(&x.logits),
                Bind::u32(&x.labels),
                Bind::f32(&x.upstream),
                Bind::f32(if weighted { &x.weight } else { &x.logits }),
                Bind::output(rows * cols),
            ];
            let groups = rows.div_ceil((variant.threads() / variant.lanes()) as usize);
            let run = Run::new(variant.kernel(), &params, binds, groups).with(&overrides);
            let got = run.output(gpu);
            let [logits, weight, upstream] = x.arrays();
            let weight = weighted.then_some(&weight);
            let smoothing = f64::from(smoothing);
            let expected =
                kiln_reference::cross_entropy_grad(&logits, &x.labels, &upstream, weight, smoothing);
            let terms =
                kiln_reference::cross_entropy_grad_terms(&logits, &x.labels, &upstream, weight, smoothing);
            let what =
                format!("{} of {rows}x{cols}, weights {weighted}, smoothing {smoothing}", variant.kernel());
            assert_close(what, &got, &expected, &SOFTMAX.bounds(&terms));
        });
    }
}

#[test]
fn one_hots() {
    let Some(gpu) = device::gpu() else { return };
    for variant in one_hot::Variant::ALL {
        for count in sweep::sizes(variant.threads() as usize) {
            for classes in [1, 3, 10] {
                let mut labels = data::indices("labels", count, classes);
                labels[count - 1] = u(classes);
                let params = one_hot::Params { count: u(count * classes), classes: u(classes) };
                let binds = vec![Bind::u32(&labels), Bind::output(count * classes)];
                let groups = (count * classes).div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                let expected = kiln_reference::one_hot(&[count], &labels, classes);
                assert_close(variant.kernel(), &got, &expected, &EXACT.bounds(&expected));
            }
        }
    }
}

#[test]
fn picks() {
    let Some(gpu) = device::gpu() else { return };
    for variant in pick::Variant::ALL {
        for rows in sweep::sizes(variant.threads() as usize) {
            for cols in [1, 3, 10] {
                let x = data::uniform("pick.x", rows * cols);
                let mut index = data::indices("pick.index", rows, cols);
                index[rows - 1] = u32::MAX - 1;
                let params = pick::Params { rows: u(rows), cols: u(cols) };
                let binds = vec![Bind::f32(&x), Bind::u32(&index), Bind::output(rows)];
                let groups = rows.div_ceil(variant.threads() as usize);
                let got = Run::new(variant.kernel(), &params, binds, groups).words(gpu);
                let place = |(row, &col): (usize, &u32)| match col as usize {
                    col if col < cols => x[row * cols + col].to_bits(),
                    _ => NO_CLASS,
                };
                let expected: Vec<u32> = index.iter().enumerate().map(place).collect();
                assert_same_bits(variant.kernel(), &got, &expected, &[rows]);
            }
        }
    }
}

/// Parts of a tensor, by a dispatch that starts anywhere in its first part.
#[test]
fn sums_of_squares() {
    let Some(gpu) = device::gpu() else { return };
    for variant in sum_of_squares::Variant::ALL {
        let width = variant.width() as usize;
        for (begin, count, skip, part) in
            [(0, 1, 0, 4), (0, 8, 0, 8), (3, 29, 0, 7), (2, 1000, 5, 100), (0, 2, 98, 100), (0, 4099, 1, 256)]
        {
            let x = data::uniform("squares", (begin + count) * width);
            let parts = (skip + count).div_ceil(part);
            let first = 2;
            let params = sum_of_squares::Params {
                begin: u(begin),
                count: u(count),
                skip: u(skip),
                part: u(part),
                parts: u(parts),
                first: u(first),
            };
            // What earlier dispatches left: it counts where the first part had begun before.
            let before = data::uniform("before", first + parts + 1);
            let binds = vec![Bind::f32(&x), Bind::update(&before)];
            let groups = parts.div_ceil((variant.threads() / variant.lanes()) as usize);
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            let mut expected = Array::from_f32(&[before.len()], &before);
            expected.data[first..first + parts].fill(0.0);
            if skip > 0 {
                expected.data[first] = f64::from(before[first]);
            }
            let mut terms = expected.abs();
            for (i, x) in x[begin * width..].iter().enumerate() {
                let place = first + (skip + i / width) / part;
                expected.data[place] += f64::from(*x).powi(2);
                terms.data[place] += f64::from(*x).powi(2);
            }
            let what = format!("{} of {count} from {begin}, {skip} skipped, by {part}", variant.kernel());
            assert_close(what, &got, &expected, &SUM.bounds(&terms));
        }
    }
}

#[test]
fn guards() {
    let Some(gpu) = device::gpu() else { return };
    let (nan, infinite) = (f32::NAN, f32::INFINITY);
    for variant in guard::Variant::ALL {
        for (loss, squared, stopped) in [
            (1.5, 16.0, 0.0),
            (0.0, 0.0, 0.0),
            (1.5, 1e-12, 0.0),
            (1.5, 3e38, -0.0),
            (nan, 16.0, 0.0),
            (-infinite, 16.0, 0.0),
            (1.5, nan, 0.0),
            (1.5, infinite, 0.0),
            (1.5, 16.0, 1.0),
            (1.5, 16.0, nan),
        ] {
            for max_norm in [None, Some(8.0f32), Some(0.5)] {
                let params = guard::Params { count: 5, max_norm: max_norm.unwrap_or(1.0) };
                let overrides = guard::Overrides { clip: u32::from(max_norm.is_some()) }.pairs();
                let mut binds: Vec<Bind> =
                    [&[loss], &[squared], &[stopped], &[7.0]].map(|x| Bind::f32(x)).into();
                binds.push(Bind::output(5));
                let got = Run::new(variant.kernel(), &params, binds, 1).with(&overrides).output(gpu);
                let (loss, squared) = (f64::from(loss), f64::from(squared));
                let expected = kiln_reference::guard(loss, squared, stopped != 0.0, max_norm.map(f64::from));
                let expected = Array::new(&[5], [&expected[..], &[loss, 7.0]].concat());
                let bounds = expected.data.iter().map(|x| 1e-6 * x.abs()).collect::<Vec<f64>>();
                let what = format!("loss {loss}, squared norm {squared}, {stopped}, at most {max_norm:?}");
                assert_close(what, &got, &expected, &bounds);
            }
        }
    }
}
