//! Progress bars: on stderr, on a terminal, and gone when done.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or nothing at all where nobody watches.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn items(what: &'static str, total: u64, quiet: bool) -> Progress {
        Progress::new("{prefix} {wide_bar} {pos}/{len} {eta:>4}", quiet, what, total)
    }

    pub(crate) fn bytes(quiet: bool) -> Progress {
        let template =
            "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta:>4}";
        Progress::new(template, quiet, "", 0)
    }

    fn new(template: &str, quiet: bool, what: &'static str, total: u64) -> Progress {
        // indicatif itself stays silent where stderr is no terminal.
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template(template).expect("the template should be well formed");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style).with_prefix(what);
        Progress(bar)
    }

    /// How far it is.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// How far it is, with another name and total.
    pub(crate) fn set_all(&self, what: &str, done: u64, total: u64) {
        if self.0.prefix() != what {
            self.0.set_prefix(what.to_owned());
        }
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
