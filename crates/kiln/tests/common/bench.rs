//! A place for one test: all-MiniLM-L6-v2, and a folder for its files and its cache, so that none finds what another has
//! indexed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln::models::{ModelStore, StoreConfig};
use kiln_tests::{golden, report};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{assert_refused, has_adapter, kiln, text};

pub(crate) const MODEL: &str = "all-MiniLM-L6-v2";

/// The model, and a folder for the files and the cache of one test.
pub(crate) struct Bench {
    pub(crate) model: PathBuf,
    pub(crate) folder: TempDir,
}

impl Bench {
    /// `None`, and the test is reported as skipped, where there is no model or no adapter: then the test returns.
    #[track_caller]
    pub(crate) fn new() -> Option<Bench> {
        if !has_adapter() {
            return None;
        }
        let Ok(model) = ModelStore::new(StoreConfig::from_env()).path(MODEL) else {
            report::skip(&format!("needs {MODEL}, as `kiln models fetch {MODEL}` gets it"));
            return None;
        };
        let model = std::path::absolute(model).expect("the working directory should be known");
        Some(Bench { model, folder: tempfile::tempdir().expect("a folder should be made") })
    }

    pub(crate) fn path(&self, name: &str) -> String {
        // Part by part, so that it comes out as the system itself writes it.
        let path = name.split('/').fold(self.folder.path().to_owned(), |path, part| path.join(part));
        path.to_str().expect("the path should be text").to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        let folder = Path::new(&path).parent().expect("a file should be in a folder");
        fs::create_dir_all(folder).expect("the folder should be made");
        fs::write(&path, bytes).expect("the file should be written");
        path
    }

    /// A copy of the notes about pottery, free to be changed.
    pub(crate) fn notes(&self) -> String {
        self.write(
            "notes.md",
            fs::read(golden::root().join("assets/sample/notes.md")).expect("there are notes"),
        )
    }

    /// The binary, to be run from the repository's root, as the README does.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = kiln(args);
        command.current_dir(golden::root()).env("KILN_MODELS", &self.model);
        command.env("KILN_CACHE", self.path("cache")).env("HF_HUB_CACHE", self.path("hub"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary should start")
    }

    /// What a run that succeeds puts on stdout and on stderr.
    #[track_caller]
    pub(crate) fn told(&self, args: &[&str]) -> (String, String) {
        let output = self.run(args);
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| text(bytes).to_owned());
        assert!(output.status.success(), "kiln {}: {stderr}", args.join(" "));
        (stdout, stderr)
    }

    #[track_caller]
    pub(crate) fn succeeds(&self, args: &[&str]) -> String {
        self.told(args).0
    }

    /// All of stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let stdout = self.succeeds(args);
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("kiln {}: {e}: {stdout}", args.join(" ")))
    }

    #[track_caller]
    pub(crate) fn refuses(&self, args: &[&str], named: &str) {
        assert_refused(&self.run(args), named, &format!("kiln {}", args.join(" ")));
    }
}
