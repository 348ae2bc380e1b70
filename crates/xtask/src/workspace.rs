use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Where the project and what is built from it lie.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever its settings put it.
    pub(crate) target: PathBuf,
}

/// A build profile, by the folder that cargo gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub(crate) fn find() -> Result<Self, Error> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().map_err(Error::file("find the project at", &root))?;
        // Cargo builds this program to `<target>/<profile>/xtask`; asking it again would take half a second.
        let target = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
        Ok(Workspace { target: target.unwrap_or_else(|| root.join("target")), root: plain(root) })
    }

    /// The `kiln` binary of a profile.
    pub(crate) fn kiln(&self, profile: Profile) -> PathBuf {
        let folder = match profile {
            Profile::Debug => "debug",
            Profile::Release => "release",
        };
        self.target.join(folder).join(format!("kiln{}", std::env::consts::EXE_SUFFIX))
    }

    /// A folder of this program's own under the target folder, made where it is missing.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.target.join("xtask").join(name);
        fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
        Ok(folder)
    }
}

/// Without the `\\?\` that Windows puts before a canonical path and that cargo can't use everywhere.
fn plain(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_prefix(r"\\?\")) {
        Some(text) => PathBuf::from(text),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let workspace = Workspace::find().expect("the tests should run in the project");
        assert!(workspace.root.join("crates/xtask/Cargo.toml").is_file());
    }

    #[test]
    fn a_verbatim_prefix_goes() {
        assert_eq!(plain(PathBuf::from(r"\\?\C:\kiln")), PathBuf::from(r"C:\kiln"));
        assert_eq!(plain(PathBuf::from("/home/kiln")), PathBuf::from("/home/kiln"));
    }
}
