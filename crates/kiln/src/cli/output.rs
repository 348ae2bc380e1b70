//! Where results go: stdout, or a file that appears whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use kiln::models::atomic::{self, Unfinished};
use serde::Serialize;

use super::error::CliError;
use super::interrupt;

/// The option that names an output file.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write the result to a file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl OutputArgs {
    /// What was named.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.output.as_deref()
    }

    /// Opens what was named, before any long work is done for it.
    pub(crate) fn open(&self) -> Result<Output, CliError> {
        match &self.output {
            Some(path) if path != Path::new("-") => Output::file(path),
            _ => Ok(Output::stdout()),
        }
    }
}

/// An open output. A file gets its name in [`finish`](Output::finish) and is removed where that is
/// never reached.
pub(crate) struct Output(Sink);

enum Sink {
    Stdout(BufWriter<anstream::Stdout>),
    Bytes(BufWriter<io::Stdout>),
    File {
        out: BufWriter<Unfinished>,
        path: PathBuf,
    },
    /// A device or a pipe: it must not be replaced by a file.
    Special {
        out: BufWriter<std::fs::File>,
        path: PathBuf,
    },
}

impl Output {
    pub(crate) fn stdout() -> Output {
        // Nothing here is coloured; escape sequences come from documents and models, and are not for the terminal.
        Output(Sink::Stdout(BufWriter::new(anstream::AutoStream::never(io::stdout()))))
    }

    /// A file, or stdout for `-`, for bytes that are no text: nothing takes them for colours of a terminal.
    pub(crate) fn bytes(path: &Path) -> Result<Output, CliError> {
        if path == Path::new("-") {
            return Ok(Output(Sink::Bytes(BufWriter::new(io::stdout()))));
        }
        Output::file(path)
    }

    fn file(path: &Path) -> Result<Output, CliError> {
        let refused =
            |error: io::Error| CliError::Input(format!("{}: cannot be written: {error}", path.display()));
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => {
                return Err(CliError::Input(format!(
                    "{}: is a directory, not a file to write",
                    path.display()
                )));
            }
            Ok(there) if !there.is_file() => {
                let out = std::fs::File::options().write(true).open(path).map_err(refused)?;
                return Ok(Output(Sink::Special { out: BufWriter::new(out), path: path.to_owned() }));
            }
            _ => {}
        }
        let parent = atomic::parent(&atomic::target(path));
        if !parent.is_dir() {
            let folder = parent.display();
            return Err(CliError::Input(format!(
                "{}: cannot be written: no folder {folder}",
                path.display()
            )));
        }
        let out = Unfinished::beside(path).map_err(refused)?;
        interrupt::add_unfinished(out.path());
        Ok(Output(Sink::File { out: BufWriter::new(out), path: path.to_owned() }))
    }

    /// Writes a value as indented JSON with a line end.
    pub(crate) fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut *self, value).map_err(io::Error::from)?;
        Ok(writeln!(self)?)
    }

    /// Writes a value as one line of JSON Lines.
    pub(crate) fn json_line<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CliError> {
        serde_json::to_writer(&mut *self, value).map_err(io::Error::from)?;
        Ok(writeln!(self)?)
    }

    /// Writes values as a JSON array, one on each line: short enough to read and easy to cut.
    pub(crate) fn json_rows<T: Serialize>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
    ) -> Result<(), CliError> {
        let mut before = "[\n  ";
        let mut is_empty = true;
        for row in rows {
            write!(self, "{before}")?;
            serde_json::to_writer(&mut *self, &row).map_err(io::Error::from)?;
            before = ",\n  ";
            is_empty = false;
        }
        Ok(writeln!(self, "{}", if is_empty { "[]" } else { "\n]" })?)
    }

    /// Brings everything to where it belongs.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        let failed = |path: &Path, error: io::Error| {
            CliError::Runtime(format!("{}: cannot be written: {error}", path.display()))
        };
        match self.0 {
            Sink::Stdout(mut out) => Ok(out.flush()?),
            Sink::Bytes(mut out) => Ok(out.flush()?),
            Sink::Special { mut out, path } => out.flush().map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => CliError::ClosedPipe,
                _ => failed(&path, error),
            }),
            Sink::File { out, path } => {
                let file = out.into_inner().map_err(|error| failed(&path, error.into_error()))?;
                let unfinished = file.path().to_owned();
                let saved = file.finish().map_err(|error| failed(&path, error));
                interrupt::remove_unfinished(&unfinished);
                saved
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Sink::Stdout(out) => out.write(bytes),
            Sink::Bytes(out) => out.write(bytes),
            Sink::File { out, .. } => out.write(bytes),
            Sink::Special { out, .. } => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Sink::Stdout(out) => out.flush(),
            Sink::Bytes(out) => out.flush(),
            Sink::File { out, .. } => out.flush(),
            Sink::Special { out, .. } => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> usize {
        std::fs::read_dir(dir).expect("the directory should be readable").count()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory should be made");
        let path = dir.path().join("out.json");
        let mut output = Output::file(&path).expect("the file should open");
        output.json(&[1, 2]).expect("it should be written");
        assert!(!path.exists());
        output.finish().expect("it should be finished");
        assert_eq!(std::fs::read_to_string(&path).expect("it should be there"), "[\n  1,\n  2\n]\n");

        let mut output = Output::file(&path).expect("the file should open again");
        output.write_all(b"half").expect("it should be written");
        drop(output);
        assert!(std::fs::read_to_string(&path).expect("it should be there").starts_with('['));
        assert_eq!(entries(dir.path()), 1);
    }

    #[test]
    fn a_terminal_gets_no_commands_from_documents() {
        let Sink::Stdout(out) = Output::stdout().0 else { panic!("it should be stdout") };
        assert_eq!(out.get_ref().current_choice(), anstream::ColorChoice::Never);
    }

    #[test]
    fn rows_are_an_array_with_a_line_each() {
        let dir = tempfile::tempdir().expect("a directory should be made");
        let path = dir.path().join("rows.json");
        for (rows, text) in
            [(vec![], "[]\n"), (vec![(1, "a"), (2, "b")], "[\n  [1,\"a\"],\n  [2,\"b\"]\n]\n")]
        {
            let mut output = Output::file(&path).expect("the file should open");
            output.json_rows(rows).expect("it should be written");
            output.finish().expect("it should be finished");
            assert_eq!(std::fs::read_to_string(&path).expect("it should be there"), text);
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_beforehand() {
        let dir = tempfile::tempdir().expect("a directory should be made");
        for path in [dir.path().to_owned(), dir.path().join("missing").join("out.json")] {
            match Output::file(&path) {
                Err(CliError::Input(message)) => {
                    assert!(message.contains(&*path.to_string_lossy()), "{message}")
                }
                _ => panic!("{} should be refused", path.display()),
            }
        }
        assert_eq!(entries(dir.path()), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_one() {
        let dir = tempfile::tempdir().expect("a directory should be made");
        let (file, link) = (dir.path().join("file.json"), dir.path().join("link.json"));
        std::fs::write(&file, "old").expect("it should be written");
        std::os::unix::fs::symlink(&file, &link).expect("a link should be made");
        let mut output = Output::file(&link).expect("the file should open");
        output.json(&7).expect("it should be written");
        output.finish().expect("it should be finished");
        assert!(link.is_symlink() && entries(dir.path()) == 2);
        assert_eq!(std::fs::read_to_string(&file).expect("it should be there"), "7\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let mut output = Output::file(Path::new("/dev/null")).expect("it should open");
        output.write_all(b"gone").expect("it should be written");
        output.finish().expect("it should be finished");
        let there = std::fs::metadata("/dev/null").expect("it should be there");
        assert!(there.file_type().is_char_device());
    }
}
