//! Which places of a list of indices name each row.

use kiln_kernels::index_rows;

use super::{OpRules, expect};
use crate::error::{Mismatch, Result};
use crate::lower::{Bound, Lowering};
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// The places of each row in a list of u32 indices, for [`IndexAdd`](super::IndexAdd): a sparse matrix's rows, compressed.
///
/// For a list of `n` indices the output is u32 `[extent + 1 + 2 n]`: `extent + 1` starts; then the places, of which those
/// whose index is `r` are `starts[r]..starts[r + 1]`, in ascending order, and those whose index is past the extent come
/// last; then `n` numbers without meaning, which the sort needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexRows {
    /// How many rows there are.
    pub extent: usize,
}

impl OpRules for IndexRows {
    const NAME: &'static str = "index_rows";

    fn infer(&self, inputs: &[&TensorDesc]) -> Result<TensorDesc, Mismatch> {
        let [index] = expect::inputs(inputs)?;
        expect::rank("index", index, 1)?;
        expect::dtype("index", index, DType::U32)?;
        let numbers =
            index.rows().checked_mul(2).and_then(|spare| spare.checked_add(self.extent)?.checked_add(1));
        let numbers =
            numbers.ok_or_else(|| Mismatch::new("extent", "a size that can be counted", self.extent))?;
        Ok(TensorDesc::new([numbers], DType::U32))
    }

    fn work(&self, _inputs: &[&TensorDesc], _output: &TensorDesc) -> Work {
        Work::MOVES
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (index, output) = (lowering.whole(0)?, lowering.whole_output()?);
        let run = index_rows::Variant::Base.run();
        let count = lowering.input(0).desc.rows() as u32;
        let extent = self.extent as u32;
        let sides = [extent + 1, extent + 1 + count];
        let merges = merges(count, run);
        // Each merge changes sides, and the last one ends on the first.
        let mut side = merges as usize % 2;
        let mut params =
            index_rows::Params { count, extent, run, source: sides[1 - side], result: sides[side] };
        dispatch(lowering, 0, count, params, index, output)?;
        for merge in 0..merges {
            side = 1 - side;
            params = index_rows::Params {
                run: run << merge,
                source: sides[1 - side],
                result: sides[side],
                ..params
            };
            dispatch(lowering, 1, count, params, index, output)?;
        }
        params.source = sides[0];
        dispatch(lowering, 2, extent + 1, params, index, output)
    }
}

/// How often sorted runs are merged by pairs until there is one.
fn merges(count: u32, run: u32) -> u32 {
    count.div_ceil(run).next_power_of_two().trailing_zeros()
}

fn dispatch(
    lowering: &mut Lowering<'_>,
    stage: u32,
    numbers: u32,
    params: index_rows::Params,
    index: Bound,
    output: Bound,
) -> Result<()> {
    let variant = index_rows::Variant::Base;
    let bindings = index_rows::Bindings { index, output };
    let overrides = index_rows::Overrides { stage };
    let groups = u64::from(numbers.div_ceil(variant.threads()));
    lowering.dispatch(variant.kernel(), overrides.pairs(), &params, bindings.into_array(), groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_places_and_as_many_again() {
        let infer = |extent, index: &TensorDesc| {
            IndexRows { extent }.infer(&[index]).map_err(|mismatch| mismatch.to_string())
        };
        let index = TensorDesc::new([5], DType::U32);
        assert_eq!(infer(7, &index), Ok(TensorDesc::new([18], DType::U32)));
        assert_eq!(infer(7, &TensorDesc::f32([5])), Err("index type: expected u32, got f32[5]".into()));
        let expected = format!("extent: expected a size that can be counted, got {}", usize::MAX);
        assert_eq!(infer(usize::MAX, &index), Err(expected));
    }

    #[test]
    fn runs_are_merged_until_one_is_left() {
        for (count, expected) in
            [(1, 0), (256, 0), (257, 1), (512, 1), (513, 2), (1024, 2), (1025, 3), (100_000, 9)]
        {
            assert_eq!(merges(count, 256), expected, "{count} places");
        }
    }
}
