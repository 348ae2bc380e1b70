//! The lines of a document, without page furniture.

use std::collections::HashMap;
use std::ops::Range;

use crate::load::Document;

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it stands in the document's text, without the white space around it.
    pub(super) range: Range<usize>,
    /// Whether at least one blank line stands before it on its page.
    pub(super) after_blank: bool,
    /// Whether it is the first of its page that counts.
    pub(super) first_on_page: bool,
}

/// The lines of `document`, less page numbers and running heads.
pub(super) fn lines(document: &Document) -> Vec<Line> {
    if document.pages.is_empty() {
        return lines_of(&document.text, 0..document.text.len());
    }
    let ends = document.pages.iter().skip(1).map(|page| page.start).chain([document.text.len()]);
    let mut pages: Vec<Vec<Line>> = document
        .pages
        .iter()
        .zip(ends)
        .map(|(page, end)| lines_of(&document.text, page.start..end))
        .collect();
    let repeated = repeated_edges(&document.text, &pages);
    for page in &mut pages {
        let is_furniture = |line: &Line| {
            let text = &document.text[line.range.clone()];
            is_page_number(text) || repeated.get(&shape(text)).is_some_and(|&count| count >= REPEATED)
        };
        for _ in 0..EDGE {
            if page.first().is_some_and(is_furniture) {
                page.remove(0);
            }
            if page.last().is_some_and(is_furniture) {
                page.pop();
            }
        }
        if let Some(first) = page.first_mut() {
            first.first_on_page = true;
        }
    }
    pages.into_iter().flatten().collect()
}

/// A running head has up to this many lines.
const EDGE: usize = 2;
/// A line at the edge of this many pages is a running head.
const REPEATED: usize = 3;

fn lines_of(text: &str, range: Range<usize>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = range.start;
    let mut after_blank = true;
    for raw in text[range].split_inclusive('\n') {
        let trimmed = raw.trim();
        if trimmed.is_empty() {
            after_blank = true;
        } else {
            let at = start + (raw.len() - raw.trim_start().len());
            lines.push(Line { range: at..at + trimmed.len(), after_blank, first_on_page: false });
            after_blank = false;
        }
        start += raw.len();
    }
    lines
}

/// How many pages have a line of each shape at their edges.
fn repeated_edges(text: &str, pages: &[Vec<Line>]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for page in pages {
        let edges = page.iter().take(EDGE).chain(page.iter().skip(EDGE).rev().take(EDGE));
        for line in edges {
            *counts.entry(shape(&text[line.range.clone()])).or_default() += 1;
        }
    }
    counts
}

/// A line with its digits made equal, so that `Chapter 1 … 17` is seen to repeat.
fn shape(line: &str) -> String {
    line.chars().map(|c| if c.is_numeric() { '0' } else { c }).collect()
}

/// `7`, `- 7 -`, `vii`, `Page 7`, `7 of 12`, `7 / 12`.
fn is_page_number(line: &str) -> bool {
    let line = line.to_lowercase();
    let words: Vec<&str> = line
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && !["page", "of", "p", "seite", "von"].contains(word))
        .collect();
    let is_number = |word: &&str| word.len() <= 4 && word.chars().all(|c| c.is_ascii_digit());
    let is_roman = |word: &&str| word.len() <= 6 && word.chars().all(|c| matches!(c, 'i' | 'v' | 'x'));
    match words.as_slice() {
        [one] => is_number(one) || is_roman(one),
        [one, all] => is_number(one) && is_number(all),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::PageStart;

    #[test]
    fn page_numbers_are_recognised() {
        for number in ["7", "- 7 -", "vii", "Page 7", "p. 7", "7 of 12", "7 / 12", "Page 7 of 12"] {
            assert!(is_page_number(number), "{number}");
        }
        for line in ["7 kilns", "12345", "3 4 5", "Ovid", "", "mixed"] {
            assert!(!is_page_number(line), "{line}");
        }
    }

    #[test]
    fn furniture_goes_and_text_stays() {
        let mut text = String::new();
        let mut pages = Vec::new();
        for (number, word) in (1..).zip(["clay", "fire", "glaze", "pots"]) {
            pages.push(PageStart { number, start: text.len() });
            text.push_str(&format!(
                "\n\nThe Book of Kilns\nPart {number}\n\nAbout {word}\nmore {word}\n\n{number}\n"
            ));
        }
        let document = Document { source: "a.pdf".into(), text, pages, skipped: Vec::new() };
        let seen: Vec<(String, bool, bool)> = lines(&document)
            .into_iter()
            .map(|line| (document.text[line.range].to_string(), line.after_blank, line.first_on_page))
            .collect();
        assert_eq!(seen.len(), 8, "{seen:?}");
        assert_eq!(seen[0], ("About clay".to_string(), true, true));
        assert_eq!(seen[1], ("more clay".to_string(), false, false));
        assert_eq!(seen[6], ("About pots".to_string(), true, true));
    }
}
