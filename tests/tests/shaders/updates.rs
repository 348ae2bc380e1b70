//! Kernels that change variables in place. Each runs whole, in part, and with a guard that says no.

use bytemuck::Pod;
use kiln_kernels::{
    Kernel, accumulate, adam, lerp, put_rows, put_rows_pair, rms_prop, rms_prop_momentum, sgd, sgd_momentum,
    sgd_momentum_eight,
};
use kiln_reference::Array;
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::{data, device};

use crate::support::u;

/// Units around what a workgroup makes, and dispatches that start after the first.
const RANGES: [(usize, usize); 6] = [(0, 1), (0, 64), (0, 65), (0, 256), (0, 257), (5, 301)];

/// One kernel in one variant.
struct Case<P> {
    kernel: &'static Kernel,
    /// Elements of a unit, and units of a workgroup.
    width: usize,
    per_group: usize,
    overrides: Vec<(&'static str, f64)>,
    /// How many variables it changes, and the inputs behind the gradient but for the guard.
    variables: usize,
    rates: Vec<f32>,
    guarded: bool,
    params: fn(u32, u32) -> P,
}

/// What becomes of the variables at one place: `old` and the scaled gradient.
type Rule = fn(old: &[f64], gradient: f64) -> Vec<f64>;

fn check<P: Pod>(case: &Case<P>, rule: Rule) {
    let Some(gpu) = device::gpu() else { return };
    for (begin, end) in RANGES {
        let count = end * case.width;
        // Squares' means are not negative.
        let old: Vec<Vec<f32>> = (0..case.variables)
            .map(|i| data::uniform(&format!("variable{i}"), count))
            .map(|x| x.iter().map(|x| x.abs() + 0.0625).collect())
            .collect();
        let gradient = data::uniform("gradient", count);
        let scales: &[f32] = if case.guarded { &[1.0, 0.25, 0.0] } else { &[1.0] };
        for &scale in scales {
            let mut binds: Vec<Bind> = old.iter().map(|x| Bind::update(x)).collect();
            binds.push(Bind::f32(&gradient));
            if !case.rates.is_empty() {
                binds.push(Bind::f32(&case.rates));
            }
            if case.guarded {
                binds.push(Bind::f32(&[scale, 7.0, 0.0]));
            }
            let params = (case.params)(u(begin), u(end));
            let groups = (end - begin).div_ceil(case.per_group);
            let run = Run::new(case.kernel, &params, binds, groups).with(&case.overrides);
            let made = run.on(gpu).unwrap_or_else(|e| panic!("{}: {e}", case.kernel)).f32();
            let mut expected: Vec<Array> = old.iter().map(|x| Array::from_f32(&[count], x)).collect();
            if scale != 0.0 {
                for (i, gradient) in gradient.iter().enumerate().skip(begin * case.width) {
                    let at: Vec<f64> = expected.iter().map(|x| x.data[i]).collect();
                    for (x, new) in expected.iter_mut().zip(rule(&at, f64::from(scale * gradient))) {
                        x.data[i] = new;
                    }
                }
            }
            for (position, (made, expected)) in made.iter().zip(&expected).enumerate() {
                let what = format!("{} {begin}..{end}, scale {scale}, variable {position}", case.kernel);
                let changed = |i: usize| scale != 0.0 && i >= begin * case.width;
                // All numbers are below 4 and none is near 0; unchanged ones keep their bits.
                let bounds: Vec<f64> = (0..count).map(|i| if changed(i) { 2e-6 } else { 0.0 }).collect();
                assert_close(what, made, expected, &bounds);
            }
        }
    }
}

const DECAY: f64 = 0.125;
const GAIN: f64 = 0.25;

#[test]
fn sgd_without_momentum() {
    for variant in sgd::Variant::ALL {
        let case = Case {
            kernel: variant.kernel(),
            width: if *variant == sgd::Variant::Quad { 4 } else { 1 },
            per_group: (variant.threads() * variant.steps()) as usize,
            overrides: vec![],
            variables: 1,
            rates: vec![0.5, f32::NAN, f32::NAN, f32::NAN],
            guarded: true,
            params: |begin, end| sgd::Params { begin, end, weight_decay: DECAY as f32 },
        };
        check(&case, |old, g| vec![old[0] - 0.5 * (g + DECAY * old[0])]);
    }
}

#[test]
fn sgd_with_momentum() {
    for variant in sgd_momentum::Variant::ALL {
        for nesterov in [0, 1] {
            let case = Case {
                kernel: variant.kernel(),
                width: if *variant == sgd_momentum::Variant::Single { 1 } else { 4 },
                per_group: (variant.threads() * variant.steps()) as usize,
                overrides: sgd_momentum::Overrides { nesterov }.pairs().into_iter().collect(),
                variables: 2,
                rates: vec![0.5, 0.75, 0.625, f32::NAN],
                guarded: true,
                params: |begin, end| sgd_momentum::Params {
                    begin,
                    end,
                    momentum: 0.875,
                    weight_decay: DECAY as f32,
                },
            };
            let plain: Rule = |old, g| {
                let buffer = 0.75 * old[1] + 0.625 * (g + DECAY * old[0]);
                vec![old[0] - 0.5 * buffer, buffer]
            };
            let ahead: Rule = |old, g| {
                let d = g + DECAY * old[0];
                let buffer = 0.75 * old[1] + 0.625 * d;
                vec![old[0] - 0.5 * (d + 0.875 * buffer), buffer]
            };
            check(&case, if nesterov == 0 { plain } else { ahead });
        }
    }
}

/// From the first unit on alone.
#[test]
fn sgd_with_momentum_by_eights() {
    let Some(gpu) = device::gpu() else { return };
    for variant in sgd_momentum_eight::Variant::ALL {
        for (count, nesterov, scale) in
            [(1, 0, 1.0), (64, 1, 0.25), (65, 0, 0.5), (301, 1, 1.0), (65, 1, 0.0)]
        {
            let [parameter, buffer, gradient] =
                ["parameter", "buffer", "gradient"].map(|name| data::uniform(name, 8 * count));
            let params =
                sgd_momentum_eight::Params { count: u(count), momentum: 0.875, weight_decay: DECAY as f32 };
            let mut binds = vec![Bind::update(&parameter), Bind::update(&buffer)];
            binds.extend([&gradient[..], &[0.5, 0.75, 0.625, f32::NAN], &[scale, 7.0, 0.0]].map(Bind::f32));
            let groups = count.div_ceil(variant.threads() as usize);
            let overrides = sgd_momentum_eight::Overrides { nesterov }.pairs();
            let run = Run::new(variant.kernel(), &params, binds, groups).with(&overrides);
            let made = run.on(gpu).unwrap_or_else(|e| panic!("{}: {e}", variant.kernel())).f32();
            let expected = |at: usize| {
                let [old, buffer, g] = [&parameter, &buffer, &gradient].map(|x| f64::from(x[at]));
                let d = f64::from(scale) * g + DECAY * old;
                let next = 0.75 * buffer + 0.625 * d;
                let step = if nesterov == 0 { next } else { d + 0.875 * next };
                if scale == 0.0 { [old, buffer] } else { [old - 0.5 * step, next] }
            };
            for (position, made) in made.iter().enumerate() {
                let expected = Array::from_fn(&[8 * count], |at| expected(at[0])[position]);
                let bound = if scale == 0.0 { 0.0 } else { 2e-6 };
                let what = format!("{} {count} eights, scale {scale}, variable {position}", variant.kernel());
                assert_close(what, made, &expected, &vec![bound; 8 * count]);
            }
        }
    }
}

#[test]
fn adam_and_its_decays() {
    for variant in adam::Variant::ALL {
        let case = Case {
            kernel: variant.kernel(),
            width: if *variant == adam::Variant::Single { 1 } else { 4 },
            per_group: (variant.threads() * variant.steps()) as usize,
            overrides: vec![],
            variables: 3,
            rates: vec![0.5, 2.0, 0.0625, f32::NAN],
            guarded: true,
            params: |begin, end| adam::Params {
                begin,
                end,
                gain: GAIN as f32,
                gain_sq: 0.5,
                epsilon: 0.125,
                weight_decay: DECAY as f32,
            },
        };
        check(&case, |old, g| {
            let d = g + DECAY * old[0];
            let (mean, square) = (0.75 * old[1] + 0.25 * d, 0.5 * old[2] + 0.5 * d * d);
            let step = 0.5 * mean / (2.0 * square.sqrt() + 0.125);
            vec![old[0] - 0.0625 * old[0] - step, mean, square]
        });
    }
}

#[test]
fn rms_prop_without_momentum() {
    for variant in rms_prop::Variant::ALL {
        let case = Case {
            kernel: variant.kernel(),
            width: if *variant == rms_prop::Variant::Quad { 4 } else { 1 },
            per_group: (variant.threads() * variant.steps()) as usize,
            overrides: vec![],
            variables: 2,
            rates: vec![0.5, f32::NAN, f32::NAN, f32::NAN],
            guarded: true,
            params: |begin, end| rms_prop::Params {
                begin,
                end,
                gain: GAIN as f32,
                epsilon: 0.125,
                weight_decay: DECAY as f32,
            },
        };
        check(&case, |old, g| {
            let d = g + DECAY * old[0];
            let square = 0.75 * old[1] + 0.25 * d * d;
            vec![old[0] - 0.5 * d / (square.sqrt() + 0.125), square]
        });
    }
}

#[test]
fn rms_prop_with_momentum() {
    for variant in rms_prop_momentum::Variant::ALL {
        let case = Case {
            kernel: variant.kernel(),
            width: if *variant == rms_prop_momentum::Variant::Quad { 4 } else { 1 },
            per_group: (variant.threads() * variant.steps()) as usize,
            overrides: vec![],
            variables: 3,
            rates: vec![0.5, f32::NAN, f32::NAN, f32::NAN],
            guarded: true,
            params: |begin, end| rms_prop_momentum::Params {
                begin,
                end,
                gain: GAIN as f32,
                epsilon: 0.125,
                momentum: 0.875,
                weight_decay: DECAY as f32,
            },
        };
        check(&case, |old, g| {
            let d = g + DECAY * old[0];
            let square = 0.75 * old[1] + 0.25 * d * d;
            let buffer = 0.875 * old[2] + d / (square.sqrt() + 0.125);
            vec![old[0] - 0.5 * buffer, square, buffer]
        });
    }
}

/// The input is a batch's value here, which the guard lets pass or not but never scales.
#[test]
fn lerps() {
    let Some(gpu) = device::gpu() else { return };
    for variant in lerp::Variant::ALL {
        let width = if *variant == lerp::Variant::Quad { 4 } else { 1 };
        for (begin, end) in RANGES {
            let count = end * width;
            let [old, batch, momentum, factor] =
                ["running", "batch", "momentum", "factor"].map(|name| data::uniform(name, count));
            for scale in [1.0, 0.25, 0.0] {
                let params = lerp::Params { begin: u(begin), end: u(end) };
                let mut binds = vec![Bind::update(&old)];
                binds.extend([&batch[..], &momentum, &factor, &[scale, 1.0, 0.0]].map(Bind::f32));
                let groups = (end - begin).div_ceil((variant.threads() * variant.steps()) as usize);
                let made = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
                let changed = |i: usize| scale != 0.0 && i >= begin * width;
                let expected = Array::from_fn(&[count], |at| {
                    let [old, batch, momentum, factor] =
                        [&old, &batch, &momentum, &factor].map(|x| f64::from(x[at[0]]));
                    if changed(at[0]) { old + momentum * (factor * batch - old) } else { old }
                });
                let bounds: Vec<f64> = (0..count).map(|i| if changed(i) { 3e-7 } else { 0.0 }).collect();
                assert_close(format!("{} {begin}..{end}", variant.kernel()), &made, &expected, &bounds);
            }
        }
    }
}

#[test]
fn accumulations() {
    for variant in accumulate::Variant::ALL {
        let case = Case {
            kernel: variant.kernel(),
            width: if *variant == accumulate::Variant::Quad { 4 } else { 1 },
            per_group: (variant.threads() * variant.steps()) as usize,
            overrides: vec![],
            variables: 1,
            rates: vec![1.0, 0.25],
            guarded: false,
            params: |begin, end| accumulate::Params { begin, end },
        };
        check(&case, |old, g| vec![old[0] + 0.25 * g]);
        check(&Case { rates: vec![0.0, 0.5], ..case }, |_, g| vec![0.5 * g]);
    }
}

/// A new sum does not see what was there.
#[test]
fn a_new_sum_forgets_nan() {
    let Some(gpu) = device::gpu() else { return };
    for variant in accumulate::Variant::ALL {
        let old = [f32::NAN, f32::INFINITY, -1.0, f32::NAN];
        let params =
            accumulate::Params { begin: 0, end: if *variant == accumulate::Variant::Quad { 1 } else { 4 } };
        let binds = vec![Bind::update(&old), Bind::f32(&[1.0, 2.0, 3.0, 4.0]), Bind::f32(&[0.0, 1.0])];
        let made = Run::new(variant.kernel(), &params, binds, 1).output(gpu);
        assert_eq!(made, [1.0, 2.0, 3.0, 4.0], "{}", variant.kernel());
    }
}

/// A part of each row, into a whole table and into pieces of it, by indices of which some lie outside.
#[test]
fn rows_put_in_their_places() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in put_rows::Variant::ALL {
        let each = if variant == put_rows::Variant::Quad { 4 } else { 1 };
        for (parts, cols, width, first) in
            [(1, 1, 1, 0), (1, 5, 15, 5), (2, 16, 32, 0), (1, 64, 193, 128), (1, 65, 200, 3), (3, 5, 19, 2)]
        {
            let (table_rows, index) = (7, [3, u32::MAX, 0, 6, 7]);
            let all = parts * table_rows;
            let table = data::uniform("table", all * cols * each);
            let input = data::uniform("rows", index.len() * width * each);
            for (start, end) in [(0, all), (0, 3), (3, 7), (4, 6), (all - 5, all)] {
                let params = put_rows::Params {
                    rows: u(index.len()),
                    cols: u(parts * cols),
                    width: u(width),
                    first_col: u(first),
                    table_cols: u(cols),
                    table_rows: u(table_rows),
                    row_first: u(start),
                    row_end: u(end),
                };
                let piece = &table[start * cols * each..end * cols * each];
                let binds = vec![Bind::update(piece), Bind::f32(&input), Bind::u32(&index)];
                let groups = (index.len() * parts * cols).div_ceil(variant.threads() as usize);
                let made = Run::new(variant.kernel(), &params, binds, groups).words(gpu);
                let expected =
                    put(&table, &input, &index, [table_rows, cols * each, width * each, first * each]);
                let expected = &expected[start * cols * each..end * cols * each];
                let what = format!(
                    "{} {parts} of {cols} of {width} from {first} into {start}..{end}",
                    variant.kernel()
                );
                assert_same_bits(what, &made, expected, &[end - start, cols * each]);
            }
        }
    }
}

/// What tables of so many rows become that get the columns from `first` on, each those behind the one before.
fn put(tables: &[f32], input: &[f32], index: &[u32], [rows, cols, width, first]: [usize; 4]) -> Vec<u32> {
    let mut made: Vec<u32> = tables.iter().map(|x| x.to_bits()).collect();
    for (part, table) in made.chunks_mut(rows * cols).enumerate() {
        for (row, &place) in input.chunks(width).zip(index) {
            if let Some(to) = table.chunks_mut(cols).nth(place as usize) {
                let from = &row[first + part * cols..][..cols];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_bits());
            }
        }
    }
    made
}

/// The same for two tables at once.
#[test]
fn rows_put_in_their_places_of_two() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in put_rows_pair::Variant::ALL {
        let each = if variant == put_rows_pair::Variant::Quad { 4 } else { 1 };
        for (parts, cols, width, first) in [(1, 1, 1, 0), (1, 5, 15, 5), (1, 64, 193, 128), (2, 16, 49, 17)] {
            let (table_rows, index) = (7, [3, u32::MAX, 0, 6, 7]);
            let all = parts * table_rows;
            let tables = ["first", "second"].map(|name| data::uniform(name, all * cols * each));
            let inputs = ["rows", "others"].map(|name| data::uniform(name, index.len() * width * each));
            for (start, end) in [(0, all), (3, 7), (4, 6)] {
                let params = put_rows_pair::Params {
                    rows: u(index.len()),
                    cols: u(parts * cols),
                    width: u(width),
                    first_col: u(first),
                    table_cols: u(cols),
                    table_rows: u(table_rows),
                    row_first: u(start),
                    row_end: u(end),
                };
                let pieces = tables.each_ref().map(|table| &table[start * cols * each..end * cols * each]);
                let mut binds: Vec<Bind> = pieces.iter().map(|piece| Bind::update(piece)).collect();
                binds.extend(inputs.iter().map(|input| Bind::f32(input)));
                binds.push(Bind::u32(&index));
                let groups = (2 * index.len() * parts * cols).div_ceil(variant.threads() as usize);
                let made = Run::new(variant.kernel(), &params, binds, groups).on(gpu);
                let made = made.unwrap_or_else(|e| panic!("{}: {e}", variant.kernel())).words();
                for ((made, table), input) in made.iter().zip(&tables).zip(&inputs) {
                    let sizes = [table_rows, cols * each, width * each, first * each];
                    let expected = put(table, input, &index, sizes);
                    let expected = &expected[start * cols * each..end * cols * each];
                    let what =
                        format!("{} {parts} of {cols} of {width} into {start}..{end}", variant.kernel());
                    assert_same_bits(what, made, expected, &[end - start, cols * each]);
                }
            }
        }
    }
}
