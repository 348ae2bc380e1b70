//! Joins a shader with its libraries and the settings of one variant row, and remembers where each line was.

use std::rc::Rc;

use crate::{
    diagnostic::{Diagnostic, Mark, SourceFile},
    header::{Header, Row},
};

/// A file with its header read.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: Rc<SourceFile>,
    pub(crate) header: Header,
}

/// One WGSL module, with the place that each of its lines came from.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) text: String,
    /// The shader's own file, for what concerns the whole.
    pub(crate) file: Rc<SourceFile>,
    /// For each line of `text`: its file and its line there (from 1).
    origins: Vec<(Rc<SourceFile>, usize)>,
    /// Settings of the row that are pipeline constants.
    pub(crate) constants: Vec<(String, f64)>,
    /// For each key of any row, the text of its value in this row: the row's own or the shader's default.
    pub(crate) values: Vec<(String, Option<String>)>,
}

impl Joined {
    /// Joins `part` with `libs` (in order) and applies `row`.
    pub(crate) fn new(part: &Part, libs: &[&Part], row: &Row) -> Result<Self, Vec<Diagnostic>> {
        let mut lines: Vec<(String, Rc<SourceFile>, usize)> = Vec::new();
        for enable in &part.header.enables {
            lines.push((format!("enable {};", enable.word), part.file.clone(), enable.line));
        }
        for source in libs.iter().copied().chain([part]) {
            let body = source.file.text.lines().enumerate().skip(source.header.lines);
            // Blank lines at the seams say nothing.
            let body = body.skip_while(|(_, line)| line.trim().is_empty());
            lines.extend(body.map(|(at, line)| (line.to_string(), source.file.clone(), at + 1)));
            while lines.last().is_some_and(|(line, ..)| line.trim().is_empty()) {
                lines.pop();
            }
            lines.push((String::new(), source.file.clone(), source.file.text.lines().count()));
        }
        lines.pop();

        let mut found = Vec::new();
        let mut constants = Vec::new();
        let mut values = Vec::new();
        for key in keys(&part.header) {
            let places: Vec<(usize, Declaration<'_>)> = lines
                .iter()
                .enumerate()
                .filter_map(|(at, (line, ..))| Some((at, Declaration::read(line, key)?)))
                .collect();
            let [(at, declaration)] = places.as_slice() else {
                // The same for every row, so it is told of the first that names the key.
                let first = part.header.rows.iter().find(|row| row.value(key).is_some()).unwrap_or(row);
                let mut diagnostic = Diagnostic::new(format!(
                    "the key `{key}` is declared by {} lines; expected exactly one",
                    places.len()
                ))
                .at(part.file.mark_line(first.line, ""))
                .note(format!(
                    "that line is `override {key}: ..;`, `const {key}: T = ..;` or `alias {key} = ..;`"
                ));
                for (at, _) in &places {
                    let (_, file, line) = &lines[*at];
                    diagnostic = diagnostic.at(file.mark_line(*line, "declared here"));
                }
                found.push(diagnostic);
                continue;
            };
            let Some(value) = row.value(key) else {
                values.push((key.to_string(), declaration.value.map(str::to_string)));
                continue;
            };
            values.push((key.to_string(), Some(value.to_string())));
            if declaration.is_override {
                match constant(value) {
                    Some(number) => constants.push((key.to_string(), number)),
                    None => found.push(
                        Diagnostic::new(format!(
                            "`{key}={value}`: an override's value is a number or a truth value"
                        ))
                        .at(part.file.mark_line(row.line, "")),
                    ),
                }
            } else {
                let (at, replaced) = (*at, declaration.with(value));
                let (text, file, line) = &mut lines[at];
                match replaced {
                    Some(replaced) => *text = replaced,
                    None => found.push(
                        Diagnostic::new(format!(
                            "variants replace `{key}`, so its line must read `.. = value;`"
                        ))
                        .at(file.mark_line(*line, "")),
                    ),
                }
            }
        }
        if !found.is_empty() {
            return Err(found);
        }
        let mut text = String::new();
        let mut origins = Vec::with_capacity(lines.len());
        for (line, file, number) in lines {
            text.push_str(&line);
            text.push('\n');
            origins.push((file, number));
        }
        Ok(Self { text, file: part.file.clone(), origins, constants, values })
    }

    /// The file that the byte `offset` of the joined text came from, and its line there.
    pub(crate) fn origin(&self, offset: usize) -> Option<(&Rc<SourceFile>, usize)> {
        let before = self.text.as_bytes().get(..offset)?;
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        self.origins.get(line).map(|(file, number)| (file, *number))
    }

    /// A mark for a span of the joined text, at its real place; none for a span that naga left undefined.
    pub(crate) fn mark(&self, span: naga::Span, note: impl Into<String>) -> Option<Mark> {
        let range = span.to_range()?;
        let (file, line) = self.origin(range.start)?;
        let start = self.text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        Some(file.mark(line, range.start - start..range.end - start, note))
    }
}

/// The keys that any row of `header` sets, in order of appearance.
pub(crate) fn keys(header: &Header) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    for setting in header.rows.iter().flat_map(|row| &row.settings) {
        if !keys.contains(&setting.key.as_str()) {
            keys.push(&setting.key);
        }
    }
    keys
}

/// An `override`, `const` or `alias` line of one key.
#[derive(Debug)]
struct Declaration<'a> {
    is_override: bool,
    /// Up to and with the `=`.
    head: &'a str,
    /// The text between `=` and `;`; none where the line has no value or does not end it.
    value: Option<&'a str>,
    /// From the `;` on.
    tail: &'a str,
}

impl<'a> Declaration<'a> {
    fn read(line: &'a str, key: &str) -> Option<Self> {
        let trimmed = line.trim_start();
        let (word, rest) = trimmed.split_once(' ')?;
        if !matches!(word, "override" | "const" | "alias") {
            return None;
        }
        let after = rest.trim_start().strip_prefix(key)?;
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let is_override = word == "override";
        let Some((head, value_and_tail)) = line.split_once('=') else {
            return Some(Self { is_override, head: line, value: None, tail: "" });
        };
        let Some((value, tail)) = value_and_tail.split_once(';') else {
            return Some(Self { is_override, head, value: None, tail: "" });
        };
        Some(Self { is_override, head, value: Some(value.trim()), tail })
    }

    fn with(&self, value: &str) -> Option<String> {
        self.value?;
        Some(format!("{}= {value};{}", self.head, self.tail))
    }
}

/// A value of a row as wgpu takes pipeline constants.
fn constant(value: &str) -> Option<f64> {
    match value {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => number(value),
    }
}

/// A WGSL literal's value, with or without its suffix.
pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.strip_suffix(['u', 'i', 'f', 'h']).unwrap_or(text);
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A WGSL literal's value if it is a whole number that a `u32` holds.
pub(crate) fn integer(text: &str) -> Option<u32> {
    text.strip_suffix(['u', 'i']).unwrap_or(text).parse().ok()
}
