use std::path::PathBuf;

/// Why a task stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("can't start `{program}`: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("`{command}` failed with {status}{}", tail(.output))]
    Failed { command: String, status: String, output: String },
    #[error("can't {doing} {path}: {source}")]
    File { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Content { path: PathBuf, message: String },
    #[error("{0}")]
    SetUp(String),
    #[error("some checks failed")]
    ChecksFailed,
}

impl Error {
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { doing, path, source }
    }
}

/// The last lines that a failed command said, set in; installers say a lot before they say why they fail.
fn tail(output: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = output.lines().collect();
    let skip = lines.len().saturating_sub(LINES);
    lines[skip..].iter().map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_shows_the_end_of_what_it_said() {
        let output: String = (0..30).map(|line| format!("line {line}\n")).collect();
        let error = Error::Failed { command: "apt-get".into(), status: "exit status: 100".into(), output };
        let text = error.to_string();
        assert!(text.starts_with("`apt-get` failed with exit status: 100\n    line 10\n"), "{text}");
        assert!(text.ends_with("line 29"), "{text}");
    }

    #[test]
    fn a_silent_command_adds_no_lines() {
        let error =
            Error::Failed { command: "cargo".into(), status: "signal: 9".into(), output: String::new() };
        assert_eq!(error.to_string(), "`cargo` failed with signal: 9");
    }
}
