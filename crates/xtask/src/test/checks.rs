use std::env;
use std::path::PathBuf;

use super::Outcome;
use crate::command::Command;
use crate::error::Error;
use crate::progress::say;
use crate::python::Pip;
use crate::workspace::Workspace;

/// The spell checker. Pinned: each version knows more words, and a new one shall not break an old commit.
const TYPOS: &str = "1.52.0";

pub(super) fn fmt(workspace: &Workspace) -> Result<Outcome, Error> {
    passed(cargo(workspace).args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy(workspace: &Workspace) -> Result<Outcome, Error> {
    let clippy = cargo(workspace).args(["clippy", "--workspace", "--all-targets", "--keep-going"]);
    passed(clippy.args(["--", "--deny", "warnings"]))
}

pub(super) fn doc(workspace: &Workspace) -> Result<Outcome, Error> {
    let doc = cargo(workspace).args(["doc", "--workspace", "--no-deps", "--keep-going"]);
    passed(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}

pub(super) fn typos(workspace: &Workspace, pip: Option<&Pip>) -> Result<Outcome, Error> {
    // One on the PATH serves where it is the pinned version; else a copy of our own does, under target/.
    let installed = Command::new("typos").arg("--version").capture();
    if installed.is_ok_and(|version| version.stdout.trim().ends_with(TYPOS)) {
        return passed(Command::new("typos").dir(&workspace.root));
    }
    let folder = workspace.scratch(&format!("typos-{TYPOS}"))?;
    let program: PathBuf = folder.join("bin").join(format!("typos{}", env::consts::EXE_SUFFIX));
    if !program.exists() {
        let Some(pip) = pip else {
            return Ok(Outcome::Skipped(format!("typos {TYPOS} comes through pip, and there is none here")));
        };
        say(format_args!("getting typos {TYPOS} through pip (8 MB)"));
        pip.install_into(&format!("typos=={TYPOS}"), &folder)?;
    }
    passed(Command::new(program).dir(&workspace.root))
}

fn cargo(workspace: &Workspace) -> Command {
    Command::cargo().dir(&workspace.root)
}

fn passed(command: Command) -> Result<Outcome, Error> {
    command.run().map(|()| Outcome::Passed)
}
