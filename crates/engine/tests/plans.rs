//! Plans for made-up devices: snapshots that hold them still, and properties over many graphs. No device is needed.

use kiln_engine::ops::{Activation, AveragePadding, ConvOptions, LocalResponseNorm, PoolOptions};
use kiln_engine::plan::{Constants, SlotKind};
use kiln_engine::{Attention, DType, EngineError, Graph, GraphBuilder, Plan, Value, compile};
use kiln_gpu::{DeviceKind, DeviceProfile, Limits};
use proptest::prelude::*;

/// One layer of an encoder: every kind of op that a plan treats in its own way.
fn encoder_layer() -> Result<Graph, EngineError> {
    let (tokens, width, wide) = (64, 32, 128);
    let mut g = GraphBuilder::new("encoder");
    let ids = g.input("ids", &[tokens], DType::U32);
    let spans = g.input("spans", &[tokens, 2], DType::U32);
    let offsets = g.input("offsets", &[5], DType::U32);
    let table = g.constant("table", &[100, width]);
    let x = g.scope("embed", |g| g.embedding(table, ids))?;
    let linear = |g: &mut GraphBuilder, name: &str, x, from: usize, to: usize| {
        g.scope(name, |g| {
            let weight = g.constant(&format!("{name}.weight"), &[to, from]);
            let bias = g.constant(&format!("{name}.bias"), &[to]);
            g.linear(x, weight, Some(bias))
        })
    };
    let q = linear(&mut g, "query", x, width, width)?;
    let k = linear(&mut g, "key", x, width, width)?;
    let v = linear(&mut g, "value", x, width, width)?;
    let options = Attention::new(1, 0.25);
    let y = g.scope("attention", |g| g.attention(q, k, v, spans, options))?;
    let y = linear(&mut g, "out", y, width, width)?;
    let y = g.add(y, x)?;
    let (weight, bias) = (g.constant("norm.weight", &[width]), g.constant("norm.bias", &[width]));
    let y = g.scope("norm", |g| g.layer_norm(y, weight, bias, 1e-12))?;
    let h = linear(&mut g, "up", y, width, wide)?;
    let h = g.activation(Activation::Gelu, h)?;
    let y = linear(&mut g, "down", h, wide, width)?;
    let y = g.scope("pool", |g| g.segment_mean(y, offsets))?;
    let y = g.l2_normalize(y, 1e-12)?;
    g.output("embedding", y);
    Ok(g.finish())
}

/// What a software driver would cut short without a word is an error; a GPU takes it.
#[test]
fn loops_too_long_for_a_software_adapter_are_refused() -> Result<(), EngineError> {
    let column = |height| PoolOptions { stride: [1, 2], ..PoolOptions::new([height, 1]) };
    type Build<'a> = &'a dyn Fn(&mut GraphBuilder, Value) -> Result<Value, EngineError>;
    let table: [(&str, &[usize], Build<'_>); 9] = [
        ("max_pool2d", &[1, 1, 30_000, 3], &|g, x| g.max_pool2d(x, column(30_000))),
        ("avg_pool2d", &[1, 1, 30_000, 3], &|g, x| g.avg_pool2d(x, column(30_000), AveragePadding::Include)),
        ("max_pool2d", &[1, 1, 70_000, 3], &|g, x| g.max_pool2d(x, PoolOptions::new([70_000, 1]))),
        ("adaptive_avg_pool2d", &[1, 1, 1, 150_000], &|g, x| g.adaptive_avg_pool2d(x, [1, 2])),
        ("local_response_norm", &[1, 3000, 40], &|g, x| {
            g.local_response_norm(x, LocalResponseNorm::new(3000))
        }),
        ("group_norm", &[1, 3_000_000], &|g, x| g.group_norm(x, 1, None, None, 1e-5)),
        ("softmax", &[1, 3_000_000], &|g, x| g.log_softmax(x, 1)),
        ("reduce", &[1, 4_000_000], &|g, x| g.sum(x, &[1], false)),
        ("conv2d", &[1, 2, 300, 300], &|g, x| {
            let weight = g.constant("weight", &[2, 1, 300, 300]);
            g.conv2d(x, weight, None, ConvOptions { groups: 2, ..Default::default() })
        }),
    ];
    for (op, shape, build) in table {
        let mut g = GraphBuilder::new("long");
        let x = g.input("x", shape, DType::F32);
        let y = build(&mut g, x)?;
        g.output("y", y);
        let graph = g.finish();
        let plan = |kind| {
            let device = DeviceProfile::made_up(kind, Limits::default());
            Plan::build(&compile(&graph, &device)?.main, &device, Constants::Resident)
        };
        plan(DeviceKind::Discrete)?;
        let error = plan(DeviceKind::Cpu).expect_err(op).to_string();
        let expected =
            format!("{op} \"long\": loop iterations on a software adapter: expected at most 60000, got ");
        assert!(error.starts_with(&expected), "{error}");
    }
    Ok(())
}

/// Weights are cut into smaller pieces than the device could bind, but never through a row.
#[test]
fn a_weight_of_long_rows_is_cut_between_them() -> Result<(), EngineError> {
    let mut g = GraphBuilder::new("long rows");
    let table = g.constant("table", &[3, 20 << 20]);
    let ids = g.input("ids", &[2], DType::U32);
    let y = g.embedding(table, ids)?;
    let y = g.slice(y, 1, 0, 5)?;
    g.output("y", y);
    let limits = Limits { max_binding: 100 << 20, ..Limits::default() };
    let device = DeviceProfile::made_up(DeviceKind::Discrete, limits);
    let plan = Plan::build(&compile(&g.finish(), &device)?.main, &device, Constants::Resident)?;
    let is_constant = |kind: &SlotKind| matches!(kind, SlotKind::Constant { rows, .. } if rows.len() == 1);
    assert_eq!(plan.slots.iter().filter(|slot| is_constant(&slot.kind)).count(), 3, "{plan}");
    Ok(())
}

fn both_plans(graph: &Graph, profile: &DeviceProfile) -> Result<String, EngineError> {
    let hoisted = compile(graph, profile)?;
    let prepare = Plan::build(&hoisted.prepare, profile, Constants::Streamed)?;
    let main = Plan::build(&hoisted.main, profile, Constants::Resident)?;
    Ok(format!("{graph}\nprepare {prepare}\n{main}"))
}

#[test]
fn an_encoder_layer_on_a_software_adapter() -> Result<(), EngineError> {
    let profile = DeviceProfile::made_up(DeviceKind::Cpu, Limits::BASELINE);
    insta::assert_snapshot!(both_plans(&encoder_layer()?, &profile)?);
    Ok(())
}

#[test]
fn an_encoder_layer_on_a_gpu() -> Result<(), EngineError> {
    let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
    insta::assert_snapshot!(both_plans(&encoder_layer()?, &profile)?);
    Ok(())
}

/// fc6 of VGG-16: 411 MB where a binding holds 128 MiB.
#[test]
fn a_weight_that_exceeds_a_binding_is_split_and_streamed() -> Result<(), EngineError> {
    let mut g = GraphBuilder::new("fc6");
    let x = g.input("x", &[8, 25_088], DType::F32);
    let (weight, bias) = (g.constant("weight", &[4096, 25_088]), g.constant("bias", &[4096]));
    let y = g.linear(x, weight, Some(bias))?;
    g.output("y", y);
    let profile = DeviceProfile::made_up(DeviceKind::Cpu, Limits::BASELINE);
    let graph = g.finish();
    insta::assert_snapshot!(both_plans(&graph, &profile)?);
    // While it is packed, the original is there one piece at a time.
    let prepare = Plan::build(&compile(&graph, &profile)?.prepare, &profile, Constants::Streamed)?;
    let pooled: u64 =
        prepare.slots.iter().filter(|slot| slot.kind == SlotKind::Pooled).map(|slot| slot.bytes).sum();
    assert!(pooled <= 128 << 20, "{pooled} bytes of the original at once");
    Ok(())
}

/// A dispatch of more workgroups than one dimension counts.
#[test]
fn many_workgroups_fold_into_two_dimensions() -> Result<(), EngineError> {
    let mut g = GraphBuilder::new("wide");
    let x = g.input("x", &[25_000_000], DType::F32);
    let y = g.relu(x)?;
    g.output("y", y);
    let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
    let plan = Plan::build(&g.finish(), &profile, Constants::Resident)?;
    let folded: Vec<[u32; 3]> = plan.dispatches().map(|dispatch| dispatch.workgroups).collect();
    assert_eq!(folded, [[48_829, 2, 1]]);
    Ok(())
}

/// One step of a random graph: which op, and which earlier values it takes.
type Choice = (u8, usize, usize);

/// A graph of ops on `[rows, cols]` tensors that are chosen by number.
fn random_graph(rows: usize, cols: usize, choices: &[Choice]) -> Result<Graph, EngineError> {
    let mut g = GraphBuilder::new("random");
    let mut values = vec![g.input("a", &[rows, cols], DType::F32), g.input("b", &[rows, cols], DType::F32)];
    let row = g.constant("row", &[cols]);
    let square = g.constant("square", &[cols, cols]);
    let state = g.variable("state", &[rows, cols], DType::F32);
    values.push(state);
    for &(op, first, second) in choices {
        let (a, b) = (values[first % values.len()], values[second % values.len()]);
        let value = match op % 10 {
            0 => g.add(a, b)?,
            1 => g.gelu(a)?,
            2 => g.linear(a, square, Some(row))?,
            3 => g.layer_norm(a, row, row, 1e-5)?,
            4 => g.softmax(a, Some(row), 1)?,
            5 => {
                let both = g.concat(&[a, b], 1)?;
                g.slice(both, 1, 1, cols + 1)?
            }
            6 => {
                let flat = g.reshape(a, &[rows, cols, 1])?;
                g.reshape(flat, &[rows, cols])?
            }
            7 => {
                let mean = g.mean(a, &[1], true)?;
                g.sub(b, mean)?
            }
            8 => {
                let scaled = g.mul(square, square)?;
                g.matmul(a, scaled)?
            }
            _ => g.l2_normalize(a, 1e-12)?,
        };
        values.push(value);
    }
    let last = values[values.len() - 1];
    g.assign(state, last)?;
    g.output("last", last);
    if let Some(&middle) = values.get(values.len() / 2) {
        g.output("middle", middle);
    }
    Ok(g.finish())
}

proptest! {
    /// Whatever the graph and the limits, a plan either keeps its rules or names what cannot be split; slots hold
    /// every value that is still to be read (`Plan::build` ends in `Plan::check`), and pieces cover all rows.
    #[test]
    fn random_graphs_make_sound_plans(
        rows in 1usize..400,
        cols in 1usize..40,
        choices in prop::collection::vec(any::<(u8, usize, usize)>(), 1..24),
        binding in 6u32..16,
        software in any::<bool>(),
    ) {
        let limits = Limits { max_binding: 1 << binding, max_buffer: 3 << binding, ..Limits::BASELINE };
        let kind = if software { DeviceKind::Cpu } else { DeviceKind::Discrete };
        let profile = DeviceProfile::made_up(kind, limits);
        let graph = random_graph(rows, cols, &choices)?;
        let hoisted = compile(&graph, &profile)?;
        for (graph, constants) in [(&hoisted.prepare, Constants::Streamed), (&hoisted.main, Constants::Resident)] {
            match Plan::build(graph, &profile, constants) {
                Ok(plan) => {
                    for port in plan.inputs.iter().chain(&plan.outputs) {
                        let covered: usize = port.pieces.iter().map(|piece| piece.rows.len()).sum();
                        prop_assert_eq!(covered, port.desc.rows());
                    }
                }
                Err(EngineError::CannotSplit { .. } | EngineError::RowTooLarge { .. }) => {}
                Err(error) => return Err(TestCaseError::fail(format!("{error}\n{graph}"))),
            }
        }
    }

    /// On a device with room for everything, no graph fails.
    #[test]
    fn random_graphs_fit_a_large_device(
        rows in 1usize..100,
        cols in 1usize..40,
        choices in prop::collection::vec(any::<(u8, usize, usize)>(), 1..24),
    ) {
        let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        let hoisted = compile(&random_graph(rows, cols, &choices)?, &profile)?;
        Plan::build(&hoisted.main, &profile, Constants::Resident)?;
    }
}

/// `check` is worth something only if it fails where it should: plans broken by hand.
#[test]
fn check_catches_broken_plans() -> Result<(), EngineError> {
    use kiln_engine::plan::Step;
    let profile = DeviceProfile::made_up(DeviceKind::Cpu, Limits::BASELINE);
    let graph = compile(&encoder_layer()?, &profile)?.main;
    let sound = Plan::build(&graph, &profile, Constants::Resident)?;
    type Breakage = (&'static str, fn(&mut Plan));
    let breakage: &[Breakage] = &[
        ("holds", |plan| {
            plan.steps.remove(1);
        }),
        ("reading and for writing", |plan| {
            if let Some(Step::Dispatch(dispatch)) = plan.steps.last_mut() {
                let written = dispatch.bindings.len() - 1;
                dispatch.bindings[0].slot = dispatch.bindings[written].slot;
            }
        }),
        ("reading and for writing", |plan| {
            // Side by side is no better: it is one buffer.
            if let Some(Step::Dispatch(dispatch)) = plan.steps.last_mut() {
                let written = dispatch.bindings[dispatch.bindings.len() - 1];
                let read = &mut dispatch.bindings[0];
                (read.slot, read.offset) = (written.slot, written.bytes.next_multiple_of(256));
                let room = read.offset + read.bytes;
                plan.slots.iter_mut().for_each(|slot| slot.bytes += room);
            }
        }),
        ("workgroups", |plan| {
            if let Some(Step::Dispatch(dispatch)) = plan.steps.last_mut() {
                dispatch.workgroups[0] = 65_536;
            }
        }),
        ("bytes of a slot", |plan| {
            if let Some(Step::Dispatch(dispatch)) = plan.steps.last_mut() {
                dispatch.bindings[0].bytes += 1 << 20;
            }
        }),
        ("params", |plan| {
            if let Some(Step::Dispatch(dispatch)) = plan.steps.last_mut() {
                dispatch.params.pop();
            }
        }),
        ("multiple of", |plan| {
            if let Some(Step::Dispatch(dispatch)) = plan.steps.last_mut() {
                dispatch.bindings[0].bytes -= 8;
                dispatch.bindings[0].offset = 8;
            }
        }),
        ("not in its slot", |plan| {
            plan.steps.pop();
        }),
    ];
    for (word, damage) in breakage {
        let mut plan = sound.clone();
        damage(&mut plan);
        let error = plan.check(&profile.limits).expect_err(word).to_string();
        let known = error.contains(word) || (*word == "holds" && error.contains("does not hold it"));
        assert!(known, "expected a word about {word}, got: {error}");
    }
    Ok(())
}
