//! Splits text as LangChain's `RecursiveCharacterTextSplitter` does (`keep_separator=True`,
//! `strip_whitespace=True`), and keeps where each piece stood.
//!
//! With the separator kept at the start of a piece, pieces are slices of the text that follow each
//! other without a gap, and a chunk is a run of pieces. So offsets never have to be searched for:
//! a chunk *is* a byte range.

use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::DocqaError;

/// How text is split. Sizes count Unicode scalar values, as Python's `len` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitOptions {
    /// The most characters a chunk may have. A piece in which no separator is left may be longer.
    pub chunk_size: usize,
    /// The most characters that a chunk repeats from the one before it.
    pub chunk_overlap: usize,
    /// Tried in order: the first that occurs in the text splits it, and those after it split what is
    /// still too long. The empty string splits between any two characters.
    pub separators: Vec<String>,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self {
            chunk_size: 500,
            chunk_overlap: 50,
            separators: ["\n\n", "\n", ". ", "! ", "? "].map(String::from).to_vec(),
        }
    }
}

impl SplitOptions {
    /// Refuses a size of zero, an overlap larger than the size, and an empty list of separators.
    pub fn check(&self) -> Result<(), DocqaError> {
        let Self { chunk_size, chunk_overlap, separators } = self;
        if *chunk_size == 0 {
            return Err(DocqaError::SplitOptions("chunk size 0: expected at least 1".into()));
        }
        if chunk_overlap > chunk_size {
            return Err(DocqaError::SplitOptions(format!(
                "chunk overlap {chunk_overlap}: expected at most the chunk size, {chunk_size}"
            )));
        }
        if separators.is_empty() {
            return Err(DocqaError::SplitOptions("no separators: expected at least one".into()));
        }
        Ok(())
    }
}

/// Splits `text` and gives each chunk as its byte range in `text`, in LangChain's order.
///
/// `&text[range]` is the chunk, character for character. Chunks may overlap and are never empty.
pub fn split(text: &str, options: &SplitOptions) -> Result<Vec<Range<usize>>, DocqaError> {
    options.check()?;
    let mut splitter = Splitter { text, options, chunks: Vec::new() };
    splitter.recurse(0..text.len(), &options.separators);
    Ok(splitter.chunks)
}

struct Splitter<'a> {
    text: &'a str,
    options: &'a SplitOptions,
    chunks: Vec<Range<usize>>,
}

/// A slice of the text and its length in characters.
struct Piece {
    range: Range<usize>,
    chars: usize,
}

impl Splitter<'_> {
    fn recurse(&mut self, range: Range<usize>, separators: &[String]) {
        let part = &self.text[range.clone()];
        // Where none occurs, the last one "splits" the text into itself.
        let mut separator = separators.last().map_or("", String::as_str);
        let mut finer: &[String] = &[];
        for (at, candidate) in separators.iter().enumerate() {
            if candidate.is_empty() {
                separator = "";
                break;
            }
            if part.contains(candidate.as_str()) {
                separator = candidate;
                finer = &separators[at + 1..];
                break;
            }
        }

        let mut short = Vec::new();
        for piece in pieces(part, range.start, separator) {
            // Strictly less: a piece of exactly the chunk size is split further.
            if piece.chars < self.options.chunk_size {
                short.push(piece);
                continue;
            }
            self.merge(std::mem::take(&mut short));
            if finer.is_empty() {
                // Taken as it is, neither cut nor stripped.
                self.chunks.push(piece.range);
            } else {
                self.recurse(piece.range, finer);
            }
        }
        self.merge(short);
    }

    /// Joins neighbouring pieces into chunks as long as they fit, each chunk starting with as many of
    /// the last one's pieces as fit in the overlap.
    fn merge(&mut self, pieces: Vec<Piece>) {
        let SplitOptions { chunk_size, chunk_overlap, .. } = *self.options;
        let mut current: VecDeque<Piece> = VecDeque::new();
        let mut total = 0;
        for piece in pieces {
            if total + piece.chars > chunk_size {
                self.close(&current);
                while total > chunk_overlap || (total + piece.chars > chunk_size && total > 0) {
                    let Some(dropped) = current.pop_front() else { break };
                    total -= dropped.chars;
                }
            }
            total += piece.chars;
            current.push_back(piece);
        }
        self.close(&current);
    }

    fn close(&mut self, run: &VecDeque<Piece>) {
        if let (Some(first), Some(last)) = (run.front(), run.back()) {
            let stripped = strip(self.text, first.range.start..last.range.end);
            if !stripped.is_empty() {
                self.chunks.push(stripped);
            }
        }
    }
}

/// Cuts `part` before each occurrence of `separator` (found left to right, not overlapping).
fn pieces(part: &str, offset: usize, separator: &str) -> Vec<Piece> {
    let mut cuts: Vec<usize> = if separator.is_empty() {
        part.char_indices().map(|(at, _)| at).collect()
    } else {
        part.match_indices(separator).map(|(at, _)| at).collect()
    };
    cuts.push(part.len());
    let mut start = 0;
    let mut pieces = Vec::new();
    for cut in cuts {
        if cut > start {
            let chars = part[start..cut].chars().count();
            pieces.push(Piece { range: offset + start..offset + cut, chars });
            start = cut;
        }
    }
    pieces
}

/// The range without white space at its ends, as Python's `str.strip()` has it.
pub(crate) fn strip(text: &str, range: Range<usize>) -> Range<usize> {
    let slice = &text[range.clone()];
    let start = range.start + (slice.len() - slice.trim_start_matches(is_python_space).len());
    let end = range.end - (slice.len() - slice.trim_end_matches(is_python_space).len());
    start..end.max(start)
}

/// Python's `str.isspace()` for one character: Unicode's white space and the four separators
/// U+001C to U+001F, which Rust's `char::is_whitespace` leaves out.
pub(crate) fn is_python_space(c: char) -> bool {
    matches!(
        c,
        '\u{9}'..='\u{d}'
            | '\u{1c}'..='\u{20}'
            | '\u{85}'
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202f}'
            | '\u{205f}'
            | '\u{3000}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        python_white_space: Vec<u32>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        text: String,
        results: Vec<Expected>,
    }

    #[derive(Deserialize)]
    struct Expected {
        #[serde(flatten)]
        options: SplitOptions,
        chunks: Vec<String>,
    }

    fn golden() -> Golden {
        serde_json::from_str(include_str!("../../../assets/goldens/splitter/expected.json"))
            .expect("the golden should be as its script wrote it")
    }

    #[test]
    fn chunks_are_those_of_langchain() {
        let golden = golden();
        assert!(golden.cases.len() >= 4);
        for case in golden.cases {
            for Expected { options, chunks } in case.results {
                let got = split(&case.text, &options).unwrap();
                let got: Vec<&str> = got.into_iter().map(|range| &case.text[range]).collect();
                assert_eq!(got, chunks, "{} with {options:?}", case.name);
            }
        }
    }

    #[test]
    fn ranges_follow_each_other_and_leave_out_white_space_alone() {
        for case in golden().cases {
            for Expected { options, .. } in case.results {
                let ranges = split(&case.text, &options).unwrap();
                let mut covered = 0;
                let mut last_start = 0;
                for range in ranges {
                    assert!(range.start >= last_start, "{} with {options:?}", case.name);
                    last_start = range.start;
                    if range.start > covered {
                        let gap = &case.text[covered..range.start];
                        assert!(gap.chars().all(is_python_space), "{gap:?} lost in {}", case.name);
                    }
                    covered = covered.max(range.end);
                }
                assert!(case.text[covered..].chars().all(is_python_space));
            }
        }
    }

    #[test]
    fn white_space_is_that_of_python() {
        let ours: Vec<u32> = ('\0'..=char::MAX).filter(|&c| is_python_space(c)).map(|c| c as u32).collect();
        assert_eq!(ours, golden().python_white_space);
    }

    #[test]
    fn bad_options_are_named() {
        let message = |change: fn(&mut SplitOptions)| {
            let mut options = SplitOptions::default();
            change(&mut options);
            let error = split("text", &options).unwrap_err();
            assert!(error.is_input_error());
            error.to_string()
        };
        assert_eq!(message(|o| o.chunk_size = 0), "chunk size 0: expected at least 1");
        assert_eq!(
            message(|o| o.chunk_overlap = 501),
            "chunk overlap 501: expected at most the chunk size, 500"
        );
        assert_eq!(message(|o| o.separators.clear()), "no separators: expected at least one");
    }
}
