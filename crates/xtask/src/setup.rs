use std::fmt;
use std::path::Path;

use crate::command::Command;
use crate::error::Error;
use crate::machine::{Installer, Machine, Manager, Rights};
use crate::progress::{heading, say};
use crate::python::{Pip, twice};

/// What a task needs of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// A GPU, or a driver that stands in for one.
    pub(crate) adapter: bool,
    /// pip, to get at what the Python index hands out.
    pub(crate) pip: bool,
    /// Real images to train on, where a package manager that we run brings them; tests that want them skip elsewhere.
    pub(crate) images: bool,
    /// A browser to open the web page in, on the same terms.
    pub(crate) browser: bool,
}

/// Something that packages can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    VulkanLoader,
    SoftwareDriver,
    Pip,
    Images,
    Browser,
}

impl Need {
    fn apt(self) -> &'static [&'static str] {
        match self {
            Need::VulkanLoader => &["libvulkan1"],
            Need::SoftwareDriver => &["mesa-vulkan-drivers"],
            Need::Pip => &["python3", "python3-pip"],
            Need::Images => &["dataset-fashion-mnist"],
            Need::Browser => &["chromium", "chromium-driver"],
        }
    }

    fn elsewhere(self, manager: Manager) -> &'static str {
        match (manager, self) {
            (Manager::Dnf, Need::VulkanLoader) => "vulkan-loader",
            (Manager::Dnf, Need::SoftwareDriver) => "mesa-vulkan-drivers",
            (Manager::Pacman, Need::VulkanLoader) => "vulkan-icd-loader",
            (Manager::Pacman, Need::SoftwareDriver) => "vulkan-swrast",
            (Manager::Zypper, Need::VulkanLoader) => "libvulkan1",
            (Manager::Zypper, Need::SoftwareDriver) => "libvulkan_lvp",
            (Manager::Apk, Need::VulkanLoader) => "vulkan-loader",
            (Manager::Apk, Need::SoftwareDriver) => "mesa-vulkan-swrast",
            (Manager::Pacman, Need::Pip) => "python-pip",
            (Manager::Apk, Need::Pip) => "py3-pip",
            (Manager::Dnf | Manager::Zypper, Need::Pip) => "python3-pip",
            // Nobody is asked for these.
            (_, Need::Images | Need::Browser) => "",
        }
    }

    /// Tests do without it, and say so.
    fn is_optional(self) -> bool {
        matches!(self, Need::Images | Need::Browser)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::VulkanLoader => "the Vulkan loader (libvulkan.so.1)",
            Need::SoftwareDriver => "a Vulkan driver that works here (Mesa's software one does everywhere)",
            Need::Pip => "Python with pip",
            Need::Images => "Fashion-MNIST, which some tests train on",
            Need::Browser => "Chromium, in which some tests open the web page",
        })
    }
}

/// What `wants` needs and `machine` lacks.
pub(crate) fn missing(machine: &Machine, wants: Wants) -> Vec<Need> {
    let mut missing = Vec::new();
    if let (true, Some(vulkan)) = (wants.adapter, &machine.vulkan) {
        if !vulkan.loader {
            missing.push(Need::VulkanLoader);
        }
        // A driver for a GPU that is not there (distributions install several at once) finds no adapter.
        let works = vulkan.software_driver() || (vulkan.gpu && !vulkan.drivers.is_empty());
        if !works {
            missing.push(Need::SoftwareDriver);
        }
    }
    // Where we install nothing, a Python that is not there is the business of the step that would use it.
    if wants.pip && machine.pip.is_none() && machine.installer != Installer::None {
        missing.push(Need::Pip);
    }
    if matches!(machine.installer, Installer::Apt(Rights::Root | Rights::Sudo)) {
        if wants.images && !machine.images {
            missing.push(Need::Images);
        }
        if wants.browser && !machine.browser {
            missing.push(Need::Browser);
        }
    }
    missing
}

/// Says what is missing and how it would come: all of what `--no-install` does.
pub(crate) fn tell(machine: &Machine, wants: Wants) {
    heading("Set-up: what is missing");
    let missing = missing(machine, wants);
    if missing.is_empty() {
        say("nothing; no package would be installed");
    }
    missing.iter().for_each(|need| say(format_args!("missing: {need}")));
    if !missing.is_empty() {
        say(advice(machine.installer, &missing));
    }
}

/// Installs what `wants` needs and `machine` lacks, after saying what `apt` is asked for.
pub(crate) fn ensure(machine: &mut Machine, wants: Wants) -> Result<(), Error> {
    let (optional, needs): (Vec<Need>, Vec<Need>) =
        missing(machine, wants).into_iter().partition(|need| need.is_optional());
    if needs.is_empty() && optional.is_empty() {
        say("all there");
        return Ok(());
    }
    if !needs.is_empty() {
        install(machine, &needs)?;
    }
    // One by one: where a distribution has no package of the one, the other may come all the same.
    for need in optional {
        if let Err(error) = install(machine, &[need]) {
            say(format_args!("going on without: {error}"));
        }
    }
    Ok(())
}

/// Makes sure that `kiln` finds an adapter, now that there is a `kiln` to ask: a driver that is there may
/// still not work. Returns what `kiln devices` printed.
pub(crate) fn ensure_adapter(machine: &mut Machine, kiln: &Path) -> Result<String, Error> {
    let devices = Command::new(kiln).arg("devices");
    let first = devices.capture()?;
    if first.success() {
        return Ok(first.stdout);
    }
    let may_help = machine.vulkan.as_ref().is_some_and(|vulkan| !vulkan.software_driver());
    if may_help {
        say("no driver here finds a GPU");
        install(machine, &[Need::SoftwareDriver])?;
        let second = devices.capture()?;
        if second.success() {
            return Ok(second.stdout);
        }
    }
    let reason = first.stderr.trim().to_owned();
    Err(Error::SetUp(format!("`{devices}` finds no adapter that Kiln can use: {reason}")))
}

/// pip, installed first where it is missing.
pub(crate) fn ensure_pip(machine: &mut Machine) -> Result<Pip, Error> {
    if machine.pip.is_none() && machine.installer != Installer::None {
        install(machine, &[Need::Pip])?;
    }
    machine.pip.clone().ok_or_else(|| Error::SetUp("no Python with pip is on the PATH; install one".into()))
}

fn install(machine: &mut Machine, needs: &[Need]) -> Result<(), Error> {
    needs.iter().for_each(|need| say(format_args!("missing: {need}")));
    let sudo = match machine.installer {
        Installer::Apt(Rights::Root) => false,
        Installer::Apt(Rights::Sudo) => true,
        Installer::Apt(Rights::Neither) | Installer::Other(_) | Installer::Unknown | Installer::None => {
            return Err(Error::SetUp(advice(machine.installer, needs)));
        }
    };
    let packages = apt_packages(needs);
    say(format_args!("asking apt for: {} (a minute or two)", packages.join(" ")));
    // A list that can't be brought up to date (one dead source among many) need not stop the install.
    if let Err(error) = twice(|| apt(sudo).arg("update").run_quietly()) {
        say(format_args!("going on with the package lists as they are: {error}"));
    }
    let install = apt(sudo).args(["install", "--yes", "--no-install-recommends"]).args(&packages);
    twice(|| install.run_quietly())?;
    *machine = Machine::look();
    say("installed");
    Ok(())
}

fn apt(sudo: bool) -> Command {
    // sudo drops the environment, so `env` puts it back on its side.
    let start = if sudo { Command::new("sudo").arg("env") } else { Command::new("env") };
    // Another apt may be at work on a machine that has just been started.
    start.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"])
}

fn apt_packages(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().flat_map(|need| need.apt()).copied().collect()
}

/// How a person would install what is missing.
fn advice(installer: Installer, needs: &[Need]) -> String {
    let apt = apt_packages(needs).join(" ");
    let elsewhere = |manager| needs.iter().map(|need| need.elsewhere(manager)).collect::<Vec<_>>().join(" ");
    match installer {
        Installer::Apt(Rights::Root) => format!("would run: apt-get install {apt}"),
        Installer::Apt(Rights::Sudo) => format!("would run: sudo apt-get install {apt}"),
        Installer::Apt(Rights::Neither) => {
            format!("installing needs root, and there is no sudo; as root, run: apt-get install {apt}")
        }
        Installer::Other(manager) => {
            let command = match manager {
                Manager::Dnf => "dnf install",
                Manager::Pacman => "pacman -S",
                Manager::Zypper => "zypper install",
                Manager::Apk => "apk add",
            };
            format!("please install what is missing: {command} {}", elsewhere(manager))
        }
        Installer::Unknown => format!("please install what is missing; Debian's packages for it are: {apt}"),
        Installer::None => "please install what is missing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Vulkan;

    const ALL: Wants = Wants { adapter: true, pip: true, images: true, browser: true };

    fn machine(installer: Installer, vulkan: Option<Vulkan>) -> Machine {
        Machine { installer, vulkan, pip: None, images: false, browser: false }
    }

    fn vulkan(loader: bool, drivers: &[&str], gpu: bool) -> Option<Vulkan> {
        Some(Vulkan { loader, drivers: drivers.iter().map(|name| name.to_string()).collect(), gpu })
    }

    #[test]
    fn a_bare_debian_needs_everything() {
        let bare = machine(Installer::Apt(Rights::Root), vulkan(false, &[], false));
        assert_eq!(
            missing(&bare, ALL),
            [Need::VulkanLoader, Need::SoftwareDriver, Need::Pip, Need::Images, Need::Browser]
        );
        let packages = [
            "libvulkan1",
            "mesa-vulkan-drivers",
            "python3",
            "python3-pip",
            "dataset-fashion-mnist",
            "chromium",
            "chromium-driver",
        ];
        assert_eq!(apt_packages(&missing(&bare, ALL)), packages);
    }

    #[test]
    fn only_what_is_wanted_counts() {
        let bare = machine(Installer::Apt(Rights::Root), vulkan(false, &[], false));
        let nothing = Wants { adapter: false, pip: false, images: false, browser: false };
        assert_eq!(missing(&bare, Wants { pip: true, ..nothing }), [Need::Pip]);
        assert_eq!(missing(&bare, Wants { browser: true, ..nothing }), [Need::Browser]);
        assert_eq!(missing(&bare, nothing), []);
    }

    #[test]
    fn a_driver_without_its_gpu_does_not_count() {
        let wants = Wants { adapter: true, pip: false, images: false, browser: false };
        let drivers = ["intel_icd.x86_64.json", "radeon_icd.x86_64.json"];
        let headless = machine(Installer::Apt(Rights::Root), vulkan(true, &drivers, false));
        assert_eq!(missing(&headless, wants), [Need::SoftwareDriver]);
        let desktop = machine(Installer::Apt(Rights::Root), vulkan(true, &drivers, true));
        assert_eq!(missing(&desktop, wants), []);
        let gpu_without_driver = machine(Installer::Apt(Rights::Root), vulkan(true, &[], true));
        assert_eq!(missing(&gpu_without_driver, wants), [Need::SoftwareDriver]);
        let software = machine(Installer::Apt(Rights::Root), vulkan(true, &["lvp_icd.x86_64.json"], false));
        assert_eq!(missing(&software, wants), []);
    }

    #[test]
    fn windows_and_macos_need_nothing() {
        assert_eq!(missing(&machine(Installer::None, None), ALL), []);
    }

    #[test]
    fn advice_fits_the_machine() {
        let needs = [Need::SoftwareDriver, Need::Pip];
        let cases = [
            (
                Installer::Apt(Rights::Sudo),
                "would run: sudo apt-get install mesa-vulkan-drivers python3 python3-pip",
            ),
            (Installer::Other(Manager::Dnf), "dnf install mesa-vulkan-drivers python3-pip"),
            (Installer::Other(Manager::Pacman), "pacman -S vulkan-swrast python-pip"),
            (Installer::Other(Manager::Apk), "apk add mesa-vulkan-swrast py3-pip"),
            (Installer::Unknown, "Debian's packages for it are: mesa-vulkan-drivers python3 python3-pip"),
        ];
        for (installer, expected) in cases {
            let text = advice(installer, &needs);
            assert!(text.ends_with(expected), "{text}");
        }
    }

    #[test]
    fn without_rights_the_command_is_told_instead() {
        let mut machine = machine(Installer::Apt(Rights::Neither), vulkan(true, &[], false));
        let error = ensure(&mut machine, ALL).expect_err("it has no right to install");
        assert!(error.to_string().contains("as root, run: apt-get install mesa-vulkan-drivers"), "{error}");
    }
}
