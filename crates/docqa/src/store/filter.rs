use std::ops::RangeInclusive;

use crate::chunk::Chunk;

/// Which chunks a search may find. [`Filter::default`] lets all pass; conditions add up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    source: Option<String>,
    pages: Option<RangeInclusive<u32>>,
}

impl Filter {
    /// Only chunks of the document with this source.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Only chunks that stand on this page, wholly or in part.
    #[must_use]
    pub fn page(self, page: u32) -> Self {
        self.pages(page..=page)
    }

    /// Only chunks that stand on one of these pages, wholly or in part. Chunks of text and Markdown have no
    /// page and do not pass.
    #[must_use]
    pub fn pages(mut self, pages: RangeInclusive<u32>) -> Self {
        self.pages = Some(pages);
        self
    }

    /// The source that it asks for.
    pub(super) fn only_source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The pages that it asks for.
    pub(super) fn only_pages(&self) -> Option<&RangeInclusive<u32>> {
        self.pages.as_ref()
    }

    /// Whether a chunk passes.
    pub fn accepts(&self, chunk: &Chunk) -> bool {
        let on_pages = |pages: &RangeInclusive<u32>| {
            chunk.page.is_some_and(|first| {
                let last = chunk.page_end.unwrap_or(first);
                first <= *pages.end() && last >= *pages.start()
            })
        };
        self.source.as_ref().is_none_or(|source| *source == chunk.source)
            && self.pages.as_ref().is_none_or(on_pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(source: &str, page: Option<u32>, page_end: Option<u32>) -> Chunk {
        Chunk {
            text: "text".into(),
            source: source.into(),
            page,
            page_end,
            chunk_id: 0,
            chunk_size: 4,
            timestamp: String::new(),
            start: 0,
        }
    }

    #[test]
    fn conditions_add_up() {
        let on_3_to_4 = chunk("a.pdf", Some(3), Some(4));
        let text = chunk("b.md", None, None);
        for (filter, pdf_passes, text_passes) in [
            (Filter::default(), true, true),
            (Filter::default().source("a.pdf"), true, false),
            (Filter::default().source("b.md"), false, true),
            (Filter::default().page(2), false, false),
            (Filter::default().page(3), true, false),
            (Filter::default().page(4), true, false),
            (Filter::default().page(5), false, false),
            (Filter::default().pages(4..=9), true, false),
            (Filter::default().pages(1..=2), false, false),
            (Filter::default().source("b.md").page(3), false, false),
        ] {
            assert_eq!(filter.accepts(&on_3_to_4), pdf_passes, "{filter:?}");
            assert_eq!(filter.accepts(&text), text_passes, "{filter:?}");
        }
    }
}
