//! Some rows of a table.

use kiln_kernels::{put_rows, put_rows_pair};

use super::UpdateRules;
use crate::error::{Mismatch, Result};
use crate::lower::Lowering;
use crate::ops::expect;
use crate::tensor::{DType, TensorDesc};
use crate::work::Work;

/// `table[index[i]] = rows[i][first_col .. first_col + W]` for each `i`, in place: the keys and values of new tokens among
/// those of a decoder's past, straight out of the product that made them, or a step's record in a history that the host
/// reads now and then.
///
/// One variable `[R, W]`, or two alike. Inputs: for each the rows `[n, M]`, of the same type, and the index for all, u32
/// `[n]`. One past the last row changes nothing; the others must differ from each other.
///
/// A variable `[P, R, W]` is P such tables: table p takes the columns from `first_col + p * W` on, so that what a row holds
/// for several heads is laid head by head. `first_col + P * W` is at most M.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PutRows {
    /// The column of `rows` that goes to the table's first.
    pub first_col: usize,
}

/// The tables of a variable.
struct Tables {
    count: usize,
    rows: usize,
    cols: usize,
    /// Rows to an index of the variable's first dimension, along which it is cut where a device cannot bind it.
    piece_rows: usize,
}

impl Tables {
    fn of(table: &TensorDesc) -> Result<Tables, Mismatch> {
        match *table.shape.as_slice() {
            [rows, cols] => Ok(Tables { count: 1, rows, cols, piece_rows: 1 }),
            [count, rows, cols] => Ok(Tables { count, rows, cols, piece_rows: rows }),
            _ => Err(Mismatch::new("table rank", "2 or 3", table)),
        }
    }

    fn all_cols(&self) -> usize {
        self.count * self.cols
    }
}

impl UpdateRules for PutRows {
    const NAME: &'static str = "put_rows";

    fn check(&self, variables: &[&TensorDesc], inputs: &[&TensorDesc]) -> Result<(), Mismatch> {
        let (table, rows, index) = match (variables, inputs) {
            (&[table], inputs) => {
                let [rows, index] = expect::inputs(inputs)?;
                (table, rows, index)
            }
            (&[table, second], inputs) => {
                let [rows, others, index] = expect::inputs(inputs)?;
                for (what, other, first) in [("second table", second, table), ("second rows", others, rows)] {
                    if other != first {
                        return Err(Mismatch::new(what, format!("{first}, as the first"), other));
                    }
                }
                (table, rows, index)
            }
            _ => return Err(Mismatch::new("number of variables", "1 or 2", variables.len())),
        };
        let cols = Tables::of(table)?.all_cols();
        expect::dtype("rows", rows, table.dtype)?;
        expect::rank("rows", rows, 2)?;
        if self.first_col.checked_add(cols).is_none_or(|end| end > rows.last()) {
            let expected = format!("at least {cols} columns after the first {}", self.first_col);
            return Err(Mismatch::new("rows", expected, rows));
        }
        expect::dtype("index", index, DType::U32)?;
        expect::shape("index", index, &[rows.rows()])
    }

    fn work(&self, _variables: &[&TensorDesc], _inputs: &[&TensorDesc]) -> Work {
        Work::SELECTS
    }

    /// One dispatch for each piece of the tables, which takes the rows that are its own.
    fn lower(&self, lowering: &mut Lowering<'_>) -> Result<()> {
        let [rows, width] = [0, 1].map(|dim| lowering.input(0).desc.shape[dim]);
        let table = lowering.output;
        let tables = Tables::of(table.desc).expect("the rank was checked with the graph");
        let cols = tables.all_cols();
        let wide = [tables.cols, width, self.first_col].iter().all(|size| size.is_multiple_of(4));
        let each = if wide { 4 } else { 1 };
        for (at, piece) in table.pieces.iter().enumerate() {
            // Both kernels have the same parameters.
            macro_rules! dispatch {
                ($kernel:ident, $moves:expr, $bindings:expr) => {{
                    let variant = if wide { $kernel::Variant::Quad } else { $kernel::Variant::Single };
                    let params = $kernel::Params {
                        rows: rows as u32,
                        cols: (cols / each) as u32,
                        width: (width / each) as u32,
                        first_col: (self.first_col / each) as u32,
                        table_cols: (tables.cols / each) as u32,
                        table_rows: tables.rows as u32,
                        row_first: (piece.rows.start * tables.piece_rows) as u32,
                        row_end: (piece.rows.end * tables.piece_rows) as u32,
                    };
                    let groups = ($moves * cols / each).div_ceil(variant.threads() as usize) as u64;
                    lowering.dispatch(variant.kernel(), [], &params, $bindings.into_array(), groups)?;
                }};
            }
            let variable = table.bound(piece);
            if let &[_, second] = lowering.variables.as_slice() {
                let bindings = put_rows_pair::Bindings {
                    first: variable,
                    second: second.bound(&second.pieces[at]),
                    first_input: lowering.whole(0)?,
                    second_input: lowering.whole(1)?,
                    index: lowering.whole(2)?,
                };
                dispatch!(put_rows_pair, 2 * rows, bindings);
            } else {
                let bindings =
                    put_rows::Bindings { variable, input: lowering.whole(0)?, index: lowering.whole(1)? };
                dispatch!(put_rows, rows, bindings);
            }
        }
        Ok(())
    }
}
