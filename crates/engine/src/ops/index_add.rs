//! Slices added up by index.

use kiln_kernels::index_add;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Bound, Lowering};
use crate::select;
use crate::tensor::{DType, TensorDesc};

/// `output[.., index[j], ..] += input[.., j, ..]` into zeros, where `index` is as long as the dimension: `torch.index_add`.
/// The second input says which places of the index name each row, as [`IndexRows`](super::IndexRows) makes it. An index
/// past the extent adds nothing.
///
/// A gather: each element adds what belongs to it, in the order of the list, so that results are the same bits in each
/// run. It takes as many loads as there are elements, however the indices fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexAdd {
    /// The dimension that is indexed.
    pub dim: usize,
    /// The output's extent there.
    pub extent: usize,
}

/// How many entries of a row's list a dispatch adds, so that no invocation of a software adapter loops too often.
const SOFTWARE_PART: u32 = 400_000;

impl OpRules for IndexAdd {
    const NAME: &'static str = "index_add";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [input, rows] = expect::inputs(inputs)?;
        expect::dtype("input", input, DType::F32)?;
        expect::dim(self.dim, input)?;
        expect::dtype("rows", rows, DType::U32)?;
        let numbers = self.extent.saturating_add(1).saturating_add(2 * input.shape[self.dim]);
        expect::shape("rows", rows, &[numbers])?;
        let mut output = input.clone();
        output.shape[self.dim] = self.extent;
        Ok(output)
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let input = lowering.input(0);
        let places = input.desc.shape[self.dim] as u32;
        let inner = input.desc.elements_behind(self.dim + 1) as u32;
        let variant = match inner.is_multiple_of(4) {
            true => index_add::Variant::Quad,
            false => index_add::Variant::Single,
        };
        let numbers = if inner.is_multiple_of(4) { 4 } else { 1 };
        let part = if lowering.profile.kind.is_software() { SOFTWARE_PART } else { places };
        let most = u64::from(part.min(places).div_ceil(variant.steps()));
        lowering.check_iterations(select::looped(most, 0))?;
        let rows = lowering.whole(1)?;
        for block in lowering.blocks()? {
            let (own_rows, first_row) = match self.dim {
                0 => (block.rows.len() as u32, block.rows.start as u32),
                _ => (self.extent as u32, 0),
            };
            // The input's pieces, and with which place each begins.
            let pieces: Vec<(Bound, u32, u32)> = match self.dim {
                0 => {
                    let pieces = input.pieces.iter();
                    pieces.map(|p| (input.bound(p), p.rows.start as u32, p.rows.len() as u32)).collect()
                }
                _ => vec![(lowering.rowwise(0, &block)?, 0, places)],
            };
            let mut fresh = 1;
            for skip in (0..places).step_by(part as usize) {
                for &(input, first_place, places) in &pieces {
                    let params = index_add::Params {
                        count: block.elements / numbers,
                        inner: inner / numbers,
                        rows: own_rows,
                        extent: self.extent as u32,
                        places,
                        first_row,
                        first_place,
                        skip,
                        part,
                        fresh,
                    };
                    let bindings = index_add::Bindings { input, rows, output: block.output };
                    let groups = u64::from(params.count.div_ceil(variant.threads()));
                    lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
                    fresh = 0;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let rows = |numbers: usize| TensorDesc::new([numbers], DType::U32);
        let infer = |dim, extent, input: &[usize], rows: &TensorDesc| {
            let made = IndexAdd { dim, extent }.infer(&[&TensorDesc::f32(input), rows]);
            made.map(|desc| desc.shape).map_err(|mismatch| mismatch.to_string())
        };
        assert_eq!(infer(0, 7, &[5, 3], &rows(18)), Ok(vec![7, 3]));
        assert_eq!(infer(1, 2, &[5, 3], &rows(9)), Ok(vec![5, 2]));
        assert_eq!(infer(1, 2, &[5, 3], &rows(8)), Err("rows: expected [9], got u32[8]".into()));
        assert_eq!(
            infer(2, 2, &[5, 3], &rows(9)),
            Err("dim: expected less than the rank of f32[5, 3], got 2".into())
        );
    }
}
