use std::path::PathBuf;

use crate::error::Error;
use crate::progress::say;
use crate::python::Pip;
use crate::workspace::Workspace;

/// A Chroma server, with which some tests compare Kiln's own store. Pinned, so that a new one shall not break an old
/// commit.
const CHROMADB: &str = "1.5.9";

/// The folder of a Chroma server. Without the packages that its Python interface needs, it is one wheel of 23 MB.
pub(crate) fn ensure(workspace: &Workspace, pip: &Pip) -> Result<PathBuf, Error> {
    let folder = workspace.scratch(&format!("chromadb-{CHROMADB}"))?;
    if !folder.join("chromadb_rust_bindings").is_dir() {
        say(format_args!("getting chromadb {CHROMADB} through pip (23 MB)"));
        pip.install_into(&format!("chromadb=={CHROMADB}"), &folder)?;
    }
    Ok(folder)
}
