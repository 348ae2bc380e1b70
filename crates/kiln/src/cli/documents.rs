//! What the commands over documents share: options, the cache, the progress of an index.

use std::path::PathBuf;

use clap::Args;
use kiln::docqa::index::Progress as Step;
use kiln::docqa::split::SplitOptions;
use kiln::docqa::store::Filter;
use kiln::gpu::Gpu;

use super::context::Context;
use super::encoder::store;
use super::error::CliError;

/// How documents are split into passages.
#[derive(Debug, Args)]
pub(crate) struct SplitArgs {
    /// The most characters of a passage
    #[arg(long, value_name = "N", default_value_t = 500)]
    chunk_size: usize,

    /// The most characters that a passage repeats from the one before it
    #[arg(long, value_name = "N", default_value_t = 50)]
    chunk_overlap: usize,

    /// Where to split, the first separator found; may be given several times, with \n, \t and \\ for
    /// line end, tab and backslash [default: "\n\n", "\n", ". ", "! ", "? "]
    #[arg(long = "separator", value_name = "TEXT")]
    separators: Vec<String>,
}

impl SplitArgs {
    /// The options, checked.
    pub(crate) fn options(&self) -> Result<SplitOptions, CliError> {
        let mut options = SplitOptions {
            chunk_size: self.chunk_size,
            chunk_overlap: self.chunk_overlap,
            ..SplitOptions::default()
        };
        if !self.separators.is_empty() {
            options.separators = self.separators.iter().map(|text| unescape(text)).collect();
        }
        options.check()?;
        Ok(options)
    }
}

/// Which passages may be found.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only passages of this document, named as it was when indexed
    #[arg(long, value_name = "PATH")]
    source: Option<String>,

    /// Only passages on this page
    #[arg(long, value_name = "N")]
    page: Option<u32>,
}

impl FilterArgs {
    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        if let Some(source) = &self.source {
            filter = filter.source(source);
        }
        match self.page {
            Some(page) => filter.page(page),
            None => filter,
        }
    }
}

/// The directory of the indexes that Kiln makes by itself.
pub(crate) fn index_cache() -> Result<PathBuf, CliError> {
    let config = store().config().clone();
    let cache = config.cache_dir.ok_or_else(|| {
        CliError::Runtime("the system names no cache directory; set KILN_CACHE to one, or use --store".into())
    })?;
    Ok(cache.join("indexes"))
}

/// Shows how far the making of an index is, once its documents have been read.
pub(crate) fn index_progress(context: &Context, gpu: &Gpu) -> impl FnMut(Step) {
    let mut bar = None;
    move |step| {
        if let Step::Embedding { done, total } = step {
            context.announce(gpu);
            bar.get_or_insert_with(|| context.progress("embedding", total)).set(done as u64);
        }
    }
}

/// Where a passage stands: its document, and there the page or, where there are none, its number.
pub(crate) fn place(source: &str, page: Option<u32>, page_end: Option<u32>, chunk_id: usize) -> String {
    match (page, page_end) {
        (None, _) => format!("{source}, passage {chunk_id}"),
        (Some(page), None) => format!("{source}, page {page}"),
        (Some(page), Some(end)) => format!("{source}, pages {page}-{end}"),
    }
}

/// `1 document`, `2 documents`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Replaces `\n`, `\t` and `\\`; leaves any other backslash as it is.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let mut ahead = rest.clone();
        let replaced = match (c, ahead.next()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some('t')) => '\t',
            ('\\', Some('\\')) => '\\',
            _ => {
                plain.push(c);
                continue;
            }
        };
        plain.push(replaced);
        rest = ahead;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_characters() {
        for (typed, meant) in [
            (r"\n\n", "\n\n"),
            (r"a\tb", "a\tb"),
            (r"\\n", r"\n"),
            (r"\d", r"\d"),
            ("\\", "\\"),
            (". ", ". "),
            ("", ""),
        ] {
            assert_eq!(unescape(typed), meant, "{typed}");
        }
    }

    #[test]
    fn places_read_well() {
        assert_eq!(place("a.md", None, None, 7), "a.md, passage 7");
        assert_eq!(place("a.pdf", Some(3), None, 7), "a.pdf, page 3");
        assert_eq!(place("a.pdf", Some(3), Some(4), 7), "a.pdf, pages 3-4");
        assert_eq!((count(1, "document"), count(0, "document")), ("1 document".into(), "0 documents".into()));
    }
}
