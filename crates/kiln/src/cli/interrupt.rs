//! Ctrl-C: exit code 130, and no half-written file of ours stays behind.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const INTERRUPTED: i32 = 130;

/// The file being written just now under a name that is not its own yet.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Names the file to remove on an interrupt, or none.
pub(crate) fn set_unfinished(path: Option<&Path>) {
    *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = path.map(Path::to_owned);
}

/// Starts to listen for Ctrl-C.
pub(crate) fn watch() {
    let handler = || {
        // The lock is held to the end, so that no file is finished or begun in between.
        let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &*unfinished {
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
