//! Another engine, run as a program of its own in the same rounds.

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;

/// A command line that measures something itself and prints its time.
#[derive(Clone, Debug)]
pub struct Peer {
    command: String,
    dir: Option<PathBuf>,
    reading: Reading,
}

/// Which of the words that a peer prints are its time.
///
/// Without any of these: the first list in brackets (`[1301.2, 1298.7]`) or, where there is none, the last line, if it is
/// one number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Reading {
    /// Text by which the line is known; the last line that has it counts.
    pub line: Option<String>,
    /// Text that stands before the number or the list.
    pub after: Option<String>,
    /// What the numbers are.
    #[serde(default)]
    pub unit: Unit,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Unit {
    /// Milliseconds.
    #[default]
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
}

impl Peer {
    /// A peer by its command line, which goes to the shell: `cd DIR && python3 bench.py` works.
    pub fn new(command: String) -> Self {
        Self { command, dir: None, reading: Reading::default() }
    }

    /// The same, run in a folder.
    #[must_use]
    pub fn in_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), ..self }
    }

    /// The same, whose time stands somewhere else in what it prints.
    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }

    /// Runs it once and gives the milliseconds that it printed.
    ///
    /// # Errors
    /// Where the command fails, or prints no such thing; the message holds its last words.
    pub fn run(&self) -> io::Result<Vec<f64>> {
        let output = self.shell().stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let fail = |what: String| {
            let errors = String::from_utf8_lossy(&output.stderr);
            let spoken = |line: &&str| !line.trim().is_empty();
            let last = text.lines().chain(errors.lines()).rfind(spoken).unwrap_or("(no word)");
            Err(io::Error::other(format!("the peer `{}` {what}: {last}", self.command)))
        };
        if !output.status.success() {
            return fail(format!("failed, {}", output.status));
        }
        match self.reading.milliseconds(&text) {
            Some(found) => Ok(found),
            None => fail("printed no time".to_owned()),
        }
    }

    fn shell(&self) -> Command {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut shell = Command::new(shell);
        shell.args([flag, &self.command]);
        if let Some(dir) = &self.dir {
            shell.current_dir(dir);
        }
        shell
    }
}

impl Reading {
    /// The milliseconds in what a peer has printed: one number, or those of a list. None where there are none, or one of
    /// them is no time.
    pub fn milliseconds(&self, text: &str) -> Option<Vec<f64>> {
        let line = match &self.line {
            Some(mark) => text.lines().rfind(|line| line.contains(mark.as_str()))?,
            None => text,
        };
        let numbers = match &self.after {
            Some(mark) => {
                let (_, rest) = line.rsplit_once(mark.as_str())?;
                let rest = rest.trim_start();
                let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                list(rest).filter(|_| rest.starts_with('[')).or_else(|| rest.split(|c| !is_part(c)).next())?
            }
            None => list(line).or_else(|| line.lines().last())?,
        };
        let factor = match self.unit {
            Unit::Milliseconds => 1.0,
            Unit::Seconds => 1e3,
        };
        let numbers: Option<Vec<f64>> =
            numbers.split(',').map(|number| Some(factor * number.trim().parse::<f64>().ok()?)).collect();
        numbers.filter(|numbers| numbers.iter().all(|number| number.is_finite() && *number > 0.0))
    }
}

/// What stands in the first brackets.
fn list(text: &str) -> Option<&str> {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(list, _)| list)
}

/// A peer that stays while rounds go by, for what takes minutes to warm up. For each line that it reads it measures once
/// more and prints its time in a line; at the end of its input it ends.
pub struct ResidentPeer {
    peer: Peer,
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
        Self::start_peer(Peer::new(command))
    }

    /// Starts a peer that stays.
    ///
    /// # Errors
    /// Where the shell cannot be started.
    pub fn start_peer(peer: Peer) -> io::Result<Self> {
        let mut child = peer.shell().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| io::Error::other("the peer has no output"))?;
        Ok(Self { peer, child, orders, answers: BufReader::new(answers) })
    }

    /// Has it measure once and gives the milliseconds that it printed.
    ///
    /// # Errors
    /// Where it has ended, or prints something else.
    pub fn run(&mut self) -> io::Result<Vec<f64>> {
        let command = &self.peer.command;
        let ended = || io::Error::other(format!("the peer `{command}` ended"));
        let orders = self.orders.as_mut().ok_or_else(ended)?;
        orders.write_all(b"\n").and_then(|()| orders.flush()).map_err(|_| ended())?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(ended());
        }
        self.peer.reading.milliseconds(&line).ok_or_else(|| {
            io::Error::other(format!("the peer `{command}` printed no time: {}", line.trim_end()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(line: &str, after: &str, unit: Unit) -> Reading {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Reading { line: some(line), after: some(after), unit }
    }

    #[test]
    fn times_are_found_in_what_is_printed() {
        let ms = Unit::Milliseconds;
        let burn = "Device\nmatmul 512   first 3.1s best  45.20 ms 5.9 GFLOPS\nmatmul 1024  first 2s best 310.5 ms\n";
        for (text, reading, expected) in [
            ("vk 2 [1301.2, 1298.7] GFLOPS 23.8", Reading::default(), Some(vec![1301.2, 1298.7])),
            ("warm\n12.5\n", Reading::default(), Some(vec![12.5])),
            (burn, reading("matmul 512", "best", ms), Some(vec![45.2])),
            (burn, reading("matmul 1024", "best", ms), Some(vec![310.5])),
            (
                "run 0 9.1 ms\nbest 7796.4 ms 3.96 GFLOPS out[0..3]=[0.1]",
                reading("", "best", ms),
                Some(vec![7796.4]),
            ),
            (
                r#"{"texts": 174, "seconds": 6.9}"#,
                reading("", "\"seconds\":", Unit::Seconds),
                Some(vec![6900.0]),
            ),
            ("a step: [1.5, 2e1] ms", reading("", "a step:", ms), Some(vec![1.5, 20.0])),
            ("best of 3", reading("", "worst", ms), None),
            ("best soon", reading("", "best", ms), None),
            ("nothing", Reading::default(), None),
            ("[1.0, -2.0]", Reading::default(), None),
            ("[1.0, nan]", Reading::default(), None),
            ("", Reading::default(), None),
        ] {
            assert_eq!(reading.milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn a_peer_runs_in_its_folder_and_its_last_words_are_kept() {
        let dir = tempfile::tempdir().expect("a folder should be made");
        std::fs::write(dir.path().join("times"), "[3.5]").expect("it should be written");
        let cat = if cfg!(windows) { "type times" } else { "cat times" };
        let times = Peer::new(cat.to_owned()).in_dir(dir.path()).run().expect("it should run");
        assert_eq!(times, [3.5]);
        let error = Peer::new("echo no such model&& exit 3".to_owned()).run().expect_err("it should fail");
        assert!(
            error.to_string().contains("failed") && error.to_string().contains("no such model"),
            "{error}"
        );
        let error = Peer::new("echo hello".to_owned()).run().expect_err("it is no time");
        assert!(error.to_string().ends_with("printed no time: hello"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_resident_answers_each_line_and_ends() {
        let script = "n=0; while read line; do n=$((n+1)); echo \"[$n.5]\"; done";
        let mut peer = ResidentPeer::start(script.to_owned()).expect("it should start");
        assert_eq!((peer.run().ok(), peer.run().ok()), (Some(vec![1.5]), Some(vec![2.5])));
        let mut peer = ResidentPeer::start("true".to_owned()).expect("it should start");
        assert!(peer.run().is_err());
    }
}
