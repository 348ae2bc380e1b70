//! Fuses the norms of a decoder's step for one row with what reads them.

mod back;

use std::collections::HashMap;

use kiln_gpu::DeviceProfile;

use self::back::Back;
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
/// The product that leads from an attention back into the row has no kernel either, where the row has at most 1,024 numbers
/// and the next norm is that of a linear layer, a gate or a cross attention: each head makes its part of the product, and
/// that op adds the parts to the row.
///
/// Weights are packed here, for [`pack_weights`](super::pack_weights) knows plain products.
///
/// # Errors
/// [`EngineError::Op`](crate::EngineError::Op) for a malformed graph.
pub fn fuse_step(graph: &Graph, profile: &DeviceProfile) -> Result<Graph> {
    if !shares_by_subgroup(profile) {
        return Ok(graph.clone());
    }
    let fuser = Fuser::new(graph, profile);
    let mut found: Vec<Option<Step>> = graph.nodes().iter().map(|node| fuser.step(node)).collect();
    if found.iter().all(Option::is_none) {
        return Ok(graph.clone());
    }
    for index in 0..found.len() {
        if let Some(step) = found[index] {
            found[index] = Some(Step { back: fuser.back(index, &step, &found), ..step });
        }
    }
    // Where a step ends: the node that is replaced by it.
    let mut ends: Vec<Option<(&Node, Step)>> = vec![None; graph.nodes().len()];
    let mut absorbed = vec![false; graph.nodes().len()];
    for ((index, product), step) in graph.nodes().iter().enumerate().zip(&found) {
        if let Some(step) = step {
            let end = step.end.unwrap_or(index);
            absorbed[index] = end != index;
            ends[end] = Some((product, *step));
            if let Some(back) = step.back {
                absorbed[back.product] = true;
                absorbed[back.norm] = true;
            }
        }
    }
    let mut rewriter = Rewriter::new(graph);
    rewriter.keep_inputs();
    let mut parts = HashMap::new();
    for (index, node) in graph.nodes().iter().enumerate() {
        match ends[index] {
            Some((product, step)) => fuser.rewrite(&mut rewriter, &mut parts, product, step, node)?,
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
    /// The product that leads from that node back into the row, if there is one that other ops can make.
    back: Option<Back>,
}

/// For each sum that no op makes yet: the row, and the parts that the next op adds to it.
type Parts = HashMap<Value, (Value, Value)>;

struct Fuser<'a> {
    graph: &'a Graph,
    limit: u64,
    constant: Vec<bool>,
    /// For each value the node that makes it.
    makers: Vec<Option<&'a Node>>,
    /// For each value how many nodes and ends read it, and the nodes that do.
    uses: Vec<usize>,
    readers: Vec<Vec<usize>>,
}

impl<'a> Fuser<'a> {
    fn new(graph: &'a Graph, profile: &DeviceProfile) -> Self {
        let mut makers = vec![None; graph.values().len()];
        let mut readers = vec![vec![]; graph.values().len()];
        for (index, node) in graph.nodes().iter().enumerate() {
            makers[node.output.index()] = Some(node);
            for input in &node.inputs {
                readers[input.index()].push(index);
            }
        }
        let (limit, constant) = (piece_limit(profile), graph.constant_values());
        Self { graph, limit, constant, makers, uses: graph.uses(), readers }
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
            && self.graph.desc(node.inputs[1]).rank() == 2
            && self.constant[node.inputs[1].index()]
            && self.bound(node.inputs[1])
            && product.epilogue == Epilogue { activation, ..Epilogue::default() };
        let end = self.reader_of(node.output).filter(|_| activation.is_none());
        fits.then_some(Step { matmul: *product, norm: *op, row, weight, end, back: None })
    }

    /// The node that takes a product in: a gate, or an attention of kept keys and values.
    fn reader_of(&self, product: Value) -> Option<usize> {
        let &[index] = self.readers[product.index()].as_slice() else { return None };
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

    fn rewrite(
        &self,
        rewriter: &mut Rewriter<'_>,
        parts: &mut Parts,
        product: &Node,
        step: Step,
        end: &Node,
    ) -> Result<()> {
        // Panels of a constant: `hoist_constants` makes them at load.
        let [depth, cols] = [step.row, product.output].map(|value| self.graph.desc(value).last());
        let (mut weight, _) = pack_right_side(rewriter, &step.matmul, cols, product, true)?;
        let back = step.back.map(|back| &self.graph.nodes()[back.product]);
        if let Some(back) = back {
            weight = self.with_panels_back(rewriter, weight, &step.matmul, back, end)?;
        }
        let (row, added) = match parts.remove(&step.row) {
            Some((row, parts)) => (row, Some(parts)),
            None => (rewriter.value(step.row), None),
        };
        let mut inputs = vec![row, rewriter.value(step.weight), weight];
        if step.end.is_some() {
            inputs.extend(end.inputs[1..].iter().map(|&input| rewriter.value(input)));
        }
        inputs.extend(added);
        let made = rewriter.new.add_node(step.op(&end.op), inputs, end.path.clone())?;
        let output = Output { made, path: &end.path };
        // Behind each other lie: what a self attention mixed, its key and its value; what other ops make, or the parts of the
        // product back; the sum of the row and its parts.
        let mut begin = 0;
        if matches!(end.op, Op::CachedAttention(_)) {
            // What is read of the product stands where it did: the query alone is gone.
            rewriter.map[product.output.index()] = Some(output.part(rewriter, 0, &[1, cols])?);
            begin = cols;
        }
        let mut stop = rewriter.new.desc(made).elements();
        let mut sum = row;
        if added.is_some() {
            stop -= depth;
            sum = output.part(rewriter, stop, &[1, depth])?;
            rewriter.map[step.row.index()] = Some(sum);
        }
        if let Some(back) = back {
            let made = output.part(rewriter, begin, &[(stop - begin) / depth, depth])?;
            parts.insert(back.output, (sum, made));
        } else {
            let width = self.graph.desc(end.output).last();
            rewriter.map[end.output.index()] = Some(output.part(rewriter, 0, &[1, width])?);
        }
        Ok(())
    }
}

impl Step {
    /// The op that takes the place of the step and of such an end.
    fn op(&self, end: &Op) -> Op {
        let (epsilon, back) = (self.norm.epsilon, self.back.is_some());
        match *end {
            Op::Gated(Gated { activation }) => {
                NormLinear { epsilon, activation: Some(activation), gated: true }.into()
            }
            Op::Attention(Attention { heads, scale, .. }) => {
                NormCrossAttention { heads, scale, epsilon, back }.into()
            }
            Op::CachedAttention(CachedAttention { heads, scale }) => {
                NormSelfAttention { heads, scale, epsilon, back }.into()
            }
            _ => NormLinear { epsilon, activation: self.matmul.epilogue.activation, gated: false }.into(),
        }
    }
}

/// An op's output, whose parts lie behind each other.
struct Output<'a> {
    made: Value,
    path: &'a str,
}

impl Output<'_> {
    /// The elements from `start` on, in a shape.
    fn part(&self, rewriter: &mut Rewriter<'_>, start: usize, shape: &[usize]) -> Result<Value> {
        let end = start + shape.iter().product::<usize>();
        let desc = rewriter.new.desc(self.made).clone();
        let mut add = |op: Op, input| rewriter.new.add_node(op, vec![input], self.path.to_owned());
        let mut value = self.made;
        if end - start != desc.elements() {
            if desc.rank() > 1 {
                value = add(Reshape { shape: vec![desc.elements()] }.into(), value)?;
            }
            value = add(Slice { dim: 0, start, end }.into(), value)?;
        } else if desc.shape == shape {
            return Ok(value);
        }
        add(Reshape { shape: shape.to_vec() }.into(), value)
    }
}

#[cfg(test)]
mod tests;
