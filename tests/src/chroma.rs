//! A real Chroma server, for the tests of the store that speaks to one.
//!
//! `KILN_TEST_CHROMA` names a folder with Python's package `chromadb` in it, as `cargo xtask test` sets up; where it is
//! not set, a `chroma` on the `PATH` serves.

use std::env;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::report;

/// What `chroma` itself does, without the packages that only its Python interface needs.
const START: &str = "import sys, chromadb_rust_bindings as c; c.cli(['chroma', *sys.argv[1:]])";

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of this test alone, with nothing in it; it ends when this value goes.
#[derive(Debug)]
pub struct ChromaServer {
    child: Child,
    port: u16,
    /// What it keeps.
    _folder: TempDir,
}

impl ChromaServer {
    /// Starts a server. `None`, and the test is reported as skipped, where there is none on this machine: then the test
    /// returns.
    ///
    /// # Panics
    /// Where there is one, and it does not start.
    #[track_caller]
    pub fn start() -> Option<ChromaServer> {
        let Some(mut command) = program() else {
            report::skip(
                "needs a Chroma server: Python's package chromadb in KILN_TEST_CHROMA, or chroma on the PATH",
            );
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder should be made");
        let port = free_port();
        command.arg("run").arg("--path").arg(folder.path()).args(["--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string()]).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut server = ChromaServer { child, port, _folder: folder };
        let started = Instant::now();
        while ureq::get(format!("{}/api/v2/heartbeat", server.url())).call().is_err() {
            let ended = server.child.try_wait().expect("the server should be watched");
            assert!(ended.is_none(), "{command:?} ended with {ended:?}");
            assert!(started.elapsed() < PATIENCE, "{command:?} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a machine that fails does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ChromaServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command that starts a server, up to its options.
fn program() -> Option<Command> {
    if let Some(folder) = env::var_os("KILN_TEST_CHROMA") {
        let python = if cfg!(windows) { "python" } else { "python3" };
        let mut command = Command::new(python);
        command.args(["-c", START]).env("PYTHONPATH", folder);
        return Some(command);
    }
    on_path("chroma", env::var_os("PATH")?).map(Command::new)
}

fn on_path(program: &str, path: OsString) -> Option<PathBuf> {
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|folder| folder.join(&name)).find(|path: &PathBuf| Path::is_file(path))
}

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a local port should be free");
    listener.local_addr().expect("a listener should have an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_order() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let path =
            env::join_paths(folders.iter().map(TempDir::path)).expect("the folders should make a PATH");
        assert_eq!(on_path("chroma", path.clone()), None);
        let program = folders[1].path().join(format!("chroma{}", env::consts::EXE_SUFFIX));
        std::fs::write(&program, "").expect("it should be written");
        assert_eq!(on_path("chroma", path), Some(program));
    }
}
