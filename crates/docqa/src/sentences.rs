//! Finds the sentences of a document that can stand as answers: whole ones, in running text.

mod lines;
mod paragraphs;
mod prose;

use std::ops::Range;

use crate::load::Document;

/// A sentence in running text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// Its words on one line.
    pub(crate) text: String,
    /// Where it stands in the document's text. A page number that interrupts it counts as inside.
    pub(crate) range: Range<usize>,
    /// Which paragraph it belongs to, counted from 0 within the document.
    pub(crate) paragraph: usize,
}

/// All sentences of a document that could answer a question, in reading order. Left out are headings,
/// tables, formulas, code, running heads, page numbers, fragments, and sentences that themselves ask.
pub(crate) fn sentences(document: &Document) -> Vec<Sentence> {
    let lines = lines::lines(document);
    let mut found = Vec::new();
    for (at, paragraph) in paragraphs::paragraphs(document, &lines).into_iter().enumerate() {
        for part in prose::split(&paragraph.text) {
            let text = &paragraph.text[part.clone()];
            if prose::can_answer(text) {
                found.push(Sentence {
                    text: text.to_string(),
                    range: paragraph.source_range(part),
                    paragraph: at,
                });
            }
        }
    }
    found
}

/// All of a passage in pieces that can be read one without the other, each on one line: its sentences, whatever
/// they are, and its headings and rows of tables.
pub(crate) fn pieces(passage: &str) -> Vec<String> {
    let cut = |paragraph: paragraphs::Paragraph| {
        let parts = prose::split(&paragraph.text).into_iter();
        parts.map(|part| paragraph.text[part].to_string()).collect::<Vec<_>>()
    };
    paragraphs::of_passage(passage).into_iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_passage_leave_nothing_out() {
        let passage = "cut off here. # no heading\n# Glazes\nCopper turns\ngreen, e.g. in air.  Does it?\n\n\
                       | a | b |\n| 1 | 2 |\n- one\n- two\n  goes on\n\nand the";
        assert_eq!(
            pieces(passage),
            [
                "cut off here.",
                "# no heading",
                "# Glazes",
                "Copper turns green, e.g. in air.",
                "Does it?",
                "| a | b |",
                "| 1 | 2 |",
                "- one",
                "- two goes on",
                "and the"
            ]
        );
        assert!(pieces(" \n").is_empty());
        assert_eq!(pieces("窑是一种\n炉子。它很热！"), ["窑是一种炉子。", "它很热！"]);
    }
}
