//! One row of a table.

use super::UpdateRules;
use super::put_rows::{Rows, put};
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::expect;
use crate::tensor::{DType, TensorDesc};

/// `table[index[0]] = row`, in place: a step's record in a history that the host reads now and then.
///
/// One variable `[R, W]`. Inputs: the row `[W]`, of the same type, and the index, u32 `[1]`; one past the last row changes
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PutRow;

impl UpdateRules for PutRow {
    const NAME: &'static str = "put_row";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        let &[table] = variables else {
            return Err(Mismatch::new("number of variables", 1, variables.len()));
        };
        let [row, index] = expect::inputs(inputs)?;
        expect::rank("table", table, 2)?;
        expect::dtype("row", row, table.dtype)?;
        expect::shape("row", row, &[table.last()])?;
        expect::dtype("index", index, DType::U32)?;
        expect::shape("index", index, &[1])
    }

    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (rows, index) = (lowering.whole(0)?, lowering.whole(1)?);
        let width = lowering.output.desc.last();
        put(lowering, Rows { rows, count: 1, width, first_col: 0, index })
    }
}
