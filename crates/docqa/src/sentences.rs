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
