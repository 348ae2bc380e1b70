//! One row of a table.

use kiln_kernels::put_row;

use super::UpdateRules;
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
        let table = lowering.output.desc;
        let params = put_row::Params { rows: table.rows() as u32, cols: table.last() as u32 };
        let bindings = put_row::Bindings {
            variable: lowering.whole_output()?,
            row: lowering.whole(0)?,
            index: lowering.whole(1)?,
        };
        let variant = put_row::Variant::Base;
        let groups = u64::from(params.cols.div_ceil(variant.threads()));
        lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)
    }
}
