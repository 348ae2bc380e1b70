//! Chunks: the passages that a document is cut into.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::DocqaError;
use crate::load::Document;
use crate::split::{self, SplitOptions};

/// A passage of a document, and where it stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The passage.
    pub text: String,
    /// The document's path as it was given.
    pub source: String,
    /// The page of its first character (white space aside); `None` for text and Markdown.
    pub page: Option<u32>,
    /// The page of its last character, where that is another one than `page`.
    pub page_end: Option<u32>,
    /// Its number within its document, from 0.
    pub chunk_id: usize,
    /// Its length in Unicode scalar values.
    pub chunk_size: usize,
    /// When it was made: RFC 3339, in UTC.
    pub timestamp: String,
    /// The byte of the document's text at which it begins.
    pub start: usize,
}

impl Chunk {
    /// The byte of the document's text before which it ends.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// What `kiln split --json` shows of it.
    pub fn view(&self) -> ChunkView<'_> {
        let Self { text, source, page, page_end, chunk_id, chunk_size, .. } = self;
        ChunkView {
            text,
            source,
            page: *page,
            page_end: *page_end,
            chunk_id: *chunk_id,
            chunk_size: *chunk_size,
        }
    }
}

/// A chunk without what only a store needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChunkView<'a> {
    /// See [`Chunk::text`].
    pub text: &'a str,
    /// See [`Chunk::source`].
    pub source: &'a str,
    /// See [`Chunk::page`].
    pub page: Option<u32>,
    /// See [`Chunk::page_end`].
    pub page_end: Option<u32>,
    /// See [`Chunk::chunk_id`].
    pub chunk_id: usize,
    /// See [`Chunk::chunk_size`].
    pub chunk_size: usize,
}

/// Splits each document whole, in order.
pub fn chunks(documents: &[Document], options: &SplitOptions) -> Result<Vec<Chunk>, DocqaError> {
    let timestamp = now();
    let mut chunks = Vec::new();
    for document in documents {
        for (chunk_id, range) in split::split(&document.text, options)?.into_iter().enumerate() {
            let text = &document.text[range.clone()];
            let visible = split::strip(&document.text, range.clone());
            let page = document.page_at(visible.start);
            let last = visible.end.saturating_sub(1).max(visible.start);
            let page_end = document.page_at(last).filter(|&end| Some(end) != page);
            chunks.push(Chunk {
                text: text.to_string(),
                source: document.source.clone(),
                page,
                page_end,
                chunk_id,
                chunk_size: text.chars().count(),
                timestamp: timestamp.clone(),
                start: range.start,
            });
        }
    }
    Ok(chunks)
}

/// This second, as RFC 3339 in UTC.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::PageStart;

    fn three_pages() -> Document {
        Document {
            source: "three.pdf".into(),
            text: "\n\nPage one ends. \nPage two, wörds. More words here.\nLast page.".into(),
            pages: vec![
                PageStart { number: 1, start: 0 },
                PageStart { number: 3, start: 18 },
                PageStart { number: 4, start: 53 },
            ],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn chunks_know_their_pages() {
        let document = three_pages();
        assert_eq!(&document.text[18..22], "Page");
        assert_eq!(&document.text[53..57], "Last");
        let options = SplitOptions { chunk_size: 24, chunk_overlap: 0, ..SplitOptions::default() };
        let got = chunks(std::slice::from_ref(&document), &options).unwrap();
        let seen: Vec<_> = got.iter().map(|c| (c.text.as_str(), c.page, c.page_end)).collect();
        assert_eq!(
            seen,
            [
                ("Page one ends.", Some(1), None),
                ("Page two, wörds", Some(3), None),
                (". More words here.", Some(3), None),
                ("Last page.", Some(4), None),
            ]
        );
        for (at, chunk) in got.iter().enumerate() {
            assert_eq!(&document.text[chunk.start..chunk.end()], chunk.text);
            assert_eq!((chunk.chunk_id, chunk.chunk_size), (at, chunk.text.chars().count()));
            assert_eq!(chunk.source, "three.pdf");
            assert!(chunk.timestamp.parse::<Timestamp>().is_ok() && chunk.timestamp.ends_with('Z'));
        }
    }

    #[test]
    fn a_chunk_over_a_page_break_has_both_pages() {
        let got = chunks(&[three_pages()], &SplitOptions::default()).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].page, got[0].page_end), (Some(1), Some(4)));
    }

    #[test]
    fn white_space_does_not_decide_the_page() {
        // The one piece is too long and is taken with the newline that joins the pages.
        let options = SplitOptions { chunk_size: 10, chunk_overlap: 0, separators: vec!["\n".into()] };
        let got = chunks(&[three_pages()], &options).unwrap();
        let two = got.iter().find(|chunk| chunk.text.starts_with("\nPage two")).unwrap();
        assert_eq!((two.page, two.page_end), (Some(3), None));
    }

    #[test]
    fn text_has_no_pages() {
        let document = Document { pages: Vec::new(), ..three_pages() };
        let got = chunks(&[document], &SplitOptions::default()).unwrap();
        assert_eq!((got[0].page, got[0].page_end), (None, None));
        let view = serde_json::to_value(got[0].view()).unwrap();
        let keys: Vec<&str> = view.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 6);
        for key in ["text", "source", "page", "page_end", "chunk_id", "chunk_size"] {
            assert!(keys.contains(&key), "{key}");
        }
    }
}
