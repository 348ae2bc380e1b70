//! What the commands over documents share: options, the cache, the progress of an index.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use kiln::docqa::index::Progress as Step;
use kiln::docqa::split::SplitOptions;
use kiln::docqa::store::Filter;
use kiln::gpu::Gpu;

use super::context::Context;
use super::encoder::store;
use super::error::CliError;
use super::interrupt;
use super::numbers::{at_least_one, whole_number};

/// How documents are split into passages.
#[derive(Debug, Args)]
pub(crate) struct SplitArgs {
    /// The most characters of a passage [default: 500]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    chunk_size: Option<usize>,

    /// The most characters that a passage repeats from the one before it [default: 50]
    #[arg(long, value_name = "N", value_parser = whole_number, allow_negative_numbers = true)]
    chunk_overlap: Option<usize>,

    /// Where to split, the first separator found; may be given several times, with \n, \t and \\ for
    /// line end, tab and backslash [default: "\n\n", "\n", ". ", "! ", "? "]
    #[arg(long = "separator", value_name = "TEXT")]
    separators: Vec<String>,
}

impl SplitArgs {
    /// The options, checked.
    pub(crate) fn options(&self) -> Result<SplitOptions, CliError> {
        let mut options = SplitOptions::default();
        options.chunk_size = self.chunk_size.unwrap_or(options.chunk_size);
        options.chunk_overlap = self.chunk_overlap.unwrap_or(options.chunk_overlap);
        if !self.separators.is_empty() {
            options.separators =
                self.separators.iter().map(|text| unescape(text)).collect::<Result<_, _>>()?;
        }
        options.check()?;
        Ok(options)
    }
}

impl SplitArgs {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.chunk_size.is_some() || self.chunk_overlap.is_some() || !self.separators.is_empty()
    }
}

/// Which passages may be found.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only passages of this document, named as it was when indexed
    #[arg(long, value_name = "PATH")]
    source: Option<String>,

    /// Only passages on this page
    #[arg(long, value_name = "N", value_parser = at_least_one::<u32>, allow_negative_numbers = true)]
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

    /// Refuses a document that is not among those present.
    pub(crate) fn check<'a>(&self, present: impl IntoIterator<Item = &'a str>) -> Result<(), CliError> {
        const SHOWN: usize = 5;
        let Some(source) = &self.source else { return Ok(()) };
        let present: Vec<&str> = present.into_iter().collect();
        if present.contains(&source.as_str()) {
            return Ok(());
        }
        let mut names = present[..present.len().min(SHOWN)].join(", ");
        if present.len() > SHOWN {
            names.push_str(&format!(" and {} more", present.len() - SHOWN));
        }
        Err(CliError::Input(format!(
            "--source {source}: no such document in the index; expected one of {names}"
        )))
    }

    /// Tells that nothing was found, and what for.
    pub(crate) fn note_nothing(&self, context: &Context) {
        let place = match (&self.source, self.page) {
            (Some(source), Some(page)) => format!("is on page {page} of {source}"),
            (Some(source), None) => format!("is of {source}"),
            (None, Some(page)) => format!("is on page {page}"),
            (None, None) => "is in the index".into(),
        };
        context.note(format_args!("no passage {place}"));
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

/// Shows how far the making of an index is, once its documents have been read; breaks off where Ctrl-C was pressed.
pub(crate) fn index_progress(context: &Context, gpu: &Gpu) -> impl FnMut(Step) -> ControlFlow<()> {
    let mut bar = None;
    move |step| {
        match step {
            Step::Embedding { done, total } if total > 0 => {
                context.announce(gpu);
                bar.get_or_insert_with(|| context.progress("embedding", total)).set(done as u64);
            }
            _ => {}
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
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

/// Replaces `\n`, `\t` and `\\`; refuses any other backslash.
fn unescape(text: &str) -> Result<String, CliError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('\\') => '\\',
                other => {
                    let escape: String = other.into_iter().collect();
                    let message =
                        format!(r"separator {text}: unknown escape \{escape}; expected \n, \t or \\");
                    return Err(CliError::Input(message));
                }
            },
            c => c,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_characters() {
        for (typed, meant) in [(r"\n\n", "\n\n"), (r"a\tb", "a\tb"), (r"\\n", r"\n"), (". ", ". "), ("", "")]
        {
            assert_eq!(unescape(typed).as_deref(), Ok(meant), "{typed}");
        }
        for typed in [r"\d", r"a\", r"\\\r"] {
            assert!(unescape(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn places_read_well() {
        assert_eq!(place("a.md", None, None, 7), "a.md, passage 7");
        assert_eq!(place("a.pdf", Some(3), None, 7), "a.pdf, page 3");
        assert_eq!(place("a.pdf", Some(3), Some(4), 7), "a.pdf, pages 3-4");
    }
}
