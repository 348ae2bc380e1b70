//! The house rules, held over the whole workspace: no device, no network, seconds.
//!
//! Each rule is a function from plain data to a list of complaints, with a test that it complains about what
//! is wrong and one that the project as it is gives it no cause to.

mod floors;
mod licences;
mod manifests;
mod project;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cargo_metadata::{Metadata, MetadataCommand};

/// The folder of the root `Cargo.toml`.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the tests package should lie in the project").to_owned()
}

/// What cargo knows of the workspace and of everything it depends on, on every platform.
fn metadata() -> &'static Metadata {
    static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
        let mut command = MetadataCommand::new();
        command.manifest_path(root().join("Cargo.toml")).other_options(["--locked".to_owned()]);
        command.exec().expect("cargo metadata should run on a workspace that builds")
    });
    &METADATA
}

/// A path as the rules and their complaints write it: from the root, with forward slashes.
fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap_or(path);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Fails with every complaint at once.
#[track_caller]
fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaint(s):\n  {}", complaints.len(), complaints.join("\n  "));
}

/// Fails unless there is one complaint, and it says `part`.
#[track_caller]
fn expect_one(complaints: &[String], part: &str) {
    assert!(
        matches!(complaints, [only] if only.contains(part)),
        "expected one complaint with {part:?}, got {complaints:?}"
    );
}
