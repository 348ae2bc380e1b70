//! Some rows of a table.

use kiln_kernels::put_rows;

use super::UpdateRules;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::expect;
use crate::tensor::{DType, TensorDesc};

/// `table[index[i]] = rows[i][first_col .. first_col + W]` for each `i`, in place: the keys and values of new tokens among
/// those of a decoder's past, straight out of the product that made them, or a step's record in a history that the host
/// reads now and then.
///
/// One variable `[R, W]`. Inputs: the rows `[n, M]`, of the same type, and the index, u32 `[n]`. One past the last row
/// changes nothing; the others must differ from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PutRows {
    /// The column of `rows` that goes to the table's first.
    pub first_col: usize,
}

impl UpdateRules for PutRows {
    const NAME: &'static str = "put_rows";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        let &[table] = variables else {
            return Err(Mismatch::new("number of variables", 1, variables.len()));
        };
        let [rows, index] = expect::inputs(inputs)?;
        expect::rank("table", table, 2)?;
        expect::dtype("rows", rows, table.dtype)?;
        expect::rank("rows", rows, 2)?;
        if self.first_col.checked_add(table.last()).is_none_or(|end| end > rows.last()) {
            let expected = format!("at least {} columns after the first {}", table.last(), self.first_col);
            return Err(Mismatch::new("rows", expected, rows));
        }
        expect::dtype("index", index, DType::U32)?;
        expect::shape("index", index, &[rows.rows()])
    }

    /// One dispatch for each piece of the table, which takes the rows that are its own.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let (input, index) = (lowering.whole(0)?, lowering.whole(1)?);
        let [rows, width] = [0, 1].map(|dim| lowering.input(0).desc.shape[dim]);
        let table = lowering.output;
        let cols = table.desc.last();
        let wide = [cols, width, self.first_col].iter().all(|size| size.is_multiple_of(4));
        let (variant, each) =
            if wide { (put_rows::Variant::Quad, 4) } else { (put_rows::Variant::Single, 1) };
        for piece in table.pieces {
            let params = put_rows::Params {
                rows: rows as u32,
                cols: (cols / each) as u32,
                width: (width / each) as u32,
                first_col: (self.first_col / each) as u32,
                row_first: piece.rows.start as u32,
                row_end: piece.rows.end as u32,
            };
            let bindings = put_rows::Bindings { variable: table.bound(piece), input, index };
            let groups = (rows * cols / each).div_ceil(variant.threads() as usize) as u64;
            lowering.dispatch(variant.kernel(), [], &params, bindings.into_array(), groups)?;
        }
        Ok(())
    }
}
