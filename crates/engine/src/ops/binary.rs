//! Pointwise functions of two tensors, with broadcasting.

use kiln_kernels::{binary, binary_flat};

use super::{OpRules, expect};
use crate::autodiff::Backward;
use crate::error::{Mismatch, Result};
use crate::graph::Value;
use crate::lower::Lowering;
use crate::tensor::{DType, TensorDesc};
use crate::views::{View, broadcast, broadcast_strides, halves};

/// `output[i] = f(lhs[i], rhs[i])`. Shapes are aligned at the last dimension, and an extent of 1 is repeated, as
/// PyTorch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// The larger; NaN wins (`torch.maximum`).
    Maximum,
    /// The smaller; NaN wins (`torch.minimum`).
    Minimum,
    /// 1 where the left side is greater, else 0 (`torch.gt`). It has no gradient.
    Greater,
    /// 1 where both sides are equal, else 0 (`torch.eq`). It has no gradient.
    Equal,
}

impl OpRules for Binary {
    const NAME: &'static str = "binary";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [lhs, rhs] = expect::inputs(inputs)?;
        expect::dtype("left side", lhs, DType::F32)?;
        expect::dtype("right side", rhs, DType::F32)?;
        let shape = broadcast(&lhs.shape, &rhs.shape)
            .ok_or_else(|| Mismatch::new("right side", format!("a shape that broadcasts with {lhs}"), rhs))?;
        Ok(TensorDesc::f32(shape))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let op = match self {
            Binary::Add => 0,
            Binary::Sub => 1,
            Binary::Mul => 2,
            Binary::Div => 3,
            Binary::Maximum => 4,
            Binary::Minimum => 5,
            Binary::Greater => 6,
            Binary::Equal => 7,
        };
        for block in lowering.blocks()? {
            let shape = lowering.block_shape(&block);
            let left = broadcast_strides(&lowering.input(0).desc.shape, &shape);
            let right = broadcast_strides(&lowering.input(1).desc.shape, &shape);
            let view = View::merged(&shape, [&left, &right]);
            if let Some((variant, [lhs_step, rhs_step])) = flat(&view, block.elements) {
                let params = binary_flat::Params { count: block.elements / 4, lhs_step, rhs_step };
                let bindings = binary_flat::Bindings {
                    lhs: lowering.broadcast(0, &block)?,
                    rhs: lowering.broadcast(1, &block)?,
                    output: block.output,
                };
                let overrides = binary_flat::Overrides { op };
                let groups = u64::from(params.count.div_ceil(variant.threads()));
                lowering.dispatch(
                    variant.kernel(),
                    overrides.pairs(),
                    &params,
                    bindings.into_array(),
                    groups,
                )?;
                continue;
            }
            let (shape_low, shape_high) = halves(&view.shape);
            let (lhs_low, lhs_high) = halves(&view.strides[0]);
            let (rhs_low, rhs_high) = halves(&view.strides[1]);
            let params = binary::Params {
                count: block.elements,
                rank: view.rank(),
                shape_low,
                shape_high,
                lhs_low,
                lhs_high,
                rhs_low,
                rhs_high,
                ..Default::default()
            };
            let bindings = binary::Bindings {
                lhs: lowering.broadcast(0, &block)?,
                rhs: lowering.broadcast(1, &block)?,
                output: block.output,
            };
            let variant = binary::Variant::Base;
            let overrides = binary::Overrides { op };
            let groups = u64::from(block.elements.div_ceil(variant.threads()));
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }

    fn backward(&self, backward: &mut Backward<'_>) -> Result<Vec<Option<Value>>> {
        let (lhs, rhs, grad) = (backward.input(0), backward.input(1), backward.grad());
        let mut gradients = backward.none();
        for (index, side) in [lhs, rhs].into_iter().enumerate() {
            if backward.wants(index) {
                let full = self.side_gradient(backward, index, [lhs, rhs], grad)?;
                gradients[index] = Some(backward.sum_to(full, side)?);
            }
        }
        Ok(gradients)
    }
}

/// The kernel over vectors of four, and how far each side moves from one to the next, where the shapes are walked as one
/// dimension of whole vectors.
fn flat(view: &View<2>, elements: u32) -> Option<(binary_flat::Variant, [u32; 2])> {
    let [lhs, rhs] = &view.strides;
    if !elements.is_multiple_of(4) {
        return None;
    }
    match (lhs.as_slice(), rhs.as_slice()) {
        ([1], [1]) => Some((binary_flat::Variant::Both, [1, 1])),
        ([0], [1]) => Some((binary_flat::Variant::Left, [0, 1])),
        ([1], [0]) => Some((binary_flat::Variant::Right, [1, 0])),
        _ => None,
    }
}

impl Binary {
    /// The gradient of one side, before it is summed over what was repeated.
    fn side_gradient(
        self,
        backward: &mut Backward<'_>,
        side: usize,
        [lhs, rhs]: [Value; 2],
        grad: Value,
    ) -> Result<Value> {
        let g = &mut *backward.g;
        match (self, side) {
            (Binary::Add, _) | (Binary::Sub, 0) => Ok(grad),
            (Binary::Sub, _) => g.neg(grad),
            (Binary::Mul, 0) => g.mul(grad, rhs),
            (Binary::Mul, _) => g.mul(grad, lhs),
            (Binary::Div, 0) => g.div(grad, rhs),
            (Binary::Div, _) => {
                let quotient = backward.output();
                let g = &mut *backward.g;
                let product = g.mul(grad, quotient)?;
                let product = g.div(product, rhs)?;
                g.neg(product)
            }
            (Binary::Maximum | Binary::Minimum, _) => {
                // Equal sides share the gradient, as in PyTorch.
                let own = if side == 0 { lhs } else { rhs };
                let other = if side == 0 { rhs } else { lhs };
                let wins = match self {
                    Binary::Maximum => g.greater(own, other)?,
                    _ => g.greater(other, own)?,
                };
                let half = g.scalar(0.5);
                let even = g.equal(own, other)?;
                let even = g.mul(even, half)?;
                let share = g.add(wins, even)?;
                g.mul(grad, share)
            }
            (Binary::Greater | Binary::Equal, _) => Err(backward.refuse("an op that is not a comparison")),
        }
    }
}
