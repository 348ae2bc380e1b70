//! Ctrl-C: exit code 130, and no half-written file of ours stays behind.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const INTERRUPTED: i32 = 130;

/// The files being written just now under names that are not their own yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

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

/// Starts to listen for Ctrl-C.
pub(crate) fn watch() {
    let handler = || {
        // The lock is held to the end, so that no file is finished or begun in between.
        let unfinished = unfinished();
        for path in &*unfinished {
            let _ = std::fs::remove_file(path);
        }
        let mut stderr = std::io::stderr();
        if stderr.is_terminal() {
            // Off the line of a progress bar.
            let _ = writeln!(stderr);
        }
        std::process::exit(INTERRUPTED);
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        log::debug!("Ctrl-C is not handled: {error}");
    }
}
