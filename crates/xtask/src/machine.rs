use std::env;
use std::path::{Path, PathBuf};

use crate::command::Command;
use crate::python::Pip;

/// What is on this machine, as far as set-up cares: plain facts, so that what to do about them can be tested.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) installer: Installer,
    /// `None` where the system brings its own GPU interface (Windows, macOS).
    pub(crate) vulkan: Option<Vulkan>,
    pub(crate) pip: Option<Pip>,
    /// Fashion-MNIST is where Debian puts it.
    pub(crate) images: bool,
    /// Chromium can be steered.
    pub(crate) browser: bool,
}

/// Where Debian's package `dataset-fashion-mnist` puts its files.
const FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// How packages get onto this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installer {
    /// Debian, Ubuntu and their kin.
    Apt(Rights),
    /// A Linux whose package manager we name packages for but don't run.
    Other(Manager),
    /// A Linux that we know nothing about.
    Unknown,
    /// Windows and macOS: set-up leaves the system alone.
    None,
}

/// Whether this process may install packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    Root,
    Sudo,
    Neither,
}

/// A package manager that people are told how to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Dnf,
    Pacman,
    Zypper,
    Apk,
}

/// The parts that a Vulkan adapter is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vulkan {
    /// `libvulkan.so.1` is there.
    pub(crate) loader: bool,
    /// File names of the drivers' manifests.
    pub(crate) drivers: Vec<String>,
    /// The kernel shows a GPU.
    pub(crate) gpu: bool,
}

impl Vulkan {
    /// Whether one of the drivers needs no GPU.
    pub(crate) fn software_driver(&self) -> bool {
        self.drivers.iter().any(|name| name.starts_with("lvp_icd") || name.contains("swiftshader"))
    }
}

impl Machine {
    pub(crate) fn look() -> Self {
        Machine {
            installer: installer(),
            vulkan: cfg!(target_os = "linux").then(vulkan),
            pip: Pip::find(),
            images: Path::new(FASHION_MNIST).is_dir(),
            browser: on_path("chromedriver"),
        }
    }
}

fn installer() -> Installer {
    if !cfg!(target_os = "linux") {
        return Installer::None;
    }
    if on_path("apt-get") {
        return Installer::Apt(rights());
    }
    let known = [
        ("dnf", Manager::Dnf),
        ("pacman", Manager::Pacman),
        ("zypper", Manager::Zypper),
        ("apk", Manager::Apk),
    ];
    known
        .iter()
        .find(|(name, _)| on_path(name))
        .map_or(Installer::Unknown, |(_, found)| Installer::Other(*found))
}

fn rights() -> Rights {
    let id = Command::new("id").arg("-u").capture();
    if id.is_ok_and(|id| id.stdout.trim() == "0") {
        Rights::Root
    } else if on_path("sudo") {
        Rights::Sudo
    } else {
        Rights::Neither
    }
}

fn on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn vulkan() -> Vulkan {
    Vulkan {
        loader: library_folders().iter().any(|folder| folder.join("libvulkan.so.1").exists()),
        drivers: manifests(),
        gpu: ["/dev/nvidia0", "/dev/dxg"].iter().any(|node| Path::new(node).exists())
            || names("/dev/dri").iter().any(|name| name.starts_with("renderD")),
    }
}

fn library_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib"].map(Into::into).into();
    // Debian keeps libraries one folder deeper, by architecture: /usr/lib/x86_64-linux-gnu.
    let by_architecture = names("/usr/lib").into_iter().filter(|name| name.contains("-linux-"));
    folders.extend(by_architecture.map(|name| Path::new("/usr/lib").join(name)));
    folders.extend(paths_in("LD_LIBRARY_PATH"));
    folders
}

/// The manifests that the loader would read, by file name.
fn manifests() -> Vec<String> {
    // These two replace the loader's search altogether.
    let named: Vec<PathBuf> =
        ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].into_iter().flat_map(paths_in).collect();
    if !named.is_empty() {
        let file_name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        return named.iter().filter(|path| path.exists()).filter_map(file_name).collect();
    }
    let data = env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let system = ["/usr/share", "/etc", "/usr/local/share", "/usr/local/etc", "/etc/xdg"].map(PathBuf::from);
    let folders = system.into_iter().chain(data).map(|folder| folder.join("vulkan/icd.d"));
    folders.flat_map(names).filter(|name| name.ends_with(".json")).collect()
}

fn paths_in(variable: &str) -> Vec<PathBuf> {
    env::var_os(variable).map(|paths| env::split_paths(&paths).collect()).unwrap_or_default()
}

/// The names in a folder; none where there is no such folder.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = folder.as_ref().read_dir().into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_drivers_are_known_by_name() {
        let vulkan = |drivers: &[&str]| Vulkan {
            drivers: drivers.iter().map(|name| name.to_string()).collect(),
            ..Vulkan::default()
        };
        assert!(vulkan(&["intel_icd.x86_64.json", "lvp_icd.x86_64.json"]).software_driver());
        assert!(vulkan(&["vk_swiftshader_icd.json"]).software_driver());
        assert!(!vulkan(&["intel_icd.x86_64.json", "nvidia_icd.json"]).software_driver());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_names() {
        assert!(names("/no/such/folder").is_empty());
    }
}
