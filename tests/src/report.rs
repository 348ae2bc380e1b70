//! What a test process tells the one who started it: the adapter it used and the tests that skipped.
//!
//! The standard test runner knows neither, and has no place for a closing line of ours. So each is one line on
//! stderr, past the runner's capture, and one line appended to the file that `KILN_TEST_LOG` names; `cargo xtask
//! test` names one and adds them up:
//! ```text
//! adapter: llvmpipe (LLVM 15.0.6, 256 bits) (software, vulkan, …)
//! skip: models::t5::logits: needs t5-small/model.safetensors in KILN_TEST_DATA
//! ```

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::Location;
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

/// Says, once a process, which adapter the tests run on.
pub(crate) fn adapter(name: &str) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| tell(&format!("adapter: {name}")));
}

/// Says that the running test is skipped, and why. The test then returns: it counts as skipped, not as passed. It may
/// say so many times and is heard once.
#[track_caller]
pub fn skip(reason: &str) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let line = format!("skip: {}: {reason}", test_name());
    let new = TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(line.clone());
    if new {
        tell(&line);
    }
}

/// `binary::module::test`, as far as it can be known.
#[track_caller]
fn test_name() -> String {
    let place = Location::caller();
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    // Cargo appends a hash to the name of a test program.
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    // The runner names a thread after its test, but runs tests on the main thread where it may use only one.
    match std::thread::current().name() {
        Some(name) if name != "main" => format!("{program}::{name}"),
        _ => format!("{program}::{}:{}", place.file(), place.line()),
    }
}

fn tell(line: &str) {
    // A message that cannot be written must not fail the test that it is about.
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Some(path) = std::env::var_os("KILN_TEST_LOG") {
        append(Path::new(&path), line);
    }
}

/// One write a line, in append mode: lines of several processes do not mix.
fn append(path: &Path, line: &str) {
    let log = OpenOptions::new().create(true).append(true).open(path);
    let mut log = log.unwrap_or_else(|e| panic!("KILN_TEST_LOG {}: {e}", path.display()));
    log.write_all(format!("{line}\n").as_bytes())
        .unwrap_or_else(|e| panic!("KILN_TEST_LOG {}: {e}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended() {
        let path = std::env::temp_dir().join(format!("kiln-report-{}", std::process::id()));
        append(&path, "adapter: one");
        append(&path, "skip: two");
        let text = std::fs::read_to_string(&path).expect("the log should be readable");
        std::fs::remove_file(&path).expect("the log should be removable");
        assert_eq!(text, "adapter: one\nskip: two\n");
    }

    #[test]
    fn a_test_knows_its_name() {
        let name = test_name();
        assert!(name.starts_with("kiln_tests::"), "{name}");
        assert!(name.ends_with("a_test_knows_its_name") || name.contains("report.rs:"), "{name}");
    }
}
