//! Columns of text, aligned.

use std::io::{self, Write};

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
}
