//! Another engine, run as a program of its own in the same rounds.

use std::io;
use std::process::{Command, Stdio};

/// A command line that measures something itself and prints its milliseconds.
pub struct Peer {
    command: String,
}

impl Peer {
    /// A peer by its command line, which goes to the shell: `cd DIR && python3 bench.py` works.
    pub fn new(command: String) -> Self {
        Self { command }
    }

    /// Runs it once and gives the milliseconds that it printed: the first list in brackets (`[1301.2, 1298.7]`) or,
    /// where there is none, the last line, if it is one number.
    ///
    /// # Errors
    /// Where the command fails, or prints no such thing; the message holds its last words.
    pub fn run(&self) -> io::Result<Vec<f64>> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let output = Command::new(shell).args([flag, &self.command]).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let fail = |what: &str| {
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().chain(errors.lines()).last().unwrap_or_default();
            Err(io::Error::other(format!("the peer `{}` {what}: {last}", self.command)))
        };
        if !output.status.success() {
            return fail("failed");
        }
        match milliseconds(&text) {
            Some(found) => Ok(found),
            None => fail("printed no milliseconds"),
        }
    }
}

fn milliseconds(text: &str) -> Option<Vec<f64>> {
    let list = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(list, _)| list);
    let numbers = list.or_else(|| text.lines().last())?;
    let numbers: Option<Vec<f64>> = numbers.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers.filter(|numbers| numbers.iter().all(|number| number.is_finite() && *number > 0.0))
}
