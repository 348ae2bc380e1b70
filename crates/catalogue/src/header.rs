//! The header of a shader file: the leading run of `//!` lines.

use std::rc::Rc;

use crate::diagnostic::{Diagnostic, SourceFile};

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The kernel's name, which is the file's stem.
    pub(crate) name: String,
    /// The prose between the name and the tags, blank lines at both ends removed.
    pub(crate) prose: Vec<String>,
    /// Libraries to join, in order.
    pub(crate) uses: Vec<Tagged>,
    /// Enable directives, which go first in the joined source.
    pub(crate) enables: Vec<Tagged>,
    /// What it asks of subgroups, and the line that says so.
    pub(crate) subgroups: Option<(Subgroups, usize)>,
    /// The variant rows, in order.
    pub(crate) rows: Vec<Row>,
    /// How many lines the header takes.
    pub(crate) lines: usize,
}

/// What a shader asks of subgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subgroups {
    /// That there are operations across them, whatever their size.
    Any,
    /// That all are of so many invocations.
    Of(u32),
}

/// A word of a tag's list, with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tagged {
    pub(crate) word: String,
    pub(crate) line: usize,
}

/// One row under `variants:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) settings: Vec<Setting>,
    pub(crate) line: usize,
}

/// One `KEY=VALUE` of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Row {
    /// The value that the row gives to `key`, if it gives one.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|setting| setting.key == key).map(|setting| setting.value.as_str())
    }
}

impl Header {
    /// Whether a directive enables this.
    pub(crate) fn enables(&self, word: &str) -> bool {
        self.enables.iter().any(|enable| enable.word == word)
    }

    /// Reads the header of `file`, whose stem is `stem`. All that is wrong with it is reported at once.
    pub(crate) fn parse(file: &Rc<SourceFile>, stem: &str) -> Result<Self, Vec<Diagnostic>> {
        let lines: Vec<&str> = file.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let Some(first) = lines.first() else {
            return Err(vec![
                Diagnostic::new("the header is missing")
                    .at(file.mark_line(1, format!("expected `//! {stem}`")))
                    .note("a shader file starts with `//!` lines: its name, what it computes, its variants"),
            ]);
        };
        let mut found = Vec::new();
        let name = first.trim().to_string();
        if name != stem {
            found.push(
                Diagnostic::new(format!("the header names `{name}`, the file is `{stem}.wgsl`"))
                    .at(file.mark_line(1, format!("expected `//! {stem}`"))),
            );
        }
        if !is_name(stem) {
            found.push(
                Diagnostic::new(format!("`{stem}` is no name for a shader"))
                    .at(file.mark_line(1, "expected lower-case letters, digits and `_`, a letter first")),
            );
        }
        let mut header = Self {
            name,
            prose: Vec::new(),
            uses: vec![],
            enables: vec![],
            subgroups: None,
            rows: vec![],
            lines: lines.len(),
        };
        let mut in_rows = false;
        for (line, text) in lines.iter().enumerate().skip(1).map(|(at, text)| (at + 1, *text)) {
            // One blank after the mark belongs to the mark; more is an indent.
            let body = text.strip_prefix(' ').unwrap_or(text).trim_end();
            if let Some(list) = body.strip_prefix("uses:") {
                in_rows = false;
                header.uses.extend(words(list, line));
            } else if let Some(list) = body.strip_prefix("enables:") {
                in_rows = false;
                header.enables.extend(words(list, line));
            } else if let Some(size) = body.strip_prefix("subgroups:") {
                in_rows = false;
                match (header.subgroups, subgroups(size.trim())) {
                    (None, Some(subgroups)) => header.subgroups = Some((subgroups, line)),
                    (Some(_), _) => {
                        found.push(Diagnostic::new("`subgroups:` stands twice").at(file.mark_line(line, "")));
                    }
                    (None, None) => found.push(
                        Diagnostic::new("`subgroups:` names no size of subgroups")
                            .at(file.mark_line(line, "expected `any`, or a number above 0")),
                    ),
                }
            } else if let Some(rest) = body.strip_prefix("variants:") {
                in_rows = true;
                if !rest.trim().is_empty() {
                    found.push(
                        Diagnostic::new("`variants:` stands alone; its rows follow, one a line, indented")
                            .at(file.mark_line(line, "")),
                    );
                }
            } else if in_rows && body.starts_with(' ') {
                match row(body, line) {
                    Ok(row) if header.rows.iter().any(|other| other.name == row.name) => found.push(
                        Diagnostic::new(format!("two variant rows are named `{}`", row.name))
                            .at(file.mark_line(line, "")),
                    ),
                    Ok(row) => header.rows.push(row),
                    Err(message) => found.push(
                        Diagnostic::new(message)
                            .at(file.mark_line(line, "expected `NAME` and then `KEY=VALUE` pairs")),
                    ),
                }
            } else {
                in_rows = in_rows && body.is_empty();
                header.prose.push(body.to_string());
            }
        }
        trim(&mut header.prose);
        if header.prose.is_empty() {
            found.push(
                Diagnostic::new("the header does not say what the shader computes")
                    .at(file.mark_line(1, "expected a formula in index letters after the name")),
            );
        }
        if found.is_empty() { Ok(header) } else { Err(found) }
    }
}

/// Removes blank lines at both ends and doubled ones within, which the tags leave behind.
fn trim(prose: &mut Vec<String>) {
    prose.dedup_by(|next, last| next.is_empty() && last.is_empty());
    if prose.first().is_some_and(String::is_empty) {
        prose.remove(0);
    }
    if prose.last().is_some_and(String::is_empty) {
        prose.pop();
    }
}

fn subgroups(size: &str) -> Option<Subgroups> {
    match size {
        "any" => Some(Subgroups::Any),
        _ => size.parse().ok().filter(|size| *size > 0).map(Subgroups::Of),
    }
}

fn words(list: &str, line: usize) -> impl Iterator<Item = Tagged> {
    list.split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(move |word| Tagged { word: word.to_string(), line })
}

fn row(text: &str, line: usize) -> Result<Row, String> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default().to_string();
    if !is_name(&name) {
        return Err(format!("`{name}` is no name for a variant: lower-case letters, digits and `_`"));
    }
    let mut settings: Vec<Setting> = Vec::new();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .filter(|(key, value)| is_identifier(key) && !value.is_empty())
            .ok_or_else(|| format!("`{word}` of variant `{name}` is not `KEY=VALUE`"))?;
        if settings.iter().any(|setting| setting.key == key) {
            return Err(format!("variant `{name}` sets `{key}` twice"));
        }
        settings.push(Setting { key: key.to_string(), value: value.to_string() });
    }
    Ok(Row { name, settings, line })
}

/// Whether `word` can name a shader or a variant, and so a Rust module.
pub(crate) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_identifier(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Header, Subgroups};
    use crate::diagnostic::{Diagnostic, SourceFile};

    const SOUND: &str = "//! sum_row
//!
//! output[row] = sum over col of input[row][col]
//!
//!   indented, as a table may be
//!
//! uses: grid, reduce
//! enables: f16
//! variants:
//!   serial   THREADS=8
//!   tree     THREADS=64 ITEM=vec4<f32>
//!
//! History: none.

override THREADS: u32 = 8u;
";

    fn parse(text: &str) -> Result<Header, Vec<Diagnostic>> {
        let file = Rc::new(SourceFile { path: "sum_row.wgsl".into(), text: text.into() });
        Header::parse(&file, "sum_row")
    }

    #[track_caller]
    fn fault(text: &str, line: usize, part: &str) {
        let found = parse(text).expect_err("the header should be faulty");
        let [only] = found.as_slice() else { panic!("expected one fault, got {found:#?}") };
        assert!(only.message().contains(part), "{only}");
        assert_eq!((only.path(), only.line()), ("sum_row.wgsl", line), "{only}");
    }

    #[test]
    fn sound() {
        let header = parse(SOUND).expect("the header should be sound");
        assert_eq!(header.name, "sum_row");
        assert_eq!(
            header.prose.first().map(String::as_str),
            Some("output[row] = sum over col of input[row][col]")
        );
        assert_eq!(header.prose.last().map(String::as_str), Some("History: none."));
        assert!(header.prose.contains(&"  indented, as a table may be".to_string()));
        let words = |list: &[super::Tagged]| list.iter().map(|word| word.word.clone()).collect::<Vec<_>>();
        assert_eq!(words(&header.uses), ["grid", "reduce"]);
        assert_eq!(words(&header.enables), ["f16"]);
        assert_eq!(header.lines, 13);
        let [serial, tree] = header.rows.as_slice() else {
            panic!("expected two rows, got {:?}", header.rows)
        };
        assert_eq!((serial.name.as_str(), serial.line, serial.value("THREADS")), ("serial", 10, Some("8")));
        assert_eq!((tree.name.as_str(), tree.line, tree.value("ITEM")), ("tree", 11, Some("vec4<f32>")));
    }

    #[test]
    fn sizes_of_subgroups() {
        let with = |size: &str| SOUND.replace("enables: f16", &format!("subgroups: {size}"));
        assert_eq!(parse(SOUND).map(|header| header.subgroups), Ok(None));
        for (size, subgroups) in [("any", Subgroups::Any), ("8", Subgroups::Of(8))] {
            assert_eq!(parse(&with(size)).map(|header| header.subgroups), Ok(Some((subgroups, 8))));
        }
        for size in ["", "0", "some", "8 16"] {
            fault(&with(size), 8, "`subgroups:` names no size");
        }
        fault(&with("8\n//! subgroups: any"), 9, "`subgroups:` stands twice");
    }

    #[test]
    fn missing() {
        fault("override THREADS: u32 = 8u;\n", 1, "the header is missing");
        fault("", 1, "the header is missing");
        fault("// sum_row\n", 1, "the header is missing");
    }

    #[test]
    fn wrong_name() {
        fault(&SOUND.replace("//! sum_row", "//! sum_col"), 1, "names `sum_col`, the file is `sum_row.wgsl`");
    }

    #[test]
    fn says_nothing() {
        fault("//! sum_row\n//!\n//! variants:\n//!   base\n", 1, "does not say what the shader computes");
    }

    #[test]
    fn malformed_rows() {
        fault(
            &SOUND.replace("THREADS=8", "THREADS:8"),
            10,
            "`THREADS:8` of variant `serial` is not `KEY=VALUE`",
        );
        fault(&SOUND.replace("THREADS=8", "THREADS="), 10, "`THREADS=` of variant `serial`");
        fault(&SOUND.replace("THREADS=8", "THREADS=8 THREADS=4"), 10, "sets `THREADS` twice");
        fault(&SOUND.replace("serial ", "Serial "), 10, "`Serial` is no name for a variant");
        fault(&SOUND.replace("tree ", "serial "), 11, "two variant rows are named `serial`");
        fault(&SOUND.replace("variants:", "variants: base"), 9, "`variants:` stands alone");
    }
}
