use std::fs;
use std::path::{Path, PathBuf};

use crate::command::Command;
use crate::error::Error;

/// A Python that has pip: the way to files that the Python index hands out.
#[derive(Clone, Debug)]
pub(crate) struct Pip {
    python: Vec<&'static str>,
}

impl Pip {
    /// The first Python on this machine whose pip answers.
    pub(crate) fn find() -> Option<Self> {
        // apt's pip belongs to the system's Python, which another one may hide on the PATH.
        let candidates: &[&[&str]] = if cfg!(windows) {
            &[&["py", "-3"], &["python"]]
        } else {
            &[&["python3"], &["/usr/bin/python3"], &["python"]]
        };
        candidates.iter().map(|python| Pip { python: python.to_vec() }).find(Pip::answers)
    }

    fn answers(&self) -> bool {
        self.pip("--version").capture().is_ok_and(|captured| captured.success())
    }

    fn pip(&self, command: &str) -> Command {
        Command::new(self.python[0])
            .args(&self.python[1..])
            .args(["-m", "pip", command])
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .env("PIP_ROOT_USER_ACTION", "ignore")
    }

    /// Downloads the wheel of `requirement` (`name==version`) into the empty `folder`; its path. pip's
    /// progress bar shows.
    pub(crate) fn download(&self, requirement: &str, folder: &Path) -> Result<PathBuf, Error> {
        let download =
            self.pip("download").args(["--no-deps", "--only-binary", ":all:", "--dest"]).arg(folder);
        twice(|| download.clone().arg(requirement).run())?;
        let entries = fs::read_dir(folder).map_err(Error::file("list the folder", folder))?;
        let mut wheels = entries.flatten().map(|entry| entry.path());
        wheels.find(|path| path.extension().is_some_and(|extension| extension == "whl")).ok_or_else(|| {
            let message = format!("no wheel here after pip downloaded {requirement}");
            Error::Content { path: folder.to_owned(), message }
        })
    }

    /// Installs `requirement` into a folder of its own. Nothing of the system's Python changes, so a
    /// distribution that manages that Python has no objection.
    pub(crate) fn install_into(&self, requirement: &str, folder: &Path) -> Result<(), Error> {
        let install =
            self.pip("install").args(["--quiet", "--no-deps", "--only-binary", ":all:", "--upgrade"]);
        let install = install.arg("--target").arg(folder).arg(requirement);
        twice(|| install.run_quietly())
    }
}

/// Tries once more after a failure: what talks to a network now and then fails for no lasting reason.
pub(crate) fn twice(mut attempt: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    attempt().or_else(|_| {
        std::thread::sleep(std::time::Duration::from_secs(3));
        attempt()
    })
}
