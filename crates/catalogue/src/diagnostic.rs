//! What is wrong, and where: in the form that rustc and naga use, at the real file and line.

use std::{fmt, rc::Rc};

/// One file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// The path as it is shown.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// A mark under `range` (byte columns, from 0) of line `line` (from 1).
    pub(crate) fn mark(
        self: &Rc<Self>,
        line: usize,
        range: std::ops::Range<usize>,
        note: impl Into<String>,
    ) -> Mark {
        let text = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_string();
        let start = range.start.min(text.len());
        let end = range.end.clamp(start, text.len());
        Mark { path: self.path.clone(), line, range: start..end, text, note: note.into() }
    }

    /// A mark under the whole of line `line` (from 1), without its indent.
    pub(crate) fn mark_line(self: &Rc<Self>, line: usize, note: impl Into<String>) -> Mark {
        let text = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let indent = text.len() - text.trim_start().len();
        self.mark(line, indent..text.trim_end().len(), note)
    }
}

/// A piece of one source line that a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    path: String,
    line: usize,
    range: std::ops::Range<usize>,
    text: String,
    note: String,
}

/// One thing that is wrong with a shader, with the places it shows at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    message: String,
    marks: Vec<Mark>,
    notes: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), marks: Vec::new(), notes: Vec::new() }
    }

    /// Adds a place; the first is the main one.
    pub(crate) fn at(mut self, mark: impl Into<Option<Mark>>) -> Self {
        self.marks.extend(mark.into());
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Names `path` where nothing better is known, so that no diagnostic lacks its file.
    pub(crate) fn or_in(mut self, file: &Rc<SourceFile>) -> Self {
        if self.marks.is_empty() {
            self.marks.push(file.mark_line(1, ""));
        }
        self
    }

    /// The one-line message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The path of the file that the diagnostic is about, as it was given; empty where there is none.
    pub fn path(&self) -> &str {
        self.marks.first().map_or("", |mark| &mark.path)
    }

    /// The line in that file, from 1; 0 where there is none.
    pub fn line(&self) -> usize {
        self.marks.first().map_or(0, |mark| mark.line)
    }

    /// Whether two diagnostics say the same of the same place: those of several variants are told once.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        self.message == other.message && self.marks == other.marks
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        let gutter = self.marks.iter().map(|mark| mark.line.to_string().len()).max().unwrap_or(1);
        for (position, mark) in self.marks.iter().enumerate() {
            let arrow = if position == 0 { "-->" } else { ":::" };
            // Columns are counted in characters, from 1, as editors do.
            let column = mark.text[..mark.range.start].chars().count() + 1;
            write!(f, "\n{:gutter$}{arrow} {}:{}:{column}", "", mark.path, mark.line)?;
            if mark.text.is_empty() {
                continue;
            }
            // Tabs are kept before the carets, so that the columns line up in any terminal.
            let blank: String =
                mark.text[..mark.range.start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let carets = "^".repeat(mark.text[mark.range.clone()].chars().count().max(1));
            write!(f, "\n{:gutter$} |\n{:>gutter$} | {}", "", mark.line, mark.text)?;
            write!(f, "\n{:gutter$} | {}", "", format!("{blank}{carets} {}", mark.note).trim_end())?;
        }
        for note in &self.notes {
            write!(f, "\n{:gutter$} = note: {note}", "")?;
        }
        Ok(())
    }
}
