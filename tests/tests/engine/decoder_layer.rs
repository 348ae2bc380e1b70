//! A layer of a decoder for one row, which a software adapter runs in four kernels besides that which keeps keys and values, and other
//! devices in more: the same numbers, within what the order of sums moves.

use std::collections::HashMap;

use kiln_engine::{
    Activation, Attention, CachedAttention, DType, EngineError, GraphBuilder, PutRows, Session, Tensor, Value,
};
use kiln_gpu::DeviceProfile;
use kiln_tests::graph::{f32_tensor, profiles, seeded, u32_tensor};
use kiln_tests::{data, device};

const HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const INNER: usize = HEADS * HEAD_DIM;
const LENGTH: usize = 9;
const SOURCE: usize = 20;
/// Variables of a layer.
const KEPT: [(&str, [usize; 3]); 3] = [
    ("cache", [2 * HEADS, LENGTH, HEAD_DIM]),
    ("key", [HEADS, SOURCE, HEAD_DIM]),
    ("value", [HEADS, SOURCE, HEAD_DIM]),
];

/// Adds a linear layer whose weight, `[cols][depth]`, keeps the size of what it is given.
fn linear(
    g: &mut GraphBuilder,
    weights: &mut HashMap<String, Tensor>,
    name: &str,
    x: Value,
    cols: usize,
    half: bool,
) -> Result<Value, EngineError> {
    let depth = g.desc(x).last();
    let scale = 2.0 / (depth as f32).sqrt();
    let numbers = data::uniform(name, cols * depth).iter().map(|x| scale * x).collect();
    weights.insert(name.to_owned(), f32_tensor(&[cols, depth], numbers));
    let matrix = g.constant(name, &[cols, depth]);
    let matrix = if half { g.pack_half(matrix)? } else { matrix };
    g.linear(x, matrix, None)
}

/// What two layers made, planned for a sort of device.
struct Made {
    profile: DeviceProfile,
    kernels: usize,
    /// The second one's output, whose row comes from the first one's last product, and both caches.
    numbers: Vec<f32>,
}

fn run(depth: usize, wide: usize, half: bool) -> Result<Vec<Made>, EngineError> {
    let Some(gpu) = device::gpu() else { return Ok(vec![]) };
    let mut made = vec![];
    for profile in profiles(gpu) {
        let mut g = GraphBuilder::new("step");
        let mut weights = HashMap::new();
        let start = g.input("x", &[1, depth], DType::F32);
        let past = g.input("past", &[1, 1 + LENGTH], DType::U32);
        let (slots, spans) = (g.input("slots", &[1], DType::U32), g.input("spans", &[1, 2], DType::U32));
        let mut x = start;
        for layer in 0..2 {
            let name = |what: &str| format!("{layer}.{what}");
            let [cache, key, value] = KEPT.map(|(what, shape)| g.variable(&name(what), &shape, DType::F32));
            let mut constant = |g: &mut GraphBuilder, what: &str, shape: &[usize]| {
                weights.insert(name(what), seeded(&name(what), shape));
                g.constant(&name(what), shape)
            };
            let bias = constant(&mut g, "bias", &[HEADS, 5]);
            let norms = ["norm1", "norm2", "norm3"].map(|what| constant(&mut g, what, &[depth]));
            let normed = g.rms_norm(x, norms[0], 1e-6)?;
            let qkv = linear(&mut g, &mut weights, &name("qkv"), normed, 3 * INNER, half)?;
            let mixed = g.cached_attention(qkv, cache, past, bias, CachedAttention::new(HEADS, 0.125))?;
            g.update(PutRows { first_col: INNER }, &[cache], &[qkv, slots])?;
            let mixed = linear(&mut g, &mut weights, &name("out1"), mixed, depth, half)?;
            x = g.add(x, mixed)?;
            let normed = g.rms_norm(x, norms[1], 1e-6)?;
            let query = linear(&mut g, &mut weights, &name("query"), normed, INNER, half)?;
            let attended = g.attention(query, key, value, spans, Attention::new(HEADS, 0.125))?;
            let attended = linear(&mut g, &mut weights, &name("out2"), attended, depth, half)?;
            x = g.add(x, attended)?;
            let normed = g.rms_norm(x, norms[2], 1e-6)?;
            let both = linear(&mut g, &mut weights, &name("both"), normed, 2 * wide, half)?;
            let gate = g.gated(Activation::GeluTanh, both)?;
            let back = linear(&mut g, &mut weights, &name("back"), gate, depth, half)?;
            x = g.add(x, back)?;
        }
        g.output("y", x);
        let mut session = Session::with_profile(gpu, profile.clone());
        let plan = session.load(&g.finish(), &weights)?;
        for layer in 0..2 {
            for (what, shape) in KEPT {
                let name = format!("{layer}.{what}");
                session.write_variable(&name, &seeded(&name, &shape))?;
            }
        }
        let mut table = vec![4, 0, 2, 5, 6];
        table.resize(1 + LENGTH, u32::MAX);
        let inputs = [
            ("x", &seeded("x", &[1, depth])),
            ("past", &u32_tensor(&[1, 1 + LENGTH], table)),
            ("slots", &u32_tensor(&[1], vec![3])),
            ("spans", &u32_tensor(&[1, 2], vec![2, 17])),
        ];
        let outputs = session.run(plan, &inputs)?;
        let kernels = session.plan(plan).dispatches().count();
        let mut numbers = outputs["y"].as_f32()?.to_vec();
        for layer in 0..2 {
            numbers.extend_from_slice(session.read_variable(&format!("{layer}.cache"))?.as_f32()?);
        }
        made.push(Made { profile, kernels, numbers });
    }
    Ok(made)
}

#[test]
fn one_row_on_every_sort_of_device() -> Result<(), EngineError> {
    for (depth, wide, half) in [
        (128, 64, false),
        (96, 72, false),
        (96, 72, true),
        (1024, 72, false),
        (1024, 64, true),
        (40, 72, false),
    ] {
        let made = run(depth, wide, half)?;
        let Some((first, others)) = made.split_first() else { return Ok(()) };
        let largest = first.numbers.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        for other in others {
            assert_eq!(other.numbers.len(), first.numbers.len());
            for (index, (got, expected)) in other.numbers.iter().zip(&first.numbers).enumerate() {
                assert!(
                    (got - expected).abs() <= 2e-5 * largest,
                    "{depth}, half {half}, number {index}: {got} planned for a {} device, {expected} for a {}",
                    other.profile.kind,
                    first.profile.kind
                );
            }
        }
        // Where a sum lies where the device can bind it.
        for Made { profile, kernels, .. } in &made {
            if depth == 128 && profile.kind.is_software() && profile.subgroup == (8, 8) {
                assert_eq!(*kernels, 2 * 5, "planned for a {} device", profile.kind);
            }
        }
    }
    Ok(())
}
