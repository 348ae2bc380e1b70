//! What tuning found out, kept on disk: a file for each adapter and driver, in JSON, that people can read.

use std::collections::BTreeMap;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

use fnv::FnvHasher;
use kiln_engine::{Choices, Finding};
use kiln_gpu::DeviceProfile;
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::ModelError;
use crate::lock::Lock;

/// The folder of a cache directory in which the files lie.
const FOLDER: &str = "tuning";

/// The files of a cache directory.
///
/// A file holds for one adapter with one version of its driver, and for one build's kernels: of another build it is not
/// read, and replaced by what is found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TuningStore(PathBuf);

/// What is kept of one adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver, with the version.
    pub driver: String,
    /// The interface that it is reached by.
    pub backend: String,
    /// The kernels that were measured, by their fingerprint.
    pub kernels: String,
    /// Choices by the keys of their questions.
    pub choices: BTreeMap<String, Choice>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What runs.
    pub chosen: String,
    /// What the table would have.
    pub table: String,
    /// Median times of the candidates, in milliseconds.
    pub times_ms: BTreeMap<String, f64>,
}

impl TuningStore {
    /// The store of a cache directory, which need not be there.
    pub fn new(cache_dir: &Path) -> TuningStore {
        TuningStore(cache_dir.join(FOLDER))
    }

    /// The file of an adapter.
    pub fn path(&self, profile: &DeviceProfile) -> PathBuf {
        let mut name: String =
            profile.name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        name.truncate(name.char_indices().nth(40).map_or(name.len(), |(end, _)| end));
        // Adapters of one name may have several drivers.
        let identity = [&profile.name, &profile.driver, &profile.backend].map(String::as_str).join("\n");
        self.0.join(format!("{}-{:016x}.json", name.trim_matches('-'), fnv(&identity)))
    }

    /// The choices for an adapter: none where nothing is kept for it, or for other kernels. A file that cannot be read or
    /// makes no sense is told of in the log, and otherwise as if it were not there.
    pub fn choices(&self, profile: &DeviceProfile) -> Choices {
        let path = self.path(profile);
        match read(&path) {
            Ok(Some(tuning)) if tuning.is_of(profile) => {
                tuning.choices.into_iter().map(|(key, choice)| (key, choice.chosen)).collect()
            }
            Ok(Some(_)) => {
                log::info!("{}: is of other kernels or another driver, and not used", path.display());
                Choices::default()
            }
            Ok(None) => Choices::default(),
            Err(error) => {
                log::warn!("{error}: tuned choices are not used");
                Choices::default()
            }
        }
    }

    /// Adds findings to what is kept for an adapter; those that are not settled are left out. Gives the file. What others
    /// add at the same time, in this process or another, is kept as well.
    ///
    /// # Errors
    /// [`ModelError::Io`] where it cannot be written.
    pub fn add(&self, profile: &DeviceProfile, findings: &[Finding]) -> Result<PathBuf, ModelError> {
        let path = self.path(profile);
        fs::create_dir_all(&self.0).map_err(|error| ModelError::io(&self.0, error))?;
        let _lock = Lock::wait(&self.0, FOLDER);
        let kept = read(&path).ok().flatten().filter(|tuning| tuning.is_of(profile));
        let mut tuning = kept.unwrap_or_else(|| Tuning::empty(profile));
        tuning.choices.extend(findings.iter().filter(|finding| finding.settled).map(Choice::of));
        let text = serde_json::to_string_pretty(&tuning).map_err(io::Error::from);
        let written = text.and_then(|text| atomic::write_file(&path, format!("{text}\n").as_bytes()));
        written.map_err(|error| ModelError::io(&path, error))?;
        Ok(path)
    }

    /// All that is kept, with its files, ordered by their names. Files that make no sense are told of in the log, and left
    /// out.
    pub fn list(&self) -> Vec<(PathBuf, Tuning)> {
        let sound = |path: &PathBuf| match read(path) {
            Ok(tuning) => tuning,
            Err(error) => {
                log::warn!("{error}: no choices of tuning");
                None
            }
        };
        let files = self.files().into_iter();
        files.filter_map(|path| sound(&path).map(|tuning| (path, tuning))).collect()
    }

    /// Removes all files; gives their number.
    ///
    /// # Errors
    /// [`ModelError::Io`] where one stays.
    pub fn clear(&self) -> Result<usize, ModelError> {
        let files = self.files();
        // With nothing to remove the folder need not be there. Else nobody adds to what is removed meanwhile.
        let _lock = files.first().and_then(|_| Lock::wait(&self.0, FOLDER));
        files
            .iter()
            .try_for_each(|path| fs::remove_file(path).map_err(|error| ModelError::io(path, error)))?;
        Ok(files.len())
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
        paths.sort();
        paths
    }
}

impl Tuning {
    fn empty(profile: &DeviceProfile) -> Tuning {
        Tuning {
            adapter: profile.name.clone(),
            driver: profile.driver.clone(),
            backend: profile.backend.clone(),
            kernels: kiln_engine::kernels_fingerprint(),
            choices: BTreeMap::new(),
        }
    }

    /// Whether it holds for an adapter, and for the kernels of this build.
    pub fn is_of(&self, profile: &DeviceProfile) -> bool {
        let own = (&self.adapter, &self.driver, &self.backend);
        own == (&profile.name, &profile.driver, &profile.backend) && self.is_current()
    }

    /// Whether it holds for the kernels of this build.
    pub fn is_current(&self) -> bool {
        self.kernels == kiln_engine::kernels_fingerprint()
    }
}

impl Choice {
    fn of(finding: &Finding) -> (String, Choice) {
        let times = finding.times.iter();
        // To a tenth of a microsecond: more digits would only pretend.
        let millis = |seconds: f64| (seconds * 1e7).round() / 1e4;
        let choice = Choice {
            chosen: finding.chosen.clone(),
            table: finding.table.clone(),
            times_ms: times.map(|(name, time)| (name.clone(), millis(time.as_secs_f64()))).collect(),
        };
        (finding.key.clone(), choice)
    }
}

/// What a file says; nothing where there is none.
fn read(path: &Path) -> Result<Option<Tuning>, ModelError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ModelError::io(path, error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| ModelError::io(path, error.into()))
}

/// FNV-1a of 64 bits.
fn fnv(text: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kiln_gpu::{DeviceKind, Limits};

    use super::*;

    fn profile(driver: &str) -> DeviceProfile {
        let profile = DeviceProfile::made_up(DeviceKind::Discrete, Limits::BASELINE);
        DeviceProfile { name: "GPU (one/two)".to_owned(), driver: driver.to_owned(), ..profile }
    }

    fn finding(key: &str, chosen: &str) -> Finding {
        Finding {
            key: key.to_owned(),
            table: "t32".to_owned(),
            chosen: chosen.to_owned(),
            times: vec![
                ("t32".to_owned(), Duration::from_micros(1500)),
                (chosen.to_owned(), Duration::from_nanos(999_960)),
            ],
            uses: 3,
            settled: true,
        }
    }

    fn store() -> (tempfile::TempDir, TuningStore) {
        let dir = tempfile::tempdir().expect("a directory should be made");
        let store = TuningStore::new(&dir.path().join("cache"));
        (dir, store)
    }

    #[test]
    fn findings_come_back_as_choices() -> Result<(), ModelError> {
        let (_dir, store) = store();
        let (one, two) = (profile("1.0"), profile("2.0"));
        assert!(store.choices(&one).is_empty() && store.list().is_empty());
        let path = store.add(&one, &[finding("matmul", "t64"), finding("conv", "t32")])?;
        assert_eq!(store.choices(&one), Choices::from_iter([("matmul", "t64"), ("conv", "t32")]));
        assert!(store.choices(&two).is_empty(), "another driver has a file of its own");
        let text = fs::read_to_string(&path).expect("the file should be there");
        assert!(text.contains("\"adapter\": \"GPU (one/two)\"") && text.contains("\"t64\": 1.0\n"), "{text}");
        // What is found later joins it, and stands in for what was found before.
        let open = Finding { settled: false, ..finding("open", "t64") };
        store.add(&one, &[finding("matmul", "t16"), finding("new", "t64"), open])?;
        let expected = Choices::from_iter([("matmul", "t16"), ("conv", "t32"), ("new", "t64")]);
        assert_eq!(store.choices(&one), expected);
        store.add(&two, &[])?;
        assert_eq!((store.list().len(), store.clear()?, store.clear()?), (2, 2, 0));
        assert!(store.choices(&one).is_empty());
        Ok(())
    }

    #[test]
    fn what_is_added_at_once_is_kept_together() -> Result<(), ModelError> {
        const ADDERS: usize = 8;
        const ROUNDS: usize = 4;
        let (_dir, store) = store();
        let profile = profile("1.0");
        let add = |adder: usize| {
            (0..ROUNDS).try_for_each(|round| {
                let key = format!("op {adder} {round}");
                store.add(&profile, &[finding(&key, "t64")]).map(drop)
            })
        };
        std::thread::scope(|scope| {
            let adders: Vec<_> = (0..ADDERS).map(|adder| scope.spawn(move || add(adder))).collect();
            adders.into_iter().try_for_each(|adder| -> Result<(), ModelError> {
                adder.join().expect("it should not panic")
            })
        })?;
        let kept: Vec<usize> = store.list().iter().map(|(_, tuning)| tuning.choices.len()).collect();
        assert_eq!(kept, [ADDERS * ROUNDS]);
        let left = fs::read_dir(&store.0).expect("the folder should be there").count();
        assert_eq!(left, 1, "the lock goes with the work");
        Ok(())
    }

    #[test]
    fn names_of_files_are_plain() {
        let (_dir, store) = store();
        let name = |profile: &DeviceProfile| {
            let path = store.path(profile);
            path.file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
                .expect("the name should be text")
        };
        assert!(name(&profile("1")).starts_with("GPU--one-two-"), "{}", name(&profile("1")));
        let long = DeviceProfile { name: "é".repeat(500), ..profile("1") };
        assert!(name(&long).chars().count() < 70);
    }

    #[test]
    fn what_makes_no_sense_is_as_if_it_were_not_there() -> Result<(), ModelError> {
        let (_dir, store) = store();
        let profile = profile("1.0");
        let path = store.add(&profile, &[finding("matmul", "t64")])?;
        let text = fs::read_to_string(&path).expect("the file should be there");
        let of_another_build = text.replace(&kiln_engine::kernels_fingerprint(), "0123456789abcdef");
        for broken in ["", "{", "[]", &text[..text.len() / 2], &of_another_build] {
            fs::write(&path, broken).expect("it should be written");
            assert!(store.choices(&profile).is_empty(), "{broken}");
            store.add(&profile, &[finding("conv", "t64")])?;
            assert_eq!(store.choices(&profile), Choices::from_iter([("conv", "t64")]), "after {broken}");
        }
        Ok(())
    }
}
