//! The layers of a Keras file, whichever way it lays them out.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use hdf5_reader::error::Error;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, FileStorage, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem};

use super::element::{Element, float_bytes};
use crate::error::ModelError;
use crate::quiet;

/// The most bytes that one read may decode: a layer's weights come in windows far below that.
const MAX_READ: usize = 1 << 30;

/// Chunks kept decoded. Keras writes none; other programs that compress its files do.
const CHUNK_CACHE: usize = 32 << 20;

/// Groups in groups, at most. Keras nests models in models, but not like this; a damaged file may.
const MAX_DEPTH: usize = 32;

/// Groups and tensors, at most.
const MAX_OBJECTS: usize = 100_000;

/// A group that holds tensors.
#[derive(Debug)]
pub(super) struct Layer {
    /// From the root, without `vars` at the end.
    pub(super) path: String,
    /// What the layer calls itself.
    pub(super) name: String,
    tensors: Vec<Stored>,
}

/// A tensor as it lies in the file.
#[derive(Clone)]
pub(super) struct Stored {
    dataset: Dataset,
    pub(super) shape: Vec<usize>,
    /// The name of its type, where that is not a floating-point one.
    pub(super) float: Result<(), String>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("name", &self.dataset.name()).field("shape", &self.shape).finish()
    }
}

impl Layer {
    /// Its one tensor of two or more axes.
    pub(super) fn kernel(&self) -> Option<&Stored> {
        only(self.tensors.iter().filter(|tensor| tensor.shape.len() > 1))
    }

    /// Its one tensor of one axis.
    pub(super) fn bias(&self) -> Option<&Stored> {
        only(self.tensors.iter().filter(|tensor| tensor.shape.len() == 1))
    }
}

fn only<'a>(mut tensors: impl Iterator<Item = &'a Stored>) -> Option<&'a Stored> {
    tensors.next().filter(|_| tensors.next().is_none())
}

/// Every group of a file that holds tensors, those of an optimizer left out.
pub(super) fn layers(path: &Path) -> Result<Vec<Layer>, ModelError> {
    let file = File::open(path).map_err(|source| ModelError::io(path, source))?;
    let metadata = file.metadata().map_err(|source| ModelError::io(path, source))?;
    if metadata.is_dir() {
        return Err(ModelError::io(path, std::io::ErrorKind::IsADirectory.into()));
    }
    let bad = |message: String| ModelError::Hdf5 { file: path.to_owned(), message };
    catch(|| read(file, metadata.len())).map_err(bad)
}

fn read(file: File, length: u64) -> Result<Vec<Layer>, String> {
    let options = OpenOptions::default().with_max_read_bytes(MAX_READ).with_chunk_cache_bytes(CHUNK_CACHE);
    let storage = FileStorage::from_file(file).map_err(damaged)?;
    let file = match Hdf5File::from_storage_with_options(Arc::new(storage), options) {
        Ok(file) => file,
        Err(Error::InvalidMagic) => return Err("its first bytes are not those of HDF5".to_owned()),
        Err(error) => return Err(damaged(error)),
    };
    let expected = file.superblock().eof_address;
    if expected > length {
        return Err(format!("truncated: it should have {expected} bytes, it has {length}"));
    }
    let root = file.root_group().map_err(damaged)?;
    let mut walk = Walk { layers: Vec::new(), seen: HashSet::new(), objects: 0 };
    walk.group(&root, &mut Vec::new()).map_err(damaged)?;
    Ok(walk.layers)
}

struct Walk {
    layers: Vec<Layer>,
    /// Groups can hold one another in a circle.
    seen: HashSet<u64>,
    objects: usize,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &mut Vec<String>) -> Result<(), Error> {
        if !self.seen.insert(group.address()) {
            return Ok(());
        }
        let (groups, datasets) = group.members()?;
        self.objects += groups.len() + datasets.len();
        if path.len() > MAX_DEPTH || self.objects > MAX_OBJECTS {
            return Err(Error::InvalidData("more groups than weights would need".to_owned()));
        }
        if !datasets.is_empty() {
            let tensors = datasets.into_iter().filter_map(Stored::new).collect();
            self.layers.push(Layer::new(group, path, tensors));
        }
        for inner in groups {
            let is_optimizer = path.is_empty() && matches!(inner.name(), "optimizer" | "optimizer_weights");
            if !is_optimizer {
                path.push(inner.name().to_owned());
                self.group(&inner, path)?;
                path.pop();
            }
        }
        Ok(())
    }
}

impl Layer {
    fn new(group: &Group, path: &[String], tensors: Vec<Stored>) -> Layer {
        let (path, own) = match path.split_last() {
            // Keras 3 keeps tensors in a group of their own, whose attribute is the layer's name.
            Some((last, outer)) if last == "vars" => {
                let name = group.attribute("name").and_then(|attribute| attribute.read_string()).ok();
                (outer, name)
            }
            _ => (path, None),
        };
        let name = own.or_else(|| path.last().cloned()).unwrap_or_default();
        Layer { path: path.join("/"), name, tensors }
    }
}

impl Stored {
    /// `None` where an extent is more than memory can address.
    fn new(dataset: Dataset) -> Option<Stored> {
        let shape: Option<Vec<usize>> =
            dataset.shape().iter().map(|&extent| extent.try_into().ok()).collect();
        let shape = shape?;
        shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent))?;
        let float = float_bytes(dataset.dtype()).map(|_| ());
        Some(Stored { dataset, shape, float })
    }

    /// All of a tensor, cut to a range of its last axis, row-major.
    pub(super) fn read_last(&self, range: Range<usize>) -> Result<Vec<f32>, String> {
        if let Err(dtype) = &self.float {
            return Err(format!("elements are of type {dtype}, expected floating-point ones"));
        }
        let mut selection = SliceInfo::all(self.shape.len());
        if let Some(last) = selection.selections.last_mut() {
            *last = SliceInfoElem::Slice { start: range.start as u64, end: range.end as u64, step: 1 };
        }
        let values = catch(|| self.dataset.read_slice::<Element>(&selection).map_err(damaged))?;
        Ok(values.iter().map(|element| element.0).collect())
    }
}

/// The reader is not known to panic; should it do so all the same, the file is to blame.
fn catch<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    quiet::catch(read)
        .unwrap_or_else(|message| Err(damaged(message.unwrap_or_else(|| "cannot be read".to_owned()))))
}

fn damaged(error: impl std::fmt::Display) -> String {
    // The reader's messages may go over several lines.
    format!("truncated or damaged: {}", error.to_string().replace('\n', " "))
}
