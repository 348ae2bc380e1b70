//! Products that lead from an attention back into the row: found, and their weights laid by head.

use super::{Fuser, Step};
use crate::error::Result;
use crate::graph::{Node, Value};
use crate::ops::{
    Attention, CachedAttention, Concat, Epilogue, LhsLayout, Matmul, Op, PackHalfPanels, PackPanels, Permute,
    Reshape,
};
use crate::passes::Rewriter;
use crate::passes::pack_weights::source_of_halves;
use crate::row_weight::LARGEST_SUMMED;
use crate::tensor::DType;

/// A product that leads back into the row and has no op of its own.
#[derive(Clone, Copy)]
pub(super) struct Back {
    pub(super) product: usize,
    /// The norm of the sum that it makes with the row: the next step's.
    pub(super) norm: usize,
}

impl Fuser<'_> {
    /// The product that alone reads the attention at which a step ends, and that is added to the step's row for a sum that
    /// another step begins with; whoever else reads the sum comes after that one.
    pub(super) fn back(&self, product: usize, step: &Step, found: &[Option<Step>]) -> Option<Back> {
        let end = &self.graph.nodes()[step.end?];
        if !matches!(end.op, Op::Attention(_) | Op::CachedAttention(_)) || self.uses[end.output.index()] != 1
        {
            return None;
        }
        let &[index] = self.readers[end.output.index()].as_slice() else { return None };
        let node = &self.graph.nodes()[index];
        let Op::Matmul(back) = &node.op else { return None };
        let &[mixed, weight, residual] = node.inputs.as_slice() else { return None };
        let own = &self.graph.nodes()[product];
        let source = source_of_halves(self.graph, weight);
        let elements: usize =
            [own.inputs[1], weight].map(|value| self.graph.desc(value).elements()).iter().sum();
        let fits = mixed == end.output
            && residual == step.row
            && back.lhs == LhsLayout::RowMajor
            && back.rhs == step.matmul.rhs
            && back.epilogue == Epilogue { residual: true, ..Epilogue::default() }
            && self.graph.desc(node.output) == self.graph.desc(step.row)
            && self.graph.desc(node.output).last() <= LARGEST_SUMMED
            && self.graph.desc(weight).rank() == 2
            && self.constant[weight.index()]
            // It is read before its place in the graph, and laid by head as numbers.
            && self.makers[source.unwrap_or(weight).index()].is_none()
            && back.rhs.is_halves() == source.is_some()
            && (elements * DType::BYTES) as u64 <= self.limit;
        let sum = node.output;
        let readers = &self.readers[sum.index()];
        // No output, and nothing that changes a variable.
        if !fits || readers.len() != self.uses[sum.index()] {
            return None;
        }
        let next = self.graph.nodes().iter().zip(found).enumerate().find_map(|(index, (product, step))| {
            step.filter(|step| step.row == sum).map(|step| (product.inputs[0], step.end.unwrap_or(index)))
        });
        let (normed, next) = next?;
        let norm = self.graph.nodes().iter().position(|node| node.output == normed)?;
        let takes_parts = !matches!(self.graph.nodes()[next].op, Op::CachedAttention(_));
        let others_follow = readers.iter().all(|&reader| reader == norm || reader > next);
        (takes_parts && self.uses[normed.index()] == 1 && others_follow)
            .then_some(Back { product: index, norm })
    }

    /// The weight of a step's product with that of the product back behind it, `[rows][8]`. The latter is in panels for each
    /// head, `[heads][depth / 8][head_dim][8]`: a workgroup reads what it needs in a stretch.
    pub(super) fn with_panels_back(
        &self,
        rewriter: &mut Rewriter<'_>,
        weight: Value,
        product: &Matmul,
        back: &Node,
        end: &Node,
    ) -> Result<Value> {
        let (Op::Attention(Attention { heads, .. }) | Op::CachedAttention(CachedAttention { heads, .. })) =
            end.op
        else {
            unreachable!("only an attention goes on to a product back");
        };
        let [inner, depth] = [end.output, back.output].map(|value| self.graph.desc(value).last());
        let pack: Op = match product.rhs.is_halves() {
            true => PackHalfPanels.into(),
            false => PackPanels { transposed: true }.into(),
        };
        let by_head: [Op; 4] = [
            Reshape { shape: vec![depth, heads, inner / heads] }.into(),
            Permute { dims: vec![1, 0, 2] }.into(),
            Reshape { shape: vec![heads * depth, inner / heads] }.into(),
            pack,
        ];
        let source = source_of_halves(self.graph, back.inputs[1]).unwrap_or(back.inputs[1]);
        let mut behind = rewriter.value(source);
        for op in by_head {
            behind = rewriter.new.add_node(op, vec![behind], back.path.clone())?;
        }
        let mut both = vec![];
        for panels in [weight, behind] {
            let desc = rewriter.new.desc(panels);
            let shape = vec![desc.elements() / desc.last(), desc.last()];
            both.push(rewriter.new.add_node(Reshape { shape }.into(), vec![panels], back.path.clone())?);
        }
        rewriter.new.add_node(Concat { dim: 0 }.into(), both, back.path.clone())
    }
}
