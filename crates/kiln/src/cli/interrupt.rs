//! Ctrl-C: exit code 130, and no half-written file of ours stays behind. A command that has something to save is asked to
//! come to its end first; a second Ctrl-C does not wait for that.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The exit code of an interrupted command.
pub(crate) const INTERRUPTED: u8 = 130;

/// What stops sooner needs no word.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether the command wants to be asked.
static ASKS: AtomicBool = AtomicBool::new(false);
/// Whether it has been asked.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Whether it goes on afterwards, so that there is nothing to tell.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// The files being written just now under names that are not their own yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From here on Ctrl-C does not end the command: it looks at [`asked`] from time to time, and ends by itself.
pub(crate) fn ask_first() {
    ASKS.store(true, Ordering::SeqCst);
}

/// Whether Ctrl-C has been pressed since [`ask_first`], or while a [`Stoppable`] lives.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Work that Ctrl-C stops without ending the command, for as long as this value lives.
pub(crate) struct Stoppable(());

/// From here on Ctrl-C stops what is being done, which looks at [`asked`] from time to time, and the command goes on. A
/// second Ctrl-C ends it.
pub(crate) fn stoppable() -> Stoppable {
    ASKED.store(false, Ordering::SeqCst);
    GOES_ON.store(true, Ordering::SeqCst);
    ASKS.store(true, Ordering::SeqCst);
    Stoppable(())
}

/// As [`stoppable`], for work that saves what it has done when it is stopped, and ends the command.
pub(crate) fn saving() -> Stoppable {
    ASKED.store(false, Ordering::SeqCst);
    ASKS.store(true, Ordering::SeqCst);
    Stoppable(())
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        ASKS.store(false, Ordering::SeqCst);
        GOES_ON.store(false, Ordering::SeqCst);
        ASKED.store(false, Ordering::SeqCst);
    }
}

/// Names a file to remove on an interrupt.
pub(crate) fn add_unfinished(path: &Path) {
    unfinished().push(path.to_owned());
}

/// Takes back what [`add_unfinished`] said.
pub(crate) fn remove_unfinished(path: &Path) {
    unfinished().retain(|unfinished| unfinished != path);
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells that something is being stopped, unless it is soon done.
fn tell_if_slow() {
    thread::sleep(PATIENCE);
    if asked() {
        let _ = writeln!(std::io::stderr(), "\nstopping after this step; another Ctrl-C ends kiln");
    }
}

/// Starts to listen for Ctrl-C.
pub(crate) fn watch() {
    let handler = || {
        let mut stderr = std::io::stderr();
        if ASKS.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
            // A step may take a while; who hears nothing presses once more.
            match stderr.is_terminal() {
                true if GOES_ON.load(Ordering::SeqCst) => drop(thread::spawn(tell_if_slow)),
                true => drop(writeln!(stderr, "\nsaving after this step; another Ctrl-C stops without")),
                false => {}
            }
            return;
        }
        // The lock is held to the end, so that no file is finished or begun in between.
        let unfinished = unfinished();
        for path in &*unfinished {
            let _ = std::fs::remove_file(path);
        }
        if stderr.is_terminal() {
            // Off the line of a progress bar.
            let _ = writeln!(stderr);
        }
        std::process::exit(INTERRUPTED.into());
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        log::debug!("Ctrl-C is not handled: {error}");
    }
}
