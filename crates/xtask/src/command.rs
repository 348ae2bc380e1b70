use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// One child process. `Display` is what a person would type to run it.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    dir: Option<PathBuf>,
}

/// What a captured command left.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Captured {
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl Command {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Command { program: program.as_ref().to_owned(), args: Vec::new(), env: Vec::new(), dir: None }
    }

    /// The cargo that runs this task, so that a `+toolchain` reaches its children.
    pub(crate) fn cargo() -> Self {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, key: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key, value.as_ref().to_owned()));
        self
    }

    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Runs with the terminal's own streams: for what a person should see as it comes.
    pub(crate) fn run(&self) -> Result<(), Error> {
        let status =
            self.spawn(Stdio::inherit(), Stdio::inherit())?.wait().map_err(|source| self.start(source))?;
        if status.success() { Ok(()) } else { Err(self.failed(status, String::new())) }
    }

    /// Runs and keeps what it says; an exit status other than 0 is the caller's to judge.
    pub(crate) fn capture(&self) -> Result<Captured, Error> {
        self.capture_within(Duration::MAX)
    }

    /// Like `capture`, with stderr left to the terminal: cargo's progress and warnings show as they come.
    pub(crate) fn capture_stdout(&self) -> Result<Captured, Error> {
        let mut child = self.spawn(Stdio::piped(), Stdio::inherit())?;
        let stdout = child.stdout.take().map(Drain::start);
        let status = child.wait().map_err(|source| self.start(source))?;
        let text = |drain: Option<Drain>| drain.map(|drain| drain.text(true)).unwrap_or_default();
        Ok(Captured { status: Some(status), stdout: text(stdout), stderr: String::new() })
    }

    /// Like `capture`, but ends the command when `limit` has passed; its `status` is then `None`.
    pub(crate) fn capture_within(&self, limit: Duration) -> Result<Captured, Error> {
        let started = Instant::now();
        let mut child = self.spawn(Stdio::piped(), Stdio::piped())?;
        let (stdout, stderr) = (child.stdout.take().map(Drain::start), child.stderr.take().map(Drain::start));
        let mut pause = Duration::from_millis(1);
        let status = loop {
            match child.try_wait().map_err(|source| self.start(source))? {
                Some(status) => break Some(status),
                None if started.elapsed() >= limit => {
                    // It may have ended in this very moment: either way there is nothing left to kill.
                    let _ = child.kill();
                    child.wait().map_err(|source| self.start(source))?;
                    break None;
                }
                None => thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        };
        let text = |drain: Option<Drain>| drain.map(|drain| drain.text(status.is_some())).unwrap_or_default();
        Ok(Captured { status, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Runs quietly; what it said shows only in the error.
    pub(crate) fn run_quietly(&self) -> Result<(), Error> {
        let captured = self.capture()?;
        match captured.status {
            Some(status) if !status.success() => Err(self.failed(status, captured.stdout + &captured.stderr)),
            _ => Ok(()),
        }
    }

    fn spawn(&self, stdout: Stdio, stderr: Stdio) -> Result<Child, Error> {
        let mut process = Process::new(&self.program);
        // `cargo run` describes this package in the environment. Some build scripts look there, and would take
        // a build from here for another than a build by hand.
        for (key, _) in std::env::vars_os() {
            let key = key.to_string_lossy();
            if key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_") {
                process.env_remove(&*key);
            }
        }
        process.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            process.current_dir(dir);
        }
        process.stdout(stdout).stderr(stderr).spawn().map_err(|source| self.start(source))
    }

    fn start(&self, source: std::io::Error) -> Error {
        Error::Start { program: self.program.to_string_lossy().into_owned(), source }
    }

    fn failed(&self, status: ExitStatus, output: String) -> Error {
        Error::Failed { command: self.to_string(), status: status.to_string(), output }
    }
}

/// Reads a pipe on its own thread: a child whose other pipe is full would wait for ever.
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

impl Drain {
    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut chunk = [0; 8192];
            // A pipe that breaks keeps what came before; the exit status tells the rest.
            while let Ok(read @ 1..) = pipe.read(&mut chunk) {
                lock(&sink).extend_from_slice(&chunk[..read]);
            }
        });
        Drain { bytes, thread }
    }

    /// All that came. `to_the_end` waits until the pipe closes, which for a child that was killed may be
    /// never: its own children hold the pipe too.
    fn text(self, to_the_end: bool) -> String {
        if to_the_end {
            // The thread can't panic, and if it did, what came before is still worth showing.
            let _ = self.thread.join();
        }
        String::from_utf8_lossy(&lock(&self.bytes)).into_owned()
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.env {
            write!(f, "{key}={} ", quoted(value))?;
        }
        let program = Path::new(&self.program);
        let is_cargo = program.file_stem().is_some_and(|stem| stem == "cargo");
        f.write_str(&if is_cargo { "cargo".into() } else { quoted(&self.program) })?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%\\".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_what_one_would_type() {
        let command = Command::new("/usr/bin/cargo").args(["test", "two words"]).env("A", "1");
        assert_eq!(command.to_string(), "A=1 cargo test \"two words\"");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Command::new("kiln-no-such-program").run().expect_err("there should be no such program");
        assert!(error.to_string().starts_with("can't start `kiln-no-such-program`"), "{error}");
    }

    #[cfg(unix)]
    mod unix {
        use super::*;

        fn sh(script: &str) -> Command {
            Command::new("sh").args(["-c", script])
        }

        #[test]
        fn both_streams_and_the_status_are_kept() {
            let captured = sh("echo out; echo err >&2; exit 3").capture().expect("sh should run");
            assert_eq!((captured.stdout.as_str(), captured.stderr.as_str()), ("out\n", "err\n"));
            assert!(!captured.success());
        }

        #[test]
        fn more_than_a_pipe_holds_does_not_stall() {
            let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line of some forty characters, and a bit'; \
                          echo 'the other stream, just as long a line' >&2; i=$((i+1)); done";
            let captured = sh(script).capture_within(Duration::from_secs(60)).expect("sh should run");
            assert!(captured.success());
            assert_eq!((captured.stdout.lines().count(), captured.stderr.lines().count()), (3000, 3000));
        }

        #[test]
        fn a_command_that_hangs_is_ended() {
            let started = Instant::now();
            let hanging = Command::new("sleep").arg("60");
            let captured = hanging.capture_within(Duration::from_millis(200)).expect("sleep should run");
            assert!(captured.status.is_none() && !captured.success());
            assert!(started.elapsed() < Duration::from_secs(30));
        }

        #[test]
        fn grandchildren_do_not_hold_up_the_end() {
            let started = Instant::now();
            let script = "echo before; sleep 60 & wait";
            let captured = sh(script).capture_within(Duration::from_millis(300)).expect("sh should run");
            assert_eq!(captured.stdout, "before\n");
            assert!(started.elapsed() < Duration::from_secs(30));
        }

        #[test]
        fn a_quiet_failure_tells_what_was_said() {
            let error = sh("echo no such package; exit 100").run_quietly().expect_err("it should fail");
            assert!(error.to_string().contains("no such package"), "{error}");
        }
    }
}
