//! Fuses the norms of a decoder's step for one row with what reads them.

mod back;

use std::collections::HashMap;
use std::ops::Range;

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
/// The product that leads from an attention back into the row has no kernel either, where the next such norm reads the row:
/// each head makes its part of it, and the next op adds the parts to the row.
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
    let mut found: Vec<Option<Step>> = graph.nodes().iter().map(|node| finder.step(node)).collect();
    if found.iter().all(Option::is_none) {
        return Ok(graph.clone());
    }
    for index in 0..found.len() {
        if let Some(step) = found[index] {
            found[index] = Some(Step { back: finder.back(index, &step, &found), ..step });
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
            Some((product, step)) => finder.rewrite(&mut rewriter, &mut parts, product, step, node)?,
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

/// For values that no op makes any more: the rows and the parts whose sum they are.
type Parts = HashMap<Value, (Value, Value)>;

struct Finder<'a> {
    graph: &'a Graph,
    limit: u64,
    constant: Vec<bool>,
    /// For each value the node that makes it.
    makers: Vec<Option<&'a Node>>,
    /// For each value how many nodes and ends read it, and the nodes that do.
    uses: Vec<usize>,
    readers: Vec<Vec<usize>>,
}

impl<'a> Finder<'a> {
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
            && self.constant[node.inputs[1].index()]
            && self.bound(node.inputs[1])
            && product.epilogue == Epilogue { activation, ..Epilogue::default() };
        let end = self.reader_of(node.output).filter(|_| activation.is_none());
        fits.then_some(Step { matmul: *product, norm: *op, row, weight, end, back: None })
    }

    /// The node that takes a product in: a gate, or an attention of kept keys and values.
    fn reader_of(&self, product: Value) -> Option<usize> {
        let index = *self.readers[product.index()].last()?;
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
        let norm = rewriter.value(step.weight);
        let others: Vec<Value> = end.inputs[1..].iter().map(|&input| rewriter.value(input)).collect();
        let added = parts.remove(&step.row);
        let row = added.map_or_else(|| rewriter.value(step.row), |(row, _)| row);
        let inputs = |others: Vec<Value>| {
            [vec![row, norm, weight], others, added.iter().map(|(_, parts)| *parts).collect()].concat()
        };
        let (epsilon, back) = (step.norm.epsilon, back.is_some());
        let (op, inputs): (Op, _) = match &end.op {
            Op::Gated(Gated { activation }) => {
                (NormLinear { epsilon, activation: Some(*activation), gated: true }.into(), inputs(vec![]))
            }
            &Op::Attention(Attention { heads, scale, .. }) => {
                (NormCrossAttention { heads, scale, epsilon, back }.into(), inputs(others))
            }
            &Op::CachedAttention(CachedAttention { heads, scale }) => {
                (NormSelfAttention { heads, scale, epsilon, back }.into(), inputs(others))
            }
            _ => {
                let activation = step.matmul.epilogue.activation;
                (NormLinear { epsilon, activation, gated: false }.into(), inputs(vec![]))
            }
        };
        let made = rewriter.new.add_node(op, inputs, end.path.clone())?;
        // What lies behind each other in the output: the keys and values of a self attention, what the others make or the
        // parts of the product back, the sum that was made of parts.
        let mut output = Output { made, path: &end.path, at: 0 };
        let width = self.graph.desc(end.output).last();
        if matches!(end.op, Op::CachedAttention(_)) {
            // What is read of the product stands where it did: the query alone is gone.
            rewriter.map[product.output.index()] = Some(output.part(rewriter, &[1, cols])?);
            output.at = 0;
        }
        if !back {
            rewriter.map[end.output.index()] = Some(output.part(rewriter, &[1, width])?);
        } else if let Some(back) = step.back {
            if matches!(end.op, Op::CachedAttention(_)) {
                output.at = cols;
            }
            let heads =
                (rewriter.new.desc(made).elements() - output.at) / depth - usize::from(added.is_some());
            let made = output.part(rewriter, &[heads, depth])?;
            parts.insert(self.graph.nodes()[back.product].output, (row, made));
        }
        if added.is_some() {
            let sum = output.part(rewriter, &[1, depth])?;
            rewriter.map[step.row.index()] = Some(sum);
            // The product back is added to the sum.
            if let Some(back) = step.back
                && let Some((row, _)) = parts.get_mut(&self.graph.nodes()[back.product].output)
            {
                *row = sum;
            }
        }
        Ok(())
    }
}

/// An op's output, of which parts are taken in turns.
struct Output<'a> {
    made: Value,
    path: &'a str,
    at: usize,
}

impl Output<'_> {
    /// The elements from where the last part ended, in a shape.
    fn part(&mut self, rewriter: &mut Rewriter<'_>, shape: &[usize]) -> Result<Value> {
        let elements: Range<usize> = self.at..self.at + shape.iter().product::<usize>();
        self.at = elements.end;
        let desc = rewriter.new.desc(self.made).clone();
        let mut add = |op: Op, input| rewriter.new.add_node(op, vec![input], self.path.to_owned());
        let mut value = self.made;
        if elements.len() != desc.elements() {
            if desc.rank() > 1 {
                value = add(Reshape { shape: vec![desc.elements()] }.into(), value)?;
            }
            value = add(Slice { dim: 0, start: elements.start, end: elements.end }.into(), value)?;
        } else if desc.shape == shape {
            return Ok(value);
        }
        add(Reshape { shape: shape.to_vec() }.into(), value)
    }
}

#[cfg(test)]
mod tests;
