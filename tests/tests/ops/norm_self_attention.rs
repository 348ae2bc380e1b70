//! The norm, projections and self attention of a decoder's step for a single row, which a software adapter runs as one
//! kernel; with the cache that keeps the new token's key and value.

use std::collections::HashMap;

use kiln_engine::{CachedAttention, DType, EngineError, GraphBuilder, PutRows, Session, Tensor};
use kiln_reference::Array;
use kiln_tests::compare::assert_close;
use kiln_tests::graph::{array, f32_tensor, profiles, seeded, u32_tensor};
use kiln_tests::tolerance::{ATTENTION, LINEAR, RMS_NORM, moved_scores};
use kiln_tests::{data, device};

const EPSILON: f32 = 1e-6;

struct Case {
    depth: usize,
    heads: usize,
    head_dim: usize,
    /// Slots of the tokens behind the new one.
    past: Vec<usize>,
    length: usize,
    slots: usize,
    reach: usize,
    half: bool,
}

fn check(case: &Case) -> Result<(), EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(()) };
    let Case { depth, heads, head_dim, ref past, length, slots, reach, half } = *case;
    let inner = heads * head_dim;
    let numbers = |name: &str, shape: [usize; 2], scale: f32, step: f32| {
        let data = data::uniform(name, shape[0] * shape[1]);
        f32_tensor(
            &shape,
            data.iter().map(|x| if half { (scale * x / step).round() * step } else { scale * x }).collect(),
        )
    };
    let x = seeded("x", &[1, depth]);
    let norm = seeded("norm", &[depth]);
    let weight = numbers("weight", [3 * inner, depth], 2.0 / (depth as f32).sqrt(), 1.0 / 512.0);
    let rows = data::uniform("cache", slots * 2 * inner);
    let cache = f32_tensor(&[2 * heads, slots, head_dim], data::by_head(&rows, 2 * heads, head_dim));
    let bias = seeded("bias", &[heads, reach + 1]);
    let mut table = vec![past.len() as u32];
    table.extend(past.iter().map(|&slot| slot as u32));
    table.resize(1 + length, u32::MAX);
    let table = u32_tensor(&[1, 1 + length], table);
    let slot = (0..slots).find(|slot| !past.contains(slot)).expect("a slot should be free");

    let normed = kiln_reference::rms_norm(&array(&x), &array(&norm), f64::from(EPSILON));
    let qkv = kiln_reference::linear(&normed, &array(&weight), None);
    let terms = kiln_reference::linear(&normed.abs(), &array(&weight).abs(), None);
    let errors: Vec<f64> = LINEAR
        .bounds(&terms)
        .iter()
        .zip(RMS_NORM.bounds(&terms))
        .map(|(linear, norm)| linear + norm)
        .collect();
    let desc = kiln_reference::Attention { heads, scale: 0.5 };
    let all = [past.clone()];
    let (keys, biases) = (Array::from_f32(&[slots, 2 * inner], &rows), array(&bias));
    let expected = kiln_reference::cached_attention(&qkv, &keys, &all, &biases, desc);
    let own = ATTENTION.bounds(&kiln_reference::cached_attention_terms(&qkv, &keys, &all, &biases, desc));
    let mixed = kiln_reference::cached_attention(
        &with_values(&qkv, f64::abs),
        &keys.abs_values(),
        &all,
        &biases,
        desc,
    );
    let mut seen: Vec<&[f64]> = past.iter().map(|slot| &keys.data[slot * 2 * inner..][..inner]).collect();
    seen.push(&qkv.data[inner..2 * inner]);
    let moved = moved_scores(&errors[..inner], &seen, &mixed.data, desc);
    // The new token's key moves its own score, and its value enters as it is.
    let by_key = moved_scores(&errors[inner..2 * inner], &[&qkv.data[..inner]], &mixed.data, desc);
    let bounds: Vec<f64> =
        (0..inner).map(|col| own[col] + moved[col] + by_key[col] + errors[2 * inner + col]).collect();

    for profile in profiles(gpu) {
        let mut g = GraphBuilder::new("step");
        let row = g.input("x", &[1, depth], DType::F32);
        let behind = g.input("past", &[1, 1 + length], DType::U32);
        let place = g.input("slot", &[1], DType::U32);
        let kept = g.variable("cache", &[2 * heads, slots, head_dim], DType::F32);
        let gain = g.constant("norm", &[depth]);
        let matrix = g.constant("weight", &[3 * inner, depth]);
        let matrix = if half { g.pack_half(matrix)? } else { matrix };
        let by_distance = g.constant("bias", &[heads, reach + 1]);
        let normed = g.rms_norm(row, gain, EPSILON)?;
        let made = g.linear(normed, matrix, None)?;
        let mixed = g.cached_attention(made, kept, behind, by_distance, CachedAttention::new(heads, 0.5))?;
        g.update(PutRows { first_col: inner }, &[kept], &[made, place])?;
        g.output("mixed", mixed);
        let weights: HashMap<String, Tensor> = [("norm", &norm), ("weight", &weight), ("bias", &bias)]
            .map(|(name, t)| (name.to_owned(), t.clone()))
            .into();
        let mut session = Session::with_profile(gpu, profile.clone());
        let plan = session.load(&g.finish(), &weights)?;
        session.write_variable("cache", &cache)?;
        let inputs = [("x", &x), ("past", &table), ("slot", &u32_tensor(&[1], vec![slot as u32]))];
        let outputs = session.run(plan, &inputs)?;
        let what = format!(
            "{depth} to {heads} heads of {head_dim}, {} of {length} behind, half {half}, planned for a {} device",
            past.len(),
            profile.kind
        );
        assert_close(&what, outputs["mixed"].as_f32()?, &expected, &bounds);
        let after = session.read_variable("cache")?;
        let tables = |cache: &Tensor| -> Vec<Vec<f32>> {
            let numbers = cache.as_f32().expect("a cache is of numbers");
            numbers.chunks(head_dim).map(<[f32]>::to_vec).collect()
        };
        let (mut before, mut after) = (tables(&cache), tables(&after));
        let mut new = vec![];
        for table in (0..2 * heads).rev() {
            let row = table * slots + slot;
            before.remove(row);
            new.push(after.remove(row));
        }
        new.reverse();
        let key_value = Array::new(&[2 * inner], qkv.data[inner..].to_vec());
        assert_close(format!("{what}: what is kept"), &new.concat(), &key_value, &errors[inner..]);
        assert_eq!(after, before, "{what}: other slots");
    }
    Ok(())
}

/// Query, key and value with the last passed through `f`.
fn with_values(qkv: &Array, f: impl Fn(f64) -> f64) -> Array {
    let first = qkv.data.len() / 3 * 2;
    let data = qkv.data.iter().enumerate().map(|(i, &x)| if i < first { x } else { f(x) });
    Array::new(&qkv.shape, data.collect())
}

trait AbsValues {
    /// A cache with the absolute values of its second half, the values.
    fn abs_values(&self) -> Array;
}

impl AbsValues for Array {
    fn abs_values(&self) -> Array {
        let width = self.shape[1];
        let data =
            self.data.iter().enumerate().map(|(i, x)| if i % width < width / 2 { *x } else { x.abs() });
        Array::new(&self.shape, data.collect())
    }
}

/// Both widths of a head that are fused and one that is not; nothing behind, one token, less than a workgroup's worth, more,
/// and all that there is room for.
#[test]
fn tokens_behind() -> Result<(), EngineError> {
    for (depth, heads, head_dim) in [(64, 2, 64), (32, 1, 128), (512, 6, 64), (64, 2, 16)] {
        for (count, half) in [0, 1, 7, 8, 30].into_iter().flat_map(|count| [(count, false), (count, true)]) {
            let past = (0..count).map(|p| (7 * p + 3) % 41).collect();
            check(&Case { depth, heads, head_dim, past, length: 30, slots: 41, reach: 5, half })?;
        }
    }
    Ok(())
}

#[test]
fn a_long_text() -> Result<(), EngineError> {
    let past = (0..300).map(|p| (11 * p + 5) % 613).collect();
    check(&Case { depth: 64, heads: 3, head_dim: 64, past, length: 512, slots: 613, reach: 127, half: false })
}
