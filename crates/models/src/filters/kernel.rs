//! Filter kernels: those of the textbooks, and those from files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::ModelError;
use crate::image::Show;

/// A filter's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterKernel {
    name: String,
    rows: usize,
    columns: usize,
    weights: Vec<f32>,
}

/// A file of a kernel is a few lines; more is another file.
const MAX_FILE: u64 = 1 << 20;

/// The most weights: on three channels at once a software adapter still can add up so many products.
const MAX_WEIGHTS: usize = 16_384;

/// Name, divisor, and rows of one side.
type Table = (&'static str, f32, usize, &'static [i16]);

#[rustfmt::skip]
const KERNELS: [Table; 9] = [
    // Brighter to the right gives positive values.
    ("sobel-x", 1.0, 3, &[
        -1, 0, 1,
        -2, 0, 2,
        -1, 0, 1,
    ]),
    // Brighter below gives positive values.
    ("sobel-y", 1.0, 3, &[
        -1, -2, -1,
        0, 0, 0,
        1, 2, 1,
    ]),
    ("box", 9.0, 3, &[1; 9]),
    ("gaussian3", 16.0, 3, &[
        1, 2, 1,
        2, 4, 2,
        1, 2, 1,
    ]),
    ("gaussian5", 256.0, 5, &[
        1, 4, 6, 4, 1,
        4, 16, 24, 16, 4,
        6, 24, 36, 24, 6,
        4, 16, 24, 16, 4,
        1, 4, 6, 4, 1,
    ]),
    ("sharpen", 1.0, 3, &[
        0, -1, 0,
        -1, 5, -1,
        0, -1, 0,
    ]),
    // The image minus its box blur.
    ("edge", 9.0, 3, &[
        -1, -1, -1,
        -1, 8, -1,
        -1, -1, -1,
    ]),
    // Twice the image minus its gaussian5 blur.
    ("unsharp", 256.0, 5, &[
        -1, -4, -6, -4, -1,
        -4, -16, -24, -16, -4,
        -6, -24, 476, -24, -6,
        -4, -16, -24, -16, -4,
        -1, -4, -6, -4, -1,
    ]),
    // Light from the upper left.
    ("emboss", 1.0, 3, &[
        -2, -1, 0,
        -1, 1, 1,
        0, 1, 2,
    ]),
];

impl FilterKernel {
    /// The names of the kernels that [`named`](FilterKernel::named) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KERNELS.iter().map(|(name, ..)| *name)
    }

    /// The kernel of this name: `sobel-x`, `sobel-y`, `box`, `gaussian3`, `gaussian5`, `sharpen`, `edge` (the image
    /// minus its box blur), `unsharp` (the image plus the image minus its gaussian5 blur) or `emboss`.
    pub fn named(name: &str) -> Option<FilterKernel> {
        let (name, divisor, side, numbers) = KERNELS.iter().find(|(known, ..)| *known == name)?;
        let weights = numbers.iter().map(|number| f32::from(*number) / divisor).collect();
        Some(FilterKernel { name: (*name).to_owned(), rows: *side, columns: *side, weights })
    }

    /// Reads a kernel from a text file; see [`parse`](FilterKernel::parse).
    ///
    /// # Errors
    /// [`ModelError::Io`] where the file cannot be read, and those of [`parse`](FilterKernel::parse).
    pub fn open(path: &Path) -> Result<FilterKernel, ModelError> {
        let io = |error| ModelError::io(path, error);
        let mut bytes = Vec::new();
        File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MAX_FILE {
            let message = format!("not a filter kernel: longer than {MAX_FILE} bytes");
            return Err(ModelError::config(path, message));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => FilterKernel::parse(path, text),
            Err(_) => Err(ModelError::config(
                path,
                "not a filter kernel: expected rows of numbers, not binary data",
            )),
        }
    }

    /// A kernel from text: a line is a row, its numbers stand apart by blanks, commas or both, and all rows have as
    /// many. Blank lines and what follows a `#` do not count. `path` stands for the text in messages and names the
    /// kernel.
    ///
    /// # Errors
    /// [`ModelError::Config`] where there is no number or more than 16,384, something else, or rows of different
    /// lengths.
    pub fn parse(path: &Path, text: &str) -> Result<FilterKernel, ModelError> {
        let refused = |message: String| ModelError::config(path, format!("not a filter kernel: {message}"));
        let mut weights: Vec<f32> = Vec::new();
        let (mut rows, mut columns, mut first) = (0, 0, 0);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            let content = line.split('#').next().unwrap_or_default();
            let words =
                content.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
            let before = weights.len();
            for word in words {
                match word.parse::<f32>() {
                    Ok(weight) if weight.is_finite() => weights.push(weight),
                    _ => return Err(refused(format!("line {number}: {} is not a number", quoted(word)))),
                }
            }
            let row = weights.len() - before;
            if row == 0 {
                continue;
            }
            if rows == 0 {
                (columns, first) = (row, number);
            } else if row != columns {
                return Err(refused(format!(
                    "line {number} has {}, line {first} has {}",
                    numbers(row),
                    numbers(columns)
                )));
            }
            rows += 1;
        }
        if weights.len() > MAX_WEIGHTS {
            let size = numbers(weights.len());
            return Err(refused(format!("{columns}x{rows} is {size}, over the limit of {MAX_WEIGHTS}")));
        }
        if rows == 0 {
            return Err(refused("no numbers in it".to_owned()));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(FilterKernel { name, rows, columns, weights })
    }

    /// Its name, or that of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows; at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns; at least 1.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The weights, `[rows][columns]`.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Whether its weights add up to zero, so that it answers to differences alone and gives 0 on a plain surface:
    /// `sobel-x`, `sobel-y` and `edge`.
    pub fn is_derivative(&self) -> bool {
        let sum = |weight: fn(f64) -> f64| self.weights.iter().map(|w| weight(f64::from(*w))).sum::<f64>();
        sum(|weight| weight).abs() <= 1e-6 * sum(f64::abs)
    }

    /// How its results are best shown: the magnitudes of a derivative, other values as they are.
    pub fn show(&self) -> Show {
        if self.is_derivative() { Show::Abs } else { Show::Clamp }
    }
}

fn numbers(count: usize) -> String {
    if count == 1 { "1 number".to_owned() } else { format!("{count} numbers") }
}

/// A word of a file that may be any, short enough for a line.
fn quoted(word: &str) -> String {
    let short: String = word.chars().take(20).collect();
    format!("{short:?}{}", if short.len() < word.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &str) -> FilterKernel {
        FilterKernel::named(name).unwrap()
    }

    #[test]
    fn the_kernels_are_what_their_names_say() {
        for name in FilterKernel::names() {
            let kernel = kernel(name);
            assert_eq!(kernel.weights.len(), kernel.rows * kernel.columns, "{name}");
            let sum: f32 = kernel.weights.iter().sum();
            let expected = if kernel.is_derivative() { 0.0 } else { 1.0 };
            assert!((sum - expected).abs() < 1e-6, "{name}: {sum}");
        }
        let derivatives = FilterKernel::names().filter(|name| kernel(name).is_derivative());
        assert!(derivatives.eq(["sobel-x", "sobel-y", "edge"]));
        assert_eq!(FilterKernel::named("sobel"), None);

        let (blur, unsharp) = (kernel("gaussian5"), kernel("unsharp"));
        let sum: Vec<f32> = blur.weights.iter().zip(&unsharp.weights).map(|(a, b)| a + b).collect();
        let twice: Vec<f32> = (0..25).map(|i| if i == 12 { 2.0 } else { 0.0 }).collect();
        assert_eq!(sum, twice);
        let transposed: Vec<f32> = (0..9).map(|i| kernel("sobel-x").weights[i % 3 * 3 + i / 3]).collect();
        assert_eq!(transposed, kernel("sobel-y").weights);
    }

    #[test]
    fn a_file_holds_rows_of_numbers() {
        let parse = |text| FilterKernel::parse(Path::new("some/k.txt"), text).unwrap();
        let kernel = parse("\u{feff}# a gradient\r\n-1, 0,1\n\n  -2.5\t0  2e0 # twice\n");
        assert_eq!((kernel.name(), kernel.rows(), kernel.columns()), ("k.txt", 2, 3));
        assert_eq!(kernel.weights(), [-1.0, 0.0, 1.0, -2.5, 0.0, 2.0]);
        assert_eq!((parse("2").show(), parse("1 -1").show()), (Show::Clamp, Show::Abs));
        assert_eq!(parse("1;2".replace(';', ",").as_str()).weights(), [1.0, 2.0]);
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let refused = |text: &str| {
            let error = FilterKernel::parse(Path::new("k.txt"), text).unwrap_err();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert_eq!(refused(" \n# 1 2\n"), "k.txt: not a filter kernel: no numbers in it");
        assert_eq!(
            refused("\n1 2 3\n4 5\n"),
            "k.txt: not a filter kernel: line 3 has 2 numbers, line 2 has 3 numbers"
        );
        assert_eq!(refused("1 x"), "k.txt: not a filter kernel: line 1: \"x\" is not a number");
        assert_eq!(refused("inf"), "k.txt: not a filter kernel: line 1: \"inf\" is not a number");
        assert_eq!(
            refused(&"1 ".repeat(20_000)),
            "k.txt: not a filter kernel: 20000x1 is 20000 numbers, over the limit of 16384"
        );
        assert!(refused(&"y".repeat(999)).len() < 90);
    }
}
