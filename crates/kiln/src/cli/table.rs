//! Columns of text, aligned.

use std::io::{self, Write};
use std::ops::Range;

/// Writes rows of cells, each column as wide as its widest cell, two spaces apart. Lines do not end in
/// spaces.
pub(crate) fn write_table<R, C>(out: &mut impl Write, rows: &[R]) -> io::Result<()>
where
    R: AsRef<[C]>,
    C: AsRef<str>,
{
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = cell.as_ref().chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.as_ref().iter().zip(&widths) {
            line.push_str(&format!("{:width$}  ", cell.as_ref()));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Moves the cells of some columns to the right, as numbers stand.
pub(crate) fn align_right(rows: &mut [Vec<String>], columns: Range<usize>) {
    for column in columns {
        let cells = || rows.iter().filter_map(|row| row.get(column));
        let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            *cell = format!("{cell:>width$}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_clean() {
        let mut out = Vec::new();
        write_table(&mut out, &[vec!["a", "größer", ""], vec!["long", "b", "c"], vec!["x"]])
            .expect("memory should take it");
        let text = String::from_utf8(out).expect("it should be text");
        assert_eq!(text, "a     größer\nlong  b       c\nx\n");
    }

    #[test]
    fn numbers_stand_on_the_right() {
        let mut rows = [["a", "ms"], ["b", "12"], ["c", "1234"]].map(|row| row.map(str::to_owned).to_vec());
        align_right(&mut rows, 1..2);
        assert_eq!(rows.map(|row| row[1].clone()), ["  ms", "  12", "1234"]);
    }
}
