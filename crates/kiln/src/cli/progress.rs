//! Progress bars: on stderr, on a terminal, for what takes more than a moment, and gone when done.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// What is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// A bar that is not heard from shows by its clock that it is alive.
const TICK: Duration = Duration::from_millis(500);

/// A bar, or nothing at all where nobody watches.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    waiting: Option<Waiting>,
}

/// A thread that shows the bar when patience is at its end, unless it hears before that the work is done.
#[derive(Debug)]
struct Waiting {
    done: Sender<()>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Counts to `total`.
    pub(crate) fn items(what: &'static str, total: u64, quiet: bool) -> Progress {
        Progress::new("{prefix} {wide_bar} {pos}/{len} {left:>4}", quiet, what, total)
    }

    /// Counts bytes to a total not yet known.
    pub(crate) fn bytes(quiet: bool) -> Progress {
        let template =
            "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {left:>4}";
        Progress::new(template, quiet, "", 0)
    }

    /// Counts the steps of an epoch, with a line that says how it goes.
    pub(crate) fn steps(quiet: bool) -> Progress {
        Progress::new("{msg} {wide_bar} {pos}/{len}", quiet, "", 0)
    }

    /// Counts nothing but time: for work that goes on in one piece.
    pub(crate) fn clock(what: &'static str, quiet: bool) -> Progress {
        Progress::new("{prefix} {elapsed:>4}", quiet, what, 1)
    }

    fn new(template: &str, quiet: bool, what: &'static str, total: u64) -> Progress {
        let style = ProgressStyle::with_template(template)
            .expect("the template should be well formed")
            .with_key("left", left);
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let bar = bar.with_style(style).with_prefix(what);
        let waiting = (!quiet && io::stderr().is_terminal()).then(|| Waiting::new(bar.clone()));
        Progress { bar, waiting }
    }

    /// How far it is.
    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// How far it is, with a line of its own and the total.
    pub(crate) fn set_message(&self, message: &str, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
    }

    /// What is being done besides.
    pub(crate) fn set_note(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    /// Lets lines be written above the bar.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// How far it is, with another name and total.
    pub(crate) fn set_all(&self, what: &str, done: u64, total: u64) {
        if self.bar.prefix() != what {
            self.bar.set_prefix(what.to_owned());
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

/// How long it will still take; nothing before there is something to judge by.
fn left(state: &ProgressState, out: &mut dyn fmt::Write) {
    if state.pos() > 0 {
        let _ = write!(out, "{:#}", HumanDuration(state.eta()));
    }
}

impl Waiting {
    fn new(bar: ProgressBar) -> Waiting {
        let (done, news) = mpsc::channel();
        let thread = thread::spawn(move || {
            if news.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(TICK);
            }
        });
        Waiting { done, thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Waiting { done, thread }) = self.waiting.take() {
            drop(done);
            // It has nothing to panic about; without it the bar could appear once more.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}
