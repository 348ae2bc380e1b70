//! Which ops become one, and which stay apart.

use kiln_gpu::DeviceKind;

use super::*;
use crate::passes::hoist_constants;
use crate::select::lavapipe;
use crate::{CachedAttention as Cached, DType, GraphBuilder};

/// What is left for each run.
fn names(graph: &Graph) -> Result<Vec<&'static str>> {
    graph.check()?;
    let hoisted = hoist_constants(graph)?;
    Ok(hoisted.main.nodes().iter().map(|node| node.op.name()).collect())
}

/// A decoder's block of some rows, without its last projections.
fn block(rows: usize, half: bool) -> Result<Graph> {
    let mut g = GraphBuilder::new("g");
    let (heads, width) = (2, 128);
    let x = g.input("x", &[rows, width], DType::F32);
    let past = g.input("past", &[rows, 9], DType::U32);
    let slots = g.input("slots", &[rows], DType::U32);
    let spans = g.input("spans", &[rows, 2], DType::U32);
    let cache = g.variable("cache", &[2 * heads, 8, width / heads], DType::F32);
    let [key, value] = ["key", "value"].map(|name| g.variable(name, &[heads, 20, width / heads], DType::F32));
    let bias = g.constant("bias", &[heads, 5]);
    let project = |g: &mut GraphBuilder, name: &str, cols: usize| {
        let norm = g.constant(&format!("{name}.norm"), &[width]);
        let normed = g.rms_norm(x, norm, 1e-6)?;
        let mut matrix = g.constant(&format!("{name}.matrix"), &[cols, width]);
        if half {
            matrix = g.pack_half(matrix)?;
        }
        g.linear(normed, matrix, None)
    };
    let qkv = project(&mut g, "qkv", 3 * width)?;
    let mixed = g.cached_attention(qkv, cache, past, bias, Cached::new(heads, 1.0))?;
    g.update(PutRows { first_col: width }, &[cache], &[qkv, slots])?;
    let query = project(&mut g, "query", width)?;
    let attended = g.attention(query, key, value, spans, Attention::new(heads, 1.0))?;
    let both = project(&mut g, "both", 64)?;
    let gate = g.gated(crate::Activation::GeluTanh, both)?;
    let wide = project(&mut g, "wide", 64)?;
    let wide = g.relu(wide)?;
    for (name, value) in [("mixed", mixed), ("attended", attended), ("gate", gate), ("wide", wide)] {
        g.output(name, value);
    }
    super::super::fuse_epilogue(&g.finish())
}

#[test]
fn a_single_row_takes_an_op_for_each_norm() -> Result<()> {
    for half in [false, true] {
        let fused = fuse_step(&block(1, half)?, &lavapipe())?;
        let expected = [
            "norm_self_attention",
            "reshape",
            "slice",
            "reshape",
            "norm_cross_attention",
            "reshape",
            "norm_linear",
            "norm_linear",
        ];
        assert_eq!(names(&fused)?, expected, "{fused}");
        let text = fused.to_string();
        assert!(text.contains("activation: Some(GeluTanh), gated: true"), "{text}");
        assert!(text.contains("activation: Some(Relu), gated: false"), "{text}");
        assert!(!text.contains("PackHalf("), "panels are made of the numbers themselves:\n{text}");
    }
    Ok(())
}

/// A decoder's layer for one row, whole; `between` may read the sums behind self attention and cross attention.
fn layer(
    width: usize,
    half: bool,
    between: fn(&mut GraphBuilder, Value) -> Result<()>,
    behind: fn(&mut GraphBuilder, Value, Value) -> Result<()>,
) -> Result<Graph> {
    let mut g = GraphBuilder::new("g");
    let heads = width / 64;
    let x = g.input("x", &[1, width], DType::F32);
    let past = g.input("past", &[1, 9], DType::U32);
    let (slots, spans) = (g.input("slots", &[1], DType::U32), g.input("spans", &[1, 2], DType::U32));
    let cache = g.variable("cache", &[2 * heads, 8, 64], DType::F32);
    let [key, value] = ["key", "value"].map(|name| g.variable(name, &[heads, 20, 64], DType::F32));
    let bias = g.constant("bias", &[heads, 5]);
    let linear = |g: &mut GraphBuilder, name: &str, x: Value, cols: usize| {
        let depth = g.desc(x).last();
        let matrix = g.constant(name, &[cols, depth]);
        let matrix = if half { g.pack_half(matrix)? } else { matrix };
        g.linear(x, matrix, None)
    };
    let normed = |g: &mut GraphBuilder, name: &str, x: Value| {
        let norm = g.constant(name, &[width]);
        g.rms_norm(x, norm, 1e-6)
    };
    let one = normed(&mut g, "norm1", x)?;
    let qkv = linear(&mut g, "qkv", one, 3 * width)?;
    let mixed = g.cached_attention(qkv, cache, past, bias, Cached::new(heads, 1.0))?;
    g.update(PutRows { first_col: width }, &[cache], &[qkv, slots])?;
    let mixed = linear(&mut g, "out1", mixed, width)?;
    let first = g.add(x, mixed)?;
    between(&mut g, first)?;
    let two = normed(&mut g, "norm2", first)?;
    let query = linear(&mut g, "query", two, width)?;
    let attended = g.attention(query, key, value, spans, Attention::new(heads, 1.0))?;
    let attended = linear(&mut g, "out2", attended, width)?;
    let second = g.add(first, attended)?;
    let three = normed(&mut g, "norm3", second)?;
    let both = linear(&mut g, "both", three, 64)?;
    let gate = g.gated(crate::Activation::GeluTanh, both)?;
    let back = linear(&mut g, "back", gate, width)?;
    let y = g.add(second, back)?;
    behind(&mut g, first, second)?;
    g.output("y", y);
    super::super::fuse_epilogue(&g.finish())
}

/// The ops of such a layer that take a kernel.
fn kernels(graph: &Graph) -> Result<Vec<&'static str>> {
    let all = names(&fuse_step(graph, &lavapipe())?)?;
    Ok(all.into_iter().filter(|name| !["reshape", "slice"].contains(name)).collect())
}

#[test]
fn products_back_into_the_row_take_no_kernel() -> Result<()> {
    for half in [false, true] {
        let graph = layer(128, half, |_, _| Ok(()), |_, _, _| Ok(()))?;
        let expected = ["norm_self_attention", "norm_cross_attention", "norm_linear", "matmul"];
        assert_eq!(kernels(&graph)?, expected, "{graph}");
        let fused = fuse_step(&graph, &lavapipe())?.to_string();
        assert_eq!(fused.matches("back: true").count(), 2, "{fused}");
    }
    Ok(())
}

/// A sum that is an output, that something reads before the next step can make it, that changes a variable, or that is wider
/// than its tile; but not one that is read later.
#[test]
fn sums_that_others_need_at_once_have_a_product() -> Result<()> {
    let nothing = |_: &mut GraphBuilder, _| Ok(());
    let first = layer(128, false, nothing, |g, first, _| {
        g.output("first", first);
        Ok(())
    })?;
    let one = ["norm_self_attention", "matmul", "norm_cross_attention", "norm_linear", "matmul"];
    assert_eq!(kernels(&first)?, one);
    let sooner = |g: &mut GraphBuilder, first| {
        let again = g.relu(first)?;
        g.output("again", again);
        Ok(())
    };
    let sooner = layer(128, false, sooner, |_, _, _| Ok(()))?;
    let with_relu =
        ["norm_self_attention", "matmul", "unary", "norm_cross_attention", "norm_linear", "matmul"];
    assert_eq!(kernels(&sooner)?, with_relu);
    let kept = layer(128, false, nothing, |g, first, _| {
        let variable = g.variable("kept", &[1, 128], DType::F32);
        g.assign(variable, first)
    })?;
    assert_eq!(kernels(&kept)?, one);
    let later = layer(128, false, nothing, |g, _, second| {
        let again = g.relu(second)?;
        g.output("again", again);
        Ok(())
    })?;
    let later = kernels(&later)?;
    assert!(later.starts_with(&["norm_self_attention", "norm_cross_attention", "norm_linear"]), "{later:?}");
    let wide = layer(2048, false, |_, _| Ok(()), |_, _, _| Ok(()))?;
    assert_eq!(kernels(&wide)?.iter().filter(|name| **name == "matmul").count(), 3);
    Ok(())
}

#[test]
fn several_rows_and_other_devices_keep_the_ops_apart() -> Result<()> {
    let many = block(2, false)?;
    assert_eq!(fuse_step(&many, &lavapipe())?, many);
    let one = block(1, false)?;
    let others = [
        DeviceProfile { kind: DeviceKind::Discrete, ..lavapipe() },
        DeviceProfile { subgroup: (4, 4), ..lavapipe() },
        DeviceProfile { subgroups: false, ..lavapipe() },
    ];
    for profile in others {
        assert_eq!(fuse_step(&one, &profile)?, one);
    }
    Ok(())
}

/// A product that more than one thing reads, a cache that wants queries too, heads of a width without a kernel, a depth
/// that is no multiple, a matrix that is trained and one that the device cannot bind.
#[test]
fn what_cannot_be_one_op_is_left() -> Result<()> {
    let fused =
        |depth: usize, cols: usize, trained: bool, end: fn(&mut GraphBuilder, Value) -> Result<Value>| {
            let mut g = GraphBuilder::new("g");
            let x = g.input("x", &[1, depth], DType::F32);
            let norm = g.constant("norm", &[depth]);
            let normed = g.rms_norm(x, norm, 1e-6)?;
            let matrix = match trained {
                true => g.variable("matrix", &[cols, depth], DType::F32),
                false => g.constant("matrix", &[cols, depth]),
            };
            let made = g.linear(normed, matrix, None)?;
            let end = end(&mut g, made)?;
            g.output("end", end);
            names(&fuse_step(&g.finish(), &lavapipe())?)
        };
    let gate = |g: &mut GraphBuilder, made| g.gated(crate::Activation::Relu, made);
    assert_eq!(fused(64, 32, false, gate)?, ["norm_linear"]);
    assert_eq!(fused(64, 24, false, gate)?, ["norm_linear", "gated"]);
    assert_eq!(fused(40, 32, false, gate)?, ["rms_norm", "matmul", "gated"]);
    assert_eq!(fused(64, 36, false, gate)?, ["rms_norm", "matmul", "gated"]);
    assert_eq!(fused(64, 32, true, gate)?, ["rms_norm", "matmul", "gated"]);
    // Two products of so many numbers are more than one invocation may loop over.
    assert_eq!(fused(1 << 20, 16, false, gate)?, ["rms_norm", "matmul", "gated"]);
    assert_eq!(fused(1024, 40_000, false, gate)?, ["rms_norm", "matmul", "gated"]);
    let twice = |g: &mut GraphBuilder, made| {
        let gate = g.gated(crate::Activation::Relu, made)?;
        let first = g.slice(made, 1, 0, 16)?;
        g.add(gate, first)
    };
    assert_eq!(fused(64, 32, false, twice)?, ["norm_linear", "gated", "slice", "binary"]);
    let narrow = |g: &mut GraphBuilder, made| {
        let cache = g.variable("cache", &[4, 8, 32], DType::F32);
        let past = g.input("past", &[1, 9], DType::U32);
        let bias = g.constant("bias", &[2, 5]);
        g.cached_attention(made, cache, past, bias, Cached::new(2, 1.0))
    };
    assert_eq!(fused(64, 192, false, narrow)?, ["norm_linear", "cached_attention"]);
    let all_kept = |g: &mut GraphBuilder, made| {
        let [cache, all] =
            [("cache", 4), ("all", 6)].map(|(name, heads)| g.variable(name, &[heads, 8, 64], DType::F32));
        let (past, slots) = (g.input("past", &[1, 9], DType::U32), g.input("slots", &[1], DType::U32));
        let bias = g.constant("bias", &[2, 5]);
        g.update(PutRows { first_col: 0 }, &[all], &[made, slots])?;
        g.cached_attention(made, cache, past, bias, Cached::new(2, 1.0))
    };
    assert_eq!(fused(64, 384, false, all_kept)?, ["norm_linear", "cached_attention"]);
    Ok(())
}

/// A weight for each of several batches, and halves that are given as such.
#[test]
fn weights_of_other_kinds_are_left() -> Result<()> {
    let mut g = GraphBuilder::new("g");
    let (x, norm) = (g.input("x", &[1, 64], DType::F32), g.constant("norm", &[64]));
    let normed = g.rms_norm(x, norm, 1e-6)?;
    let batches = g.constant("batches", &[3, 16, 64]);
    let made = g.linear(normed, batches, None)?;
    g.output("made", made);
    assert_eq!(names(&fuse_step(&g.finish(), &lavapipe())?)?, ["rms_norm", "matmul"]);

    let mut g = GraphBuilder::new("g");
    let (x, norm) = (g.input("x", &[1, 64], DType::F32), g.constant("norm", &[64]));
    let normed = g.rms_norm(x, norm, 1e-6)?;
    let query = g.constant("query", &[64, 64]);
    let query = g.pack_half(query)?;
    let query = g.linear(normed, query, None)?;
    let [key, value] = ["key", "value"].map(|name| g.variable(name, &[1, 20, 64], DType::F32));
    let spans = g.input("spans", &[1, 2], DType::U32);
    let mixed = g.attention(query, key, value, spans, Attention::new(1, 1.0))?;
    let halves = g.literal_u32(&[64, 32], &[0x3c00_3c00; 64 * 32])?;
    let back = g.linear(mixed, halves, None)?;
    let sum = g.add(x, back)?;
    let last = g.constant("last", &[64]);
    let normed = g.rms_norm(sum, last, 1e-6)?;
    let head = g.constant("head", &[16, 64]);
    let made = g.linear(normed, head, None)?;
    g.output("made", made);
    let graph = super::super::fuse_epilogue(&g.finish())?;
    assert_eq!(kernels(&graph)?, ["norm_cross_attention", "matmul", "norm_linear"]);
    Ok(())
}
