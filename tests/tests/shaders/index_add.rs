//! Sums by index: the lists of places, stage by stage, and what is added up by them.

use kiln_kernels::{index_add, index_rows};
use kiln_reference::Array;
use kiln_tests::compare::{assert_close, assert_same_bits};
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::SUM;
use kiln_tests::{data, device, sweep};

use crate::support::u;

/// The places of a list in the order of their indices, in runs of so many.
fn sorted_runs(index: &[u32], run: usize) -> Vec<u32> {
    let mut places: Vec<u32> = (0..u(index.len())).collect();
    for run in places.chunks_mut(run) {
        run.sort_by_key(|&place| (index[place as usize], place));
    }
    places
}

/// Runs a stage on an output of starts, order and spare, and gives it back.
fn stage(stage: u32, index: &[u32], params: index_rows::Params, output: &[u32]) -> Option<Vec<u32>> {
    let gpu = device::gpu()?;
    let variant = index_rows::Variant::Base;
    let numbers = if stage == 2 { params.extent + 1 } else { params.count };
    let overrides = index_rows::Overrides { stage }.pairs();
    let floats: Vec<f32> = output.iter().map(|&word| f32::from_bits(word)).collect();
    let binds = vec![Bind::u32(index), Bind::update(&floats)];
    let groups = numbers.div_ceil(variant.threads()) as usize;
    Some(Run::new(variant.kernel(), &params, binds, groups).with(&overrides).words(gpu))
}

#[test]
fn places_are_sorted_by_runs_merged_and_found() {
    for variant in index_rows::Variant::ALL {
        let run = variant.run() as usize;
        for (count, extent) in [
            (1usize, 1usize),
            (5, 3),
            (run - 1, 7),
            (run, 1000),
            (run + 1, 2),
            (5 * run + 17, 61),
            (4 * run, 1),
        ] {
            // Some indices lie past the extent.
            let index = data::indices("index_rows", count, extent + extent.div_ceil(10));
            let (first, second) = (extent + 1, extent + 1 + count);
            let blank: Vec<u32> = (0..u(second + count)).collect();
            let params = |run: usize, source: usize, result: usize| index_rows::Params {
                count: u(count),
                extent: u(extent),
                run: u(run),
                source: u(source),
                result: u(result),
            };
            let what = |stage: &str| format!("{stage} of {count} indices below {extent}");

            let Some(sorted) = stage(0, &index, params(0, first, second), &blank) else { return };
            let expected = [&blank[..second], &sorted_runs(&index, run)].concat();
            assert_same_bits(what("runs"), &sorted, &expected, &[expected.len()]);

            for length in [1, 3, run, 2 * run] {
                let before = [&blank[..second], &sorted_runs(&index, length)].concat();
                let Some(merged) = stage(1, &index, params(length, second, first), &before) else { return };
                let expected =
                    [&before[..first], &sorted_runs(&index, 2 * length), &before[second..]].concat();
                assert_same_bits(what("a merge"), &merged, &expected, &[expected.len()]);
            }

            let rows = kiln_reference::index_rows(&index, extent);
            let before = [&blank[..first], &rows[first..], &blank[second..]].concat();
            let Some(found) = stage(2, &index, params(0, first, 0), &before) else { return };
            let expected = [&rows[..], &blank[second..]].concat();
            assert_same_bits(what("starts"), &found, &expected, &[expected.len()]);
        }
    }
}

/// What a sum by index is made of.
struct Case {
    outer: usize,
    places: usize,
    inner: usize,
    extent: usize,
}

impl Case {
    fn index(&self) -> Vec<u32> {
        data::indices("index_add", self.places, self.extent + self.extent.div_ceil(5))
    }

    fn rows(&self) -> Vec<u32> {
        let mut rows = kiln_reference::index_rows(&self.index(), self.extent);
        rows.extend(std::iter::repeat_n(u32::MAX, self.places));
        rows
    }

    fn input(&self) -> Vec<f32> {
        data::uniform("index_add.x", self.outer * self.places * self.inner)
    }

    /// What the whole list gives, and its bounds.
    fn expected(&self) -> (Array, Vec<f64>) {
        let x = Array::from_f32(&[self.outer, self.places, self.inner], &self.input());
        let add = |x: &Array| kiln_reference::index_add(x, 1, &self.index(), self.extent);
        (add(&x), SUM.bounds(&add(&x.abs())))
    }

    /// The parameters for the whole of it.
    fn params(&self, numbers: usize) -> index_add::Params {
        index_add::Params {
            count: u(self.outer * self.extent * self.inner / numbers),
            inner: u(self.inner / numbers),
            rows: u(self.extent),
            extent: u(self.extent),
            places: u(self.places),
            first_row: 0,
            first_place: 0,
            skip: 0,
            part: u(self.places),
            fresh: 1,
        }
    }
}

fn numbers(variant: index_add::Variant) -> usize {
    if variant == index_add::Variant::Quad { 4 } else { 1 }
}

#[test]
fn adds_by_index() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in index_add::Variant::ALL {
        for [outer, places, inner, extent] in
            sweep::shapes([&[1, 3], &[1, 7, 8, 9, 130], &sweep::sizes(8), &[1, 2, 17, 100]])
        {
            let numbers = numbers(variant);
            let case = Case { outer, places, inner: numbers * inner, extent };
            let params = case.params(numbers);
            let (expected, bounds) = case.expected();
            let binds =
                vec![Bind::f32(&case.input()), Bind::u32(&case.rows()), Bind::output(expected.data.len())];
            let groups = params.count.div_ceil(variant.threads()) as usize;
            let got = Run::new(variant.kernel(), &params, binds, groups).output(gpu);
            assert_close(format_args!("{variant:?} {:?}", expected.shape), &got, &expected, &bounds);
        }
    }
}

/// A table in blocks, made from an input in pieces, each row's list in parts.
#[test]
fn adds_in_pieces() {
    let Some(gpu) = device::gpu() else { return };
    for &variant in index_add::Variant::ALL {
        let numbers = numbers(variant);
        let case = Case { outer: 1, places: 67, inner: 3 * numbers, extent: 11 };
        let (expected, bounds) = case.expected();
        let (input, rows) = (case.input(), case.rows());
        let mut got = Vec::new();
        for (first_row, own_rows) in [(0, 4), (4, 7)] {
            let elements = own_rows * case.inner;
            let mut output = vec![f32::NAN; elements];
            let mut fresh = 1;
            for skip in [0, 5, 10] {
                for (first, places) in [(0, 20), (20, 47)] {
                    let params = index_add::Params {
                        count: u(elements / numbers),
                        rows: u(own_rows),
                        places: u(places),
                        first_row: u(first_row),
                        first_place: u(first),
                        skip,
                        part: if skip == 10 { 1000 } else { 5 },
                        fresh,
                        ..case.params(numbers)
                    };
                    let piece = &input[first * case.inner..(first + places) * case.inner];
                    let binds = vec![Bind::f32(piece), Bind::u32(&rows), Bind::update(&output)];
                    output = Run::new(variant.kernel(), &params, binds, 1).output(gpu);
                    fresh = 0;
                }
            }
            got.extend(output);
        }
        assert_close(format_args!("{variant:?} in pieces"), &got, &expected, &bounds);
    }
}
