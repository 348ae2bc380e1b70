//! Paragraphs of running text, put together from lines.

use std::ops::Range;

use super::lines::Line;
use crate::load::Document;

/// A paragraph on one line, and where each of its pieces came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paragraph {
    pub(super) text: String,
    /// For each line: where it begins in `text`, and the words' own offsets.
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// Where a word begins in the paragraph.
    at: usize,
    /// Where it begins in the document.
    source: usize,
}

impl Paragraph {
    fn push(&mut self, document: &str, line: Range<usize>) {
        let mut from = line.start;
        for word in document[line].split_whitespace() {
            let source = from + document[from..].find(word).unwrap_or_default();
            let joined = self.text.ends_with(is_cjk) && word.starts_with(is_cjk);
            if !self.text.is_empty() && !joined {
                self.text.push(' ');
            }
            self.pieces.push(Piece { at: self.text.len(), source });
            self.text.push_str(word);
            from = source + word.len();
        }
    }

    /// The place in the document of a part of the paragraph that is not empty.
    pub(super) fn source_range(&self, part: Range<usize>) -> Range<usize> {
        let source = |offset: usize| {
            let after = self.pieces.partition_point(|piece| piece.at <= offset);
            let piece = self.pieces[after.saturating_sub(1)];
            piece.source + (offset - piece.at)
        };
        source(part.start)..source(part.end - 1) + 1
    }
}

/// Scripts written without spaces, whose lines are joined without one.
fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

/// The paragraphs of running text, in order. Lines that Markdown sets apart (headings, tables, code,
/// rules) are left out, and so are lines that look like headings.
pub(super) fn paragraphs(document: &Document, lines: &[Line]) -> Vec<Paragraph> {
    let text = &document.text;
    let width = usual_width(text, lines);
    let has_pages = !document.pages.is_empty();
    let mut paragraphs = Vec::new();
    let mut current = Paragraph::default();
    let mut previous: Option<&str> = None;
    let mut in_code = false;
    for line in lines {
        let words = &text[line.range.clone()];
        if !has_pages {
            let fence = words.starts_with("```") || words.starts_with("~~~");
            in_code ^= fence;
            if in_code || fence || is_markup(words) {
                paragraphs.push(std::mem::take(&mut current));
                previous = None;
                continue;
            }
        }
        let (marked, body) = without_marker(words);
        let goes_on = !marked
            && previous.is_some_and(|before| {
                if line.first_on_page {
                    continues_over_page(before, words, width)
                } else if line.after_blank {
                    has_pages && continues_over_blank(before, words, width)
                } else {
                    !is_heading(before, words, width)
                }
            });
        if !goes_on {
            paragraphs.push(std::mem::take(&mut current));
        }
        let start = line.range.end - body.len();
        current.push(text, start..line.range.end);
        previous = Some(words);
    }
    paragraphs.push(current);
    paragraphs.retain(|paragraph| !paragraph.text.is_empty());
    paragraphs
}

/// The paragraphs of a passage, which knows nothing of the document around it: blank lines part them, items of a
/// list begin anew, and lines that Markdown sets apart stand alone.
pub(super) fn of_passage(passage: &str) -> Vec<Paragraph> {
    let mut paragraphs = Vec::new();
    let mut current = Paragraph::default();
    let mut start = 0;
    for line in passage.split_inclusive('\n') {
        let words = line.trim();
        let alone = words.is_empty() || is_markup(words);
        if alone || without_marker(words).0 {
            paragraphs.push(std::mem::take(&mut current));
        }
        current.push(passage, start..start + line.len());
        if alone {
            paragraphs.push(std::mem::take(&mut current));
        }
        start += line.len();
    }
    paragraphs.push(current);
    paragraphs.retain(|paragraph| !paragraph.text.is_empty());
    paragraphs
}

/// The length, in characters, that a full line has in this document.
fn usual_width(text: &str, lines: &[Line]) -> usize {
    let mut widths: Vec<usize> = lines.iter().map(|line| text[line.range.clone()].chars().count()).collect();
    widths.sort_unstable();
    widths.get(widths.len() * 4 / 5).copied().unwrap_or(0)
}

/// Markdown's lines that are no running text: headings, rules, underlines of headings, tables, HTML.
fn is_markup(line: &str) -> bool {
    let is_rule = line.len() >= 3 && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | ' '));
    let hashes = line.len() - line.trim_start_matches('#').len();
    let is_heading = (1..=6).contains(&hashes) && line[hashes..].starts_with([' ', '\t']);
    let is_table = line.starts_with('|') || line.matches(" | ").count() >= 2;
    let is_html = line.starts_with('<') && line.ends_with('>');
    is_rule || is_heading || is_table || is_html
}

/// Takes a list's or a quotation's marker from a line, and says whether it opens a paragraph.
fn without_marker(line: &str) -> (bool, &str) {
    for bullet in ["- ", "* ", "+ ", "• ", "◦ ", "▪ ", "‣ ", "· "] {
        if let Some(body) = line.strip_prefix(bullet) {
            return (true, body.trim_start());
        }
    }
    if let Some(body) = line.strip_prefix("> ") {
        return (false, body.trim_start());
    }
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if (1..=2).contains(&digits)
        && let Some(body) = line[digits..].strip_prefix(". ").or_else(|| line[digits..].strip_prefix(") "))
    {
        return (true, body.trim_start());
    }
    (false, line)
}

/// Whether a line that another one follows directly is a heading: short, not ended like a sentence, and
/// followed by a new beginning.
fn is_heading(line: &str, next: &str, width: usize) -> bool {
    !ends_sentence(line)
        && is_short(line, width, 65)
        && begins_anew(next)
        && !line.ends_with([',', ';', '-', '–', '—'])
}

/// Lines set widely apart come with a blank line between them: the sentence goes on if it was not over
/// and the next line begins in lower case. A formula belongs to the words that it is announced by.
fn continues_over_blank(before: &str, next: &str, width: usize) -> bool {
    if before.ends_with(':') && super::prose::is_formula(next) {
        return true;
    }
    !ends_sentence(before) && !is_short(before, width, 50) && next.starts_with(char::is_lowercase)
}

fn continues_over_page(before: &str, next: &str, width: usize) -> bool {
    !ends_sentence(before)
        && !is_short(before, width, if next.starts_with(char::is_lowercase) { 30 } else { 75 })
}

fn is_short(line: &str, width: usize, percent: usize) -> bool {
    line.chars().count() * 100 < width * percent
}

fn begins_anew(line: &str) -> bool {
    line.starts_with(|c: char| c.is_uppercase() || c.is_numeric() || "“\"‘('".contains(c))
}

/// Whether a line ends as a sentence does, with or without a closing quote or bracket.
fn ends_sentence(line: &str) -> bool {
    line.trim_end_matches(super::prose::is_closing)
        .ends_with(|c: char| super::prose::is_terminal(c) || c == ':')
}

#[cfg(test)]
mod tests {
    use super::super::lines::lines;
    use super::*;
    use crate::load::PageStart;

    fn of_text(text: &str) -> Vec<String> {
        let document =
            Document { source: "a.md".into(), text: text.into(), pages: Vec::new(), skipped: Vec::new() };
        paragraphs(&document, &lines(&document)).into_iter().map(|p| p.text).collect()
    }

    fn of_pages(pages: &[&str]) -> Vec<String> {
        let mut text = String::new();
        let mut starts = Vec::new();
        for (at, page) in pages.iter().enumerate() {
            starts.push(PageStart { number: at as u32 + 1, start: text.len() });
            text.push_str(page);
            text.push('\n');
        }
        let document = Document { source: "a.pdf".into(), text, pages: starts, skipped: Vec::new() };
        paragraphs(&document, &lines(&document)).into_iter().map(|p| p.text).collect()
    }

    #[test]
    fn lines_are_joined_and_blank_lines_part() {
        assert_eq!(of_text("one two\nthree  four \n\nfive\nsix"), ["one two three four", "five six"]);
        assert_eq!(of_text("窑是一种\n炉子。\n\nabc"), ["窑是一种炉子。", "abc"]);
    }

    #[test]
    fn a_formula_belongs_to_the_words_before_it() {
        let page =
            "It smooths the path by accumulating a velocity:\n\n𝑣 ← 𝑚𝑣 + 𝑔. (5)\n\nHere 𝑔 is the gradient.";
        assert_eq!(
            of_pages(&[page]),
            ["It smooths the path by accumulating a velocity: 𝑣 ← 𝑚𝑣 + 𝑔. (5)", "Here 𝑔 is the gradient."]
        );
        assert_eq!(of_pages(&["It needs three things:\n\nA loss function."]).len(), 2);
    }

    #[test]
    fn markdown_structure_is_left_out() {
        let text = "# Head\nText here.\n\n```rust\nlet x = 1;\n```\n| a | b |\n|---|---|\nSetext\n======\n- item one\n  goes on\n- item two\n1. first\n> quoted\n> more\n<br>\n#hashtag stays";
        assert_eq!(
            of_text(text),
            ["Text here.", "Setext", "item one goes on", "item two", "first quoted more", "#hashtag stays"]
        );
    }

    #[test]
    fn headings_of_pdf_files_are_set_apart() {
        let page = "3.1 The kiln\nA kiln is an oven that gets hot enough to turn clay into stone for good,\nand it has walls. The oven that Anna built in the yard was\nPolish in style, as was the house that stood near it, and the whole yard.\n\nShort\n\nEnd of it.";
        assert_eq!(
            of_pages(&[page]),
            [
                "3.1 The kiln",
                "A kiln is an oven that gets hot enough to turn clay into stone for good, and it has walls. The oven that Anna built in the yard was Polish in style, as was the house that stood near it, and the whole yard.",
                "Short",
                "End of it."
            ]
        );
    }

    #[test]
    fn a_sentence_goes_on_over_a_page_number() {
        let first = "The kiln was lit on a Monday, when the wind came from the north and\n\n7";
        let second = "\n\nthe wood was dry. It burned well.";
        assert_eq!(
            of_pages(&[first, second]),
            [
                "The kiln was lit on a Monday, when the wind came from the north and the wood was dry. It burned well."
            ]
        );
        let over = of_pages(&["The kiln was lit on a Monday, when the wind came.\n\n7", "\n\nNext day."]);
        assert_eq!(over.len(), 2);
    }

    #[test]
    fn widely_set_lines_are_joined() {
        let page = "The kiln was lit on a Monday, when the wind came\n\nfrom the north. All the wood that had been\n\nstacked was dry.";
        assert_eq!(of_pages(&[page]).len(), 1);
    }

    #[test]
    fn parts_know_their_place() {
        let text = "\n  one   two\nthree\n\nfour";
        let document =
            Document { source: "a.md".into(), text: text.into(), pages: Vec::new(), skipped: Vec::new() };
        let found = paragraphs(&document, &lines(&document));
        let paragraph = &found[0];
        assert_eq!(paragraph.text, "one two three");
        for word in ["one", "two", "three", "two three", "wo thre"] {
            let at = paragraph.text.find(word).unwrap();
            let range = paragraph.source_range(at..at + word.len());
            assert_eq!(text[range].split_whitespace().collect::<Vec<_>>().join(" "), word);
        }
    }
}
