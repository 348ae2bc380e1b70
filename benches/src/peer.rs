//! Another engine, run as a program of its own in the same rounds.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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
        let output = shell(&self.command).stdin(Stdio::null()).output()?;
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

/// A command line that stays while rounds go by, for what takes minutes to warm up. For each line that it reads it
/// measures once more and prints its milliseconds in a line, as a list in brackets; at the end of its input it ends.
pub struct ResidentPeer {
    command: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl ResidentPeer {
    /// Starts it; the command line goes to the shell.
    ///
    /// # Errors
    /// Where the shell cannot be started.
    pub fn start(command: String) -> io::Result<Self> {
        let mut child = shell(&command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| io::Error::other("the peer has no output"))?;
        Ok(Self { command, child, orders, answers: BufReader::new(answers) })
    }

    /// Has it measure once and gives the milliseconds that it printed.
    ///
    /// # Errors
    /// Where it has ended, or prints something else.
    pub fn run(&mut self) -> io::Result<Vec<f64>> {
        let ended = || io::Error::other(format!("the peer `{}` ended", self.command));
        let orders = self.orders.as_mut().ok_or_else(ended)?;
        orders.write_all(b"\n").and_then(|()| orders.flush()).map_err(|_| ended())?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(ended());
        }
        milliseconds(&line).ok_or_else(|| {
            io::Error::other(format!(
                "the peer `{}` printed no milliseconds: {}",
                self.command,
                line.trim_end()
            ))
        })
    }
}

impl Drop for ResidentPeer {
    fn drop(&mut self) {
        // The end of its input is what it waits for.
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

fn shell(command: &str) -> Command {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut shell = Command::new(shell);
    shell.args([flag, command]);
    shell
}

fn milliseconds(text: &str) -> Option<Vec<f64>> {
    let list = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(list, _)| list);
    let numbers = list.or_else(|| text.lines().last())?;
    let numbers: Option<Vec<f64>> = numbers.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers.filter(|numbers| numbers.iter().all(|number| number.is_finite() && *number > 0.0))
}
