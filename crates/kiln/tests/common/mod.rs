//! The binary as both suites run it: away from the network and from the user's own models and indexes.

use std::process::{Command, Output};

use kiln_tests::report;

/// The binary with arguments, ready to run.
pub(crate) fn kiln(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    for variable in ["KILN_MODELS", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT"] {
        command.env_remove(variable);
    }
    // What was measured in an earlier run must not decide what a test finds.
    command.env("HF_HUB_OFFLINE", "1").env("KILN_NO_TUNE", "1").args(args);
    command
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the output should be text")
}

/// Whether a test may open an adapter. Where it may not, it is reported as skipped and returns.
#[track_caller]
pub(crate) fn has_adapter() -> bool {
    let has_one = std::env::var("KILN_ADAPTER").as_deref() != Ok("none");
    if !has_one {
        report::skip("KILN_ADAPTER is none");
    }
    has_one
}

/// Expects exit code 2, nothing on stdout, and one line on stderr that names the thing.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, named: &str, what: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {stderr}");
    assert!(output.stdout.is_empty(), "{what}: {}", text(&output.stdout));
    assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(named), "{what}: {stderr}");
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
}
