//! The kernels of a decoder's step for one row: a norm and a product, then a gate or an attention.

use kiln_kernels::{Kernel, norm_cross_attention, norm_linear, norm_self_attention};
use kiln_reference::{Array, Attention, Unary};
use kiln_tests::compare::assert_close;
use kiln_tests::guard::Bind;
use kiln_tests::kernel::Run;
use kiln_tests::tolerance::{ATTENTION, LINEAR, RMS_NORM, gated, moved_scores};
use kiln_tests::{data, device};

use crate::support::u;

const EPSILON: f32 = 1e-5;
const SCALE: f32 = 0.5;

/// A row, a norm and a matrix, with their product and how far it may be off.
struct Product {
    /// In steps of 1/256, so that parts add up to it exactly.
    row: Vec<f32>,
    norm: Vec<f32>,
    /// `[panel][k][8]`.
    panels: Vec<f32>,
    made: Array,
    errors: Vec<f64>,
}

impl Product {
    fn new(depth: usize, cols: usize) -> Product {
        let (row, norm) = (steps("row", depth), data::uniform("norm", depth));
        // What halves hold exactly.
        let matrix: Vec<f32> =
            data::uniform("matrix", cols * depth).iter().map(|x| (x * 128.0).round() / 1024.0).collect();
        let at = |flat: usize| matrix[(flat / 8 / depth * 8 + flat % 8) * depth + flat / 8 % depth];
        let panels = (0..cols * depth).map(at).collect();
        let matrix = Array::from_f32(&[cols, depth], &matrix);
        let x = Array::from_f32(&[1, depth], &row);
        let normed = kiln_reference::rms_norm(&x, &Array::from_f32(&[depth], &norm), f64::from(EPSILON));
        let terms = kiln_reference::linear(&normed.abs(), &matrix.abs(), None);
        let errors = LINEAR.bounds(&terms).iter().zip(RMS_NORM.bounds(&terms)).map(|(a, b)| a + b).collect();
        Product { row, norm, panels, made: kiln_reference::linear(&normed, &matrix, None), errors }
    }

    /// What a kernel binds first: the row less some parts, the norm, and the weight, behind it that of a product back. Then the
    /// parts.
    fn binds(&self, half: bool, addends: usize, back: Option<&Back>) -> (Vec<Bind>, Bind) {
        let panels = [&self.panels[..], back.map_or(&[], |back| &back.panels)].concat();
        let weight = if half {
            let numbers = panels.iter().map(|&x| f64::from(x)).collect();
            Bind::u32(&kiln_reference::pack_half(&Array::new(&[panels.len()], numbers)))
        } else {
            Bind::f32(&panels)
        };
        let depth = self.row.len();
        let parts = steps("parts", addends * depth);
        let rest = |c: usize| self.row[c] - (0..addends).map(|part| parts[part * depth + c]).sum::<f32>();
        let row: Vec<f32> = (0..depth).map(rest).collect();
        // Where there are none, anything is bound.
        let parts = if addends > 0 { Bind::f32(&parts) } else { Bind::f32(&row) };
        (vec![Bind::f32(&row), Bind::f32(&self.norm), weight], parts)
    }

    /// Checks the sum of a row and its parts, if there are any.
    fn check_sum(&self, what: &str, addends: usize, got: &[f32]) {
        let expected = if addends > 0 { &self.row[..] } else { &[] };
        assert_eq!(got, expected, "{what}: the sum");
    }

    fn part(&self, cols: std::ops::Range<usize>) -> Array {
        Array::new(&[1, cols.len()], self.made.data[cols].to_vec())
    }
}

/// Numbers in [-1, 1] in steps of 1/256.
fn steps(name: &str, count: usize) -> Vec<f32> {
    data::uniform(name, count).iter().map(|x| (x * 256.0).round() / 256.0).collect()
}

/// The weight of a product back into a row.
struct Back {
    depth: usize,
    /// `[depth][inner]`.
    matrix: Array,
    /// `[head][panel][d][8]`.
    panels: Vec<f32>,
}

impl Back {
    fn new(depth: usize, heads: usize, head_dim: usize) -> Back {
        let inner = heads * head_dim;
        let matrix = steps("back", depth * inner);
        let at = |flat: usize| {
            let (head, d) = (flat / (depth * head_dim), flat / 8 % head_dim);
            let panel = flat / 8 / head_dim % (depth / 8);
            matrix[(panel * 8 + flat % 8) * inner + head * head_dim + d]
        };
        let panels = (0..depth * inner).map(at).collect();
        Back { depth, matrix: Array::from_f32(&[depth, inner], &matrix), panels }
    }

    /// Each head's part of the product with what was mixed, `[heads][depth]`, and how far it may be off.
    fn parts(&self, heads: usize, mixed: &Array, off: &[f64]) -> (Array, Vec<f64>) {
        let (depth, inner) = (self.depth, mixed.data.len());
        let head_dim = inner / heads;
        let sums = |f: &dyn Fn(usize, f64) -> f64| {
            let part = |at: usize| {
                let columns = at / depth * head_dim..(at / depth + 1) * head_dim;
                columns.map(|d| f(d, self.matrix.data[at % depth * inner + d])).sum::<f64>()
            };
            Array::new(&[heads, depth], (0..heads * depth).map(part).collect())
        };
        let terms = sums(&|d, weight| (mixed.data[d] * weight).abs());
        let moved = sums(&|d, weight| off[d] * weight.abs());
        let bounds = LINEAR.bounds(&terms).iter().zip(&moved.data).map(|(own, moved)| own + moved).collect();
        (sums(&|d, weight| mixed.data[d] * weight), bounds)
    }
}

/// The rows that the device can run, by the needs of their kernels.
fn runs(gpu: &kiln_gpu::Gpu, kernel: &Kernel) -> bool {
    !kernel.needs.int64 || device::has_int64(gpu)
}

#[test]
fn linear() {
    let Some(gpu) = device::gpu().filter(|gpu| device::shares_by_subgroup(gpu)) else { return };
    for &variant in norm_linear::Variant::ALL {
        for (depth, width, addends) in
            [(32, 8, 0), (64, 64, 0), (96, 72, 0), (512, 200, 0), (96, 72, 3), (1024, 16, 3)]
        {
            for half in [false, true] {
                if !runs(gpu, variant.kernel()) {
                    continue;
                }
                let opens = variant.gated() == 1;
                let product = Product::new(depth, if opens { 2 * width } else { width });
                let (mut binds, parts) = product.binds(half, addends, None);
                let sum = if addends > 0 { depth } else { 0 };
                binds.extend([parts, Bind::output(width + sum)]);
                let params = norm_linear::Params { depth: u(depth), width: u(width), epsilon: EPSILON };
                // Gelu's number in lib/activation.wgsl.
                let kind = if opens { 2.0 } else { 0.0 };
                let overrides =
                    [("HALF", f64::from(u8::from(half))), ("ACTIVATION", kind), ("ADDENDS", addends as f64)];
                let got = Run::new(variant.kernel(), &params, binds, width.div_ceil(64));
                let got = got.with(&overrides).output(gpu);
                let (expected, bounds) = if opens {
                    let rounding = gated(Unary::Gelu, &product.made);
                    let of = |col: usize| (product.made.data[col], product.errors[col]);
                    let bound = |col: usize| {
                        let ((gate, off), (value, value_off)) = (of(col), of(width + col));
                        // No slope of gelu is steeper than 1.13.
                        rounding[col] + 1.13 * off * value.abs() + Unary::Gelu.apply(gate).abs() * value_off
                    };
                    (kiln_reference::gated(Unary::Gelu, &product.made), (0..width).map(bound).collect())
                } else {
                    (product.made.clone(), product.errors.clone())
                };
                let what = format!("{}, {depth} to {width}, half {half}, {addends} parts", variant.kernel());
                product.check_sum(&what, addends, &got[width..]);
                assert_close(what, &got[..width], &expected, &bounds);
            }
        }
    }
}

#[test]
fn cross_attention() {
    let Some(gpu) = device::gpu().filter(|gpu| device::shares_by_subgroup(gpu)) else { return };
    for &variant in norm_cross_attention::Variant::ALL {
        for (heads, depth, tokens, asked, back, addends) in [
            (1, 32, 3, [0, 3], false, 0),
            (3, 64, 70, [0, 70], false, 0),
            (2, 512, 40, [7, 24], false, 0),
            (2, 32, 5, [2, 2], false, 0),
            // Beyond the rows that there are nothing is seen.
            (1, 32, 3, [1, 4], false, 0),
            (2, 64, 9, [0, 1000], false, 0),
            (1, 32, 4, [9, 40], false, 0),
            (1, 32, 3, [0, 3], true, 0),
            (3, 96, 20, [2, 20], true, 3),
            (6, 1024, 9, [0, 9], true, 3),
        ] {
            let span = asked.map(|row: usize| row.min(tokens));
            for half in [false, true] {
                if !runs(gpu, variant.kernel()) {
                    continue;
                }
                let head_dim = variant.head_dim() as usize;
                let inner = heads * head_dim;
                let product = Product::new(depth, inner);
                let [mut k, mut v] = ["k", "v"].map(|name| data::uniform(name, tokens * inner));
                // What lies outside is NaN.
                for j in (0..tokens).filter(|&j| j < span[0] || j >= span[1]) {
                    k[j * inner..(j + 1) * inner].fill(f32::NAN);
                    v[j * inner..(j + 1) * inner].fill(f32::NAN);
                }
                let behind = back.then(|| Back::new(depth, heads, head_dim));
                let (mut binds, parts) = product.binds(half, addends, behind.as_ref());
                let words = span.map(u);
                let bound = Bind::u32(&asked.map(u));
                let width = if back { heads * depth } else { inner };
                let output = Bind::output(width + if addends > 0 { depth } else { 0 });
                let laid = [&k, &v].map(|rows| Bind::f32(&data::by_head(rows, heads, head_dim)));
                binds.extend(laid);
                binds.extend([bound, parts, output]);
                let overrides = [
                    ("HALF", f64::from(u8::from(half))),
                    ("BACK", f64::from(u8::from(back))),
                    ("ADDENDS", addends as f64),
                ];
                let params = norm_cross_attention::Params {
                    heads: u(heads),
                    head_dim: u(head_dim),
                    depth: u(depth),
                    kv_tokens: u(tokens),
                    epsilon: EPSILON,
                    scale: SCALE,
                };
                let got = Run::new(variant.kernel(), &params, binds, heads).with(&overrides).output(gpu);
                let desc = Attention { heads, scale: f64::from(SCALE) };
                let [k, v] = [&k, &v].map(|x| Array::from_f32(&[tokens, inner], x));
                let expected = kiln_reference::attention(&product.made, &k, &v, &[words], desc);
                let own = kiln_reference::attention_terms(&product.made, &k, &v, &[words], desc);
                let mixed = kiln_reference::attention(&product.made, &k, &v.abs(), &[words], desc);
                let seen: Vec<&[f64]> = (span[0]..span[1]).map(|j| &k.data[j * inner..][..inner]).collect();
                let moved = moved_scores(&product.errors, &seen, &mixed.data, desc);
                let bounds: Vec<f64> =
                    ATTENTION.bounds(&own).iter().zip(moved).map(|(own, moved)| own + moved).collect();
                let what = format!(
                    "{}, {heads} heads, {depth}, {asked:?} of {tokens}, half {half}, back {back}, {addends} parts",
                    variant.kernel()
                );
                let (expected, bounds) = match &behind {
                    Some(behind) => behind.parts(heads, &expected, &bounds),
                    None => (expected, bounds),
                };
                product.check_sum(&what, addends, &got[width..]);
                assert_close(what, &got[..width], &expected, &bounds);
            }
        }
    }
}

#[test]
fn self_attention() {
    let Some(gpu) = device::gpu().filter(|gpu| device::shares_by_subgroup(gpu)) else { return };
    for &variant in norm_self_attention::Variant::ALL {
        for (heads, depth, behind, reach, back) in [
            (1, 32, 0, 1, false),
            (3, 64, 9, 4, false),
            (2, 512, 67, 30, false),
            (2, 32, 8, 0, false),
            (1, 32, 0, 1, true),
            (3, 96, 9, 4, true),
            (2, 512, 20, 30, true),
        ] {
            for half in [false, true] {
                if !runs(gpu, variant.kernel()) {
                    continue;
                }
                let head_dim = variant.head_dim() as usize;
                let (inner, slots, length) = (heads * head_dim, 2 * behind + 3, behind + 1);
                let product = Product::new(depth, 3 * inner);
                let past: Vec<usize> = (0..behind).rev().map(|p| 2 * p + 1).collect();
                let mut cache = data::uniform("cache", slots * 2 * inner);
                // What is not behind the token is NaN.
                for slot in (0..slots).filter(|slot| !past.contains(slot)) {
                    cache[slot * 2 * inner..(slot + 1) * 2 * inner].fill(f32::NAN);
                }
                let bias = data::uniform("bias", heads * (reach + 1));
                let mut table = vec![u(behind)];
                table.extend(past.iter().map(|&slot| u(slot)));
                table.resize(1 + length, u32::MAX);
                let weight_back = back.then(|| Back::new(depth, heads, head_dim));
                let (mut binds, _) = product.binds(half, 0, weight_back.as_ref());
                let output = Bind::output(3 * inner + if back { heads * depth } else { 0 });
                let laid = data::by_head(&cache, 2 * heads, head_dim);
                binds.extend([Bind::f32(&laid), Bind::u32(&table), Bind::f32(&bias), output]);
                let overrides = [("HALF", f64::from(u8::from(half))), ("BACK", f64::from(u8::from(back)))];
                let params = norm_self_attention::Params {
                    heads: u(heads),
                    head_dim: u(head_dim),
                    depth: u(depth),
                    slots: u(slots),
                    length: u(length),
                    reach: u(reach),
                    epsilon: EPSILON,
                    scale: SCALE,
                };
                let got = Run::new(variant.kernel(), &params, binds, heads).with(&overrides).output(gpu);
                let what = format!(
                    "{}, {heads} heads, {depth}, {behind} behind, half {half}, back {back}",
                    variant.kernel()
                );
                let kept = product.part(inner..3 * inner);
                let got_kept = &got[inner..3 * inner];
                assert_close(format!("{what}: kept"), got_kept, &kept, &product.errors[inner..]);

                let desc = Attention { heads, scale: f64::from(SCALE) };
                let cache = Array::from_f32(&[slots, 2 * inner], &cache);
                let bias = Array::from_f32(&[heads, reach + 1], &bias);
                let past = [past];
                let expected = kiln_reference::cached_attention(&product.made, &cache, &past, &bias, desc);
                let own = kiln_reference::cached_attention_terms(&product.made, &cache, &past, &bias, desc);
                // Every value is at most as large as the largest of its column.
                let new = product.part(0..3 * inner);
                let mut seen: Vec<&[f64]> =
                    past[0].iter().map(|slot| &cache.data[slot * 2 * inner..][..2 * inner]).collect();
                seen.push(&new.data[inner..]);
                let mixed: Vec<f64> = (0..inner)
                    .map(|d| seen.iter().map(|row| row[inner + d].abs()).fold(0.0, f64::max))
                    .collect();
                let moved = moved_scores(&product.errors[..inner], &seen, &mixed, desc);
                // The new token's key moves its own score, and its value enters as it is.
                let query = [&new.data[..inner]];
                let by_key = moved_scores(&product.errors[inner..2 * inner], &query, &mixed, desc);
                let own = ATTENTION.bounds(&own);
                let bounds: Vec<f64> = (0..inner)
                    .map(|d| own[d] + moved[d] + by_key[d] + product.errors[2 * inner + d])
                    .collect();
                assert_close(&what, &got[..inner], &expected, &bounds);
                if let Some(weight_back) = &weight_back {
                    let (parts, bounds) = weight_back.parts(heads, &expected, &bounds);
                    assert_close(format!("{what}: back"), &got[3 * inner..], &parts, &bounds);
                }
            }
        }
    }
}
