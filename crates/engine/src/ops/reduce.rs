//! Sums, means and maxima over any dimensions.

use kiln_kernels::reduce_row;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::select::{RowForm, looped, row_form};
use crate::tensor::{DType, TensorDesc};
use crate::views::{View, halves};

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// `torch.sum`.
    Sum,
    /// `torch.mean`.
    Mean,
    /// `torch.amax`; NaN wins.
    Max,
    /// `torch.argmax`: u32 index of the first maximum, in the reduced dimensions flattened in row-major order.
    Argmax,
}

/// A reduction over the dimensions `dims` (ascending, each once).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is computed.
    pub reduction: Reduction,
    /// The dimensions that vanish.
    pub dims: Vec<usize>,
    /// Whether each leaves an extent of 1 behind.
    pub keep_dim: bool,
}

impl OpRules for Reduce {
    const NAME: &'static str = "reduce";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        if self.dims.is_empty() {
            return Err(Mismatch::new("dims", "at least one dimension", "none"));
        }
        for (position, &dim) in self.dims.iter().enumerate() {
            expect::dim(dim, input)?;
            if self.dims[..position].iter().any(|&earlier| earlier >= dim) {
                return Err(Mismatch::new(
                    "dims",
                    "ascending dimensions, each once",
                    format!("{:?}", self.dims),
                ));
            }
        }
        let shape =
            input.shape.iter().enumerate().filter_map(|(dim, &extent)| match self.dims.contains(&dim) {
                true => self.keep_dim.then_some(1),
                false => Some(extent),
            });
        let dtype = if self.reduction == Reduction::Argmax { DType::U32 } else { DType::F32 };
        Ok(TensorDesc::new(shape.collect::<Vec<_>>(), dtype))
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let input = lowering.input(0).desc;
        let split = |pick: bool, shape: &[usize]| -> (Vec<usize>, Vec<usize>) {
            let strides = input.strides();
            let axes = (0..shape.len()).filter(|axis| self.dims.contains(axis) == pick);
            axes.map(|axis| (shape[axis], strides[axis])).unzip()
        };
        let op = match self.reduction {
            Reduction::Sum => 0,
            Reduction::Mean => 1,
            Reduction::Max => 2,
            Reduction::Argmax => 3,
        };
        let by_rows = !self.dims.contains(&0);
        for block in lowering.row_blocks(self.dims[0])? {
            let mut shape = input.shape.clone();
            if by_rows && let Some(first) = shape.first_mut() {
                *first = block.rows.len();
            }
            let (kept_shape, kept_strides) = split(false, &shape);
            let (cols_shape, cols_strides) = split(true, &shape);
            let cols = cols_shape.iter().product::<usize>() as u32;
            let kept = View::merged(&kept_shape, [&kept_strides]);
            let reduced = View::merged(&cols_shape, [&cols_strides]);
            let (kept_low, kept_high) = halves(&kept.shape);
            let (kept_stride_low, kept_stride_high) = halves(&kept.strides[0]);
            let (cols_low, cols_high) = halves(&reduced.shape);
            let (cols_stride_low, cols_stride_high) = halves(&reduced.strides[0]);
            let params = reduce_row::Params {
                rows: block.elements,
                cols,
                kept_rank: kept.rank(),
                cols_rank: reduced.rank(),
                kept_low,
                kept_high,
                kept_stride_low,
                kept_stride_high,
                cols_low,
                cols_high,
                cols_stride_low,
                cols_stride_high,
            };
            let bindings = reduce_row::Bindings {
                input: if by_rows { lowering.rowwise(0, &block)? } else { lowering.whole(0)? },
                output: block.output,
            };
            // For each element, a loop over the dimensions of its address.
            let address = looped(u64::from(reduced.rank()), 0);
            let variant = match row_form(lowering.profile, cols, looped(u64::from(cols), address)) {
                RowForm::Serial => reduce_row::Variant::Serial,
                RowForm::Tree => reduce_row::Variant::Tree,
            };
            lowering.check_iterations(looped(u64::from(cols.div_ceil(variant.lanes())), address))?;
            let groups = u64::from(block.elements.div_ceil(variant.threads() / variant.lanes()));
            let overrides = reduce_row::Overrides { op };
            lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}
