//! Compiled kernels on disk, where a driver gives them out: Vulkan's pipeline cache.

use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use fnv::FnvHasher;

use crate::device::{Gpu, Inner};

/// What a file begins with; another version of the form has another number.
const MAGIC: &[u8; 16] = b"kiln pipelines 1";
/// The magic and the checksum of what follows.
const HEADER: usize = MAGIC.len() + size_of::<u64>();
/// No driver's cache of these few kernels comes near it: what is larger is not ours.
const LARGEST: u64 = 256 << 20;

/// A cache that the device's pipelines are compiled with, and the file that it came from.
#[derive(Debug)]
pub(crate) struct DiskCache {
    pub(crate) raw: wgpu::PipelineCache,
    file: PathBuf,
    /// The checksum of what was given out last: what has not changed is not written.
    saved: Mutex<Option<u64>>,
}

impl Gpu {
    /// Keeps what the driver compiles in a file in this directory, and takes over what earlier processes left there for
    /// the same adapter and driver. To be called once, before anything is recorded; gives the file, or none where nothing
    /// can be kept.
    ///
    /// Only Vulkan gives its pipelines out; other backends, and most drivers on their own account, keep a cache of their
    /// own. Mesa's lavapipe gives out an empty one, for which no file is made. What cannot be read, is damaged or belongs to
    /// another driver is left aside with a word in the log, and what is damaged is removed: a cache is never a reason to fail.
    /// The directory should be the user's own, since the driver trusts what is in it.
    ///
    /// The file is written when the last handle to the device goes, or by [`Gpu::save_pipelines`]: beside its name, and
    /// then renamed.
    pub fn keep_pipelines(&self, directory: &Path) -> Option<PathBuf> {
        let file = directory.join(self.cache_name()?);
        let kept = match read(&file) {
            Ok(kept) => kept,
            Err(error) => {
                log::warn!("compiled kernels in {} are left aside: {error}", file.display());
                discard(&file, &error);
                None
            }
        };
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("kiln"),
            data: kept.as_deref(),
            // A driver that was updated starts anew.
            fallback: true,
        };
        let made = self.guarded("pipeline cache", 0, |device| {
            // SAFETY: the data was given out by this backend: `read` takes nothing else than what `write` wrote, as a
            // checksum shows, and wgpu compares adapter and driver with those that it came from.
            #[allow(unsafe_code)]
            unsafe {
                device.create_pipeline_cache(&descriptor)
            }
        });
        match made {
            Ok(raw) => {
                log::debug!(
                    "{} bytes of compiled kernels from {}",
                    kept.as_ref().map_or(0, Vec::len),
                    file.display()
                );
                // What it gives out before anything was compiled is not worth a file.
                let saved = Mutex::new(raw.get_data().as_deref().map(checksum));
                self.0.disk_cache.set(DiskCache { raw, file: file.clone(), saved }).ok().map(|()| file)
            }
            Err(error) => {
                log::warn!("no compiled kernels are kept: {error}");
                None
            }
        }
    }

    /// Writes the file of [`Gpu::keep_pipelines`], where something was compiled that it does not hold yet. What goes wrong
    /// is a word in the log.
    pub fn save_pipelines(&self) {
        self.0.save_pipelines();
    }

    /// The file's name: of the adapter, as wgpu tells adapters apart, and of the driver's version.
    fn cache_name(&self) -> Option<String> {
        if !self.0.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let info = self.0.device.adapter_info();
        let key = wgpu::util::pipeline_cache_key(&info)?;
        let driver = format!("{} {} {}", info.name, info.driver, info.driver_info);
        Some(format!("{key}_{:016x}.bin", checksum(driver.as_bytes())))
    }
}

impl Inner {
    fn save_pipelines(&self) {
        let Some(cache) = self.disk_cache.get() else { return };
        let Some(data) = cache.raw.get_data() else { return };
        let sum = checksum(&data);
        let mut saved = cache.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved == Some(sum) {
            return;
        }
        match write(&cache.file, &data) {
            Ok(()) => {
                log::debug!("{} bytes of compiled kernels to {}", data.len(), cache.file.display());
                *saved = Some(sum);
            }
            Err(error) => log::warn!("compiled kernels are not kept in {}: {error}", cache.file.display()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.save_pipelines();
    }
}

/// What a file holds, or nothing where there is none.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let invalid = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    match fs::metadata(file) {
        Ok(metadata) if metadata.len() > LARGEST => return invalid("it is too large"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let mut bytes = fs::read(file)?;
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return invalid("it is no file of compiled kernels");
    }
    let data = bytes.split_off(HEADER);
    if bytes[MAGIC.len()..] != checksum(&data).to_le_bytes() {
        return invalid("it is damaged");
    }
    Ok(Some(data))
}

/// Removes what makes no sense. Mesa's lavapipe, for one, never has anything to put in its place, so that it would be told
/// of at every start. What could not be read may be sound, and stays.
fn discard(file: &Path, error: &io::Error) {
    if error.kind() == io::ErrorKind::InvalidData
        && let Err(error) = fs::remove_file(file)
    {
        log::debug!("{} stays: {error}", file.display());
    }
}

/// Replaces a file as a whole: readers see the old one or the new one.
fn write(file: &Path, data: &[u8]) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let fresh = file.with_extension(format!("{}.part", std::process::id()));
    let bytes = [MAGIC.as_slice(), &checksum(data).to_le_bytes(), data].concat();
    let written = fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        // What was begun is of no use; that it can't be removed would be said twice.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// FNV-1a of 64 bits: tells damage from what was written.
fn checksum(data: &[u8]) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_told() -> io::Result<()> {
        let directory = std::env::temp_dir().join(format!("kiln-pipelines-{}", std::process::id()));
        let file = directory.join("deeper/cache.bin");
        assert!(read(&file)?.is_none());
        write(&file, b"some data")?;
        write(&file, b"newer data")?;
        assert_eq!(read(&file)?.as_deref(), Some(&b"newer data"[..]));
        let sound = fs::read(&file)?;
        for damage in [0, MAGIC.len(), HEADER, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[damage] ^= 1;
            fs::write(&file, &bytes)?;
            assert!(read(&file).is_err(), "byte {damage}");
        }
        for length in [0, HEADER - 1, sound.len() - 1] {
            fs::write(&file, &sound[..length])?;
            assert!(read(&file).is_err(), "{length} bytes");
        }
        let left: Vec<_> = fs::read_dir(directory.join("deeper"))?.collect();
        assert_eq!(left.len(), 1, "{left:?}");
        fs::remove_dir_all(directory)
    }

    #[test]
    fn what_is_damaged_goes_and_what_cannot_be_read_stays() -> io::Result<()> {
        let directory = std::env::temp_dir().join(format!("kiln-pipelines-damaged-{}", std::process::id()));
        let file = directory.join("cache.bin");
        write(&file, b"some data")?;
        fs::write(&file, &fs::read(&file)?[1..])?;
        discard(&file, &read(&file).expect_err("it is damaged"));
        assert!(!file.exists() && read(&file)?.is_none());
        // A cache that belongs to somebody else, say.
        write(&file, b"some data")?;
        discard(&file, &io::ErrorKind::PermissionDenied.into());
        assert!(read(&file)?.is_some());
        fs::remove_dir_all(directory)
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        // From the tables of the algorithm's authors.
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(checksum(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(checksum(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
