//! Fuses the norms of a decoder's step for one row with what reads them.

use kiln_gpu::DeviceProfile;

use super::pack_weights::pack_right_side;
use super::{Rewriter, drop_dead};
use crate::error::Result;
use crate::graph::{Graph, Node, Value};
use crate::lower::piece_limit;
use crate::ops::{
    Attention, CachedAttention, Epilogue, Gated, LhsLayout, Matmul, NormCrossAttention, NormLinear,
    NormSelfAttention, Op, PANEL, Reshape, RhsLayout, RmsNorm, Slice,
};
use crate::row_weight::{DEPTH_STEP, LARGEST_DEPTH};
use crate::select::shares_by_subgroup;
use crate::tensor::DType;
use crate::updates::{PutRows, Rule};

/// Rewrites `linear(rms_norm(x))` of a single row, with a constant weight, as one op, together with the activation, gate or
/// attention that alone reads it. A row's kernels are small enough for the time between them to count, and a kernel that
/// reads the row learns its norm by the way. For software adapters whose subgroups are of eight; others keep the ops apart.
///
/// Weights are packed here, for [`pack_weights`](super::pack_weights) knows plain products.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn fuse_step(graph: &Graph, profile: &DeviceProfile) -> Result<Graph> {
    if !shares_by_subgroup(profile) {
        return Ok(graph.clone());
    }
    let finder = Finder::new(graph, profile);
    let found: Vec<Option<Step>> = graph.nodes().iter().map(|node| finder.step(node)).collect();
    if found.iter().all(Option::is_none) {
        return Ok(graph.clone());
    }
    // Where a step ends: the node that is replaced by it.
    let mut ends: Vec<Option<(&Node, Step)>> = vec![None; graph.nodes().len()];
    let mut absorbed = vec![false; graph.nodes().len()];
    for ((index, product), step) in graph.nodes().iter().enumerate().zip(&found) {
        if let Some(step) = step {
            let end = step.end.unwrap_or(index);
            absorbed[index] = end != index;
            ends[end] = Some((product, *step));
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    for (index, node) in graph.nodes().iter().enumerate() {
        match ends[index] {
            Some((product, step)) => finder.rewrite(&mut rewriter, product, step, node)?,
            None if absorbed[index] => {}
            None => rewriter.keep(node)?,
        }
    }
    // The norms that nothing reads any more.
    drop_dead(&rewriter.finish())
}

/// A product of a normed row, with what becomes of it.
#[derive(Clone, Copy)]
struct Step {
    matmul: Matmul,
    norm: RmsNorm,
    row: Value,
    /// The norm's weight.
    weight: Value,
    /// The node that takes the product in, if one does.
    end: Option<usize>,
}

struct Finder<'a> {
    graph: &'a Graph,
    limit: u64,
    constant: Vec<bool>,
    /// For each value the node that makes it.
    makers: Vec<Option<&'a Node>>,
    /// For each value how many nodes and ends read it, and the last node that does.
    uses: Vec<usize>,
    reader: Vec<Option<usize>>,
}

impl<'a> Finder<'a> {
    fn new(graph: &'a Graph, profile: &DeviceProfile) -> Self {
        let mut makers = vec![None; graph.values().len()];
        let mut reader = vec![None; graph.values().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            makers[node.output.index()] = Some(node);
            for input in &node.inputs {
                reader[input.index()] = Some(index);
            }
        }
        let (limit, constant) = (piece_limit(profile), graph.constant_values());
        Self { graph, limit, constant, makers, uses: graph.uses(), reader }
    }

    /// A product of a normed row that can be fused.
    fn step(&self, node: &Node) -> Option<Step> {
        let Op::Matmul(product) = &node.op else { return None };
        let norm = self.makers[node.inputs[0].index()]?;
        let (Op::RmsNorm(op), &[row, weight]) = (&norm.op, norm.inputs.as_slice()) else { return None };
        let [depth, cols] = [node.inputs[0], node.output].map(|value| self.graph.desc(value).last());
        let activation = product.epilogue.activation;
        let fits = self.graph.desc(row).shape == [1, depth]
            && depth.is_multiple_of(DEPTH_STEP)
            && depth <= LARGEST_DEPTH
            && cols.is_multiple_of(PANEL)
            && product.lhs == LhsLayout::RowMajor
            && matches!(product.rhs, RhsLayout::Transposed | RhsLayout::TransposedHalves)
            && self.constant[node.inputs[1].index()]
            && self.bound(node.inputs[1])
            && product.epilogue == Epilogue { activation, ..Epilogue::default() };
        let end = self.reader_of(node.output).filter(|_| activation.is_none());
        fits.then_some(Step { matmul: *product, norm: *op, row, weight, end })
    }

    /// The node that takes a product in: a gate, or an attention of kept keys and values.
    fn reader_of(&self, product: Value) -> Option<usize> {
        let index = self.reader[product.index()]?;
        let node = &self.graph.nodes()[index];
        let (width, desc) = (self.graph.desc(product).last(), self.graph.desc(node.output));
        let known = |heads: usize| {
            NormCrossAttention::HEAD_DIMS.iter().any(|head_dim| heads * head_dim == desc.last())
        };
        let once = self.uses[product.index()] == 1 && node.inputs[0] == product;
        let taken = match &node.op {
            Op::Gated(_) => once && width.is_multiple_of(2 * PANEL),
            Op::Attention(Attention { heads, relative_bias: false, .. }) => {
                // Keys and values that are kept lie head by head.
                let kept = |&input: &Value| self.graph.desc(input).rank() == 3 && self.bound(input);
                once && known(*heads) && node.inputs[1..3].iter().all(kept)
            }
            Op::CachedAttention(CachedAttention { heads, .. }) => {
                known(*heads)
                    && node.inputs[0] == product
                    && self.bound(node.inputs[1])
                    && self.uses[product.index()] == 1 + self.kept(product, width / 3)
            }
            _ => false,
        };
        taken.then_some(index)
    }

    /// How often updates put keys and values of such a product into tables, and nothing before `first_col`.
    fn kept(&self, product: Value, first_col: usize) -> usize {
        let puts = self.graph.updates().iter().filter_map(|update| match &update.rule {
            Rule::PutRows(PutRows { first_col: first }) if *first >= first_col => update.inputs.split_last(),
            _ => None,
        });
        puts.flat_map(|(_index, rows)| rows).filter(|&&rows| rows == product).count()
    }

    /// Whether a value lies in one piece.
    fn bound(&self, value: Value) -> bool {
        (self.graph.desc(value).elements() * DType::BYTES) as u64 <= self.limit
    }

    fn rewrite(&self, rewriter: &mut Rewriter<'_>, product: &Node, step: Step, end: &Node) -> Result<()> {
        let (row, norm) = (rewriter.value(step.row), rewriter.value(step.weight));
        // Panels of a constant: `hoist_constants` makes them at load.
        let cols = self.graph.desc(product.output).last();
        let (weight, _) = pack_right_side(rewriter, &step.matmul, cols, product, true)?;
        let others: Vec<Value> = end.inputs[1..].iter().map(|&input| rewriter.value(input)).collect();
        let inputs = |others: Vec<Value>| [vec![row, norm, weight], others].concat();
        let epsilon = step.norm.epsilon;
        let mut add = |op: Op, inputs: Vec<Value>| rewriter.new.add_node(op, inputs, end.path.clone());
        let output = match &end.op {
            Op::Gated(Gated { activation }) => {
                let op = NormLinear { epsilon, activation: Some(*activation), gated: true };
                add(op.into(), inputs(vec![]))?
            }
            &Op::Attention(Attention { heads, scale, .. }) => {
                add(NormCrossAttention { heads, scale, epsilon }.into(), inputs(others))?
            }
            &Op::CachedAttention(CachedAttention { heads, scale }) => {
                let all = add(NormSelfAttention { heads, scale, epsilon }.into(), inputs(others))?;
                // What is read of the product stands where it did: the query alone is gone.
                let width = self.graph.desc(product.output).last();
                let kept = add(Reshape { shape: vec![1, width] }.into(), vec![all])?;
                rewriter.map[product.output.index()] = Some(kept);
                let mut add =
                    |op: Op, inputs: Vec<Value>| rewriter.new.add_node(op, inputs, end.path.clone());
                add(Slice { dim: 0, start: 0, end: 1 }.into(), vec![all])?
            }
            _ => {
                let op = NormLinear { epsilon, activation: step.matmul.epilogue.activation, gated: false };
                add(op.into(), inputs(vec![]))?
            }
        };
        rewriter.map[end.output.index()] = Some(output);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
        let [key, value] =
            ["key", "value"].map(|name| g.variable(name, &[heads, 20, width / heads], DType::F32));
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
                "norm_cross_attention",
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
}
