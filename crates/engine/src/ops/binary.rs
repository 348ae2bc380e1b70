//! Pointwise functions of two tensors, with broadcasting.

use kiln_kernels::binary;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
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
        };
        for block in lowering.blocks()? {
            let shape = lowering.block_shape(&block);
            let left = broadcast_strides(&lowering.input(0).desc.shape, &shape);
            let right = broadcast_strides(&lowering.input(1).desc.shape, &shape);
            let view = View::merged(&shape, [&left, &right]);
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
}
