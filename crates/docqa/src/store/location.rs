//! Where a store is: what `--store` names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{ChromaAddress, ChromaOptions, ChromaStore, KNOWN, MemoryStore, VectorStore, folder};
use crate::similarity::Similarity;
use crate::{DocqaError, atomic};

/// The place of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A folder, whose content is held in memory.
    Folder(PathBuf),
    /// A collection on a Chroma server.
    Chroma(ChromaAddress),
}

impl FromStr for StoreLocation {
    type Err = DocqaError;

    /// Reads `chroma:http://localhost:8000/COLLECTION`, or takes the text for a folder.
    fn from_str(text: &str) -> Result<Self, DocqaError> {
        match text.strip_prefix("chroma:") {
            Some(address) => Ok(Self::Chroma(address.parse()?)),
            None if text.is_empty() => {
                let reason = "expected a folder, or chroma: and the address of a collection".into();
                Err(DocqaError::Address { given: text.into(), reason })
            }
            None if text.contains("://") => {
                let reason = format!("expected a folder, or for a Chroma collection chroma:{text}");
                Err(DocqaError::Address { given: text.into(), reason })
            }
            None => Ok(Self::Folder(text.into())),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Chroma(address) => write!(f, "chroma:{address}"),
        }
    }
}

impl StoreLocation {
    /// Refuses a place where no store was ever made. Worth asking before a model is loaded for one.
    pub fn check_present(&self) -> Result<(), DocqaError> {
        match self {
            Self::Folder(folder) => folder::check_present(folder),
            Self::Chroma(address) if ChromaStore::is_there(address, &ChromaOptions::default())? => Ok(()),
            Self::Chroma(_) => Err(DocqaError::NoCollection { store: self.to_string() }),
        }
    }

    /// Refuses a place where no store can be made: a folder that holds something else or cannot be made, a server that
    /// does not answer, a collection that somebody else made. Worth asking before documents are embedded for it.
    pub fn check_target(&self) -> Result<(), DocqaError> {
        match self {
            Self::Folder(folder) => atomic::check_target(folder, KNOWN),
            Self::Chroma(address) => ChromaStore::is_there(address, &ChromaOptions::default()).map(drop),
        }
    }

    /// Opens the store that is there. `progress` is the folder in which indexing may keep its progress if the store
    /// itself has no place for it.
    pub fn open(
        &self,
        similarity: Box<dyn Similarity>,
        progress: Option<&Path>,
    ) -> Result<Box<dyn VectorStore>, DocqaError> {
        let store: Box<dyn VectorStore> = match self {
            Self::Folder(folder) => Box::new(MemoryStore::open(folder, similarity)?),
            Self::Chroma(_) => self.open_or_create(similarity, progress)?,
        };
        match store.about() {
            Some(_) => Ok(store),
            None => Err(DocqaError::NoCollection { store: self.to_string() }),
        }
    }

    /// Opens the store that is there, or else an empty one that is to be there. A folder whose store is damaged or of
    /// another version gets an empty one too, and the log says so.
    pub fn open_or_create(
        &self,
        similarity: Box<dyn Similarity>,
        progress: Option<&Path>,
    ) -> Result<Box<dyn VectorStore>, DocqaError> {
        match self {
            Self::Folder(folder) => Ok(Box::new(open_or_create(MemoryStore::create(folder, similarity))?)),
            Self::Chroma(address) => {
                let progress = progress.map(Path::to_path_buf);
                let options = ChromaOptions { progress, ..ChromaOptions::default() };
                Ok(Box::new(ChromaStore::connect(address, &options)?))
            }
        }
    }
}

/// The same store with what its folder holds, or as it is where there is nothing that could be read.
pub(crate) fn open_or_create(mut store: MemoryStore) -> Result<MemoryStore, DocqaError> {
    if let Err(error) = store.load() {
        match error {
            DocqaError::NoStore { .. } => {}
            DocqaError::DamagedStore { .. } | DocqaError::StoreVersion { .. } => {
                log::warn!("the store is made again: {error}");
            }
            error => return Err(error),
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_collections_are_told_apart() {
        let read = |text: &str| text.parse::<StoreLocation>();
        assert_eq!(read("papers.kiln").unwrap(), StoreLocation::Folder("papers.kiln".into()));
        assert_eq!(read("./chroma:odd").unwrap(), StoreLocation::Folder("./chroma:odd".into()));
        let location = read("chroma:http://localhost:8000/papers").unwrap();
        assert!(matches!(&location, StoreLocation::Chroma(address) if address.collection == "papers"));
        assert_eq!(location.to_string(), "chroma:http://localhost:8000/papers");
        assert!(read("chroma:papers").is_err());
        let forgotten = read("http://localhost:8000/papers").unwrap_err().to_string();
        assert!(
            forgotten.ends_with("for a Chroma collection chroma:http://localhost:8000/papers"),
            "{forgotten}"
        );
        assert!(read("").unwrap_err().to_string().contains("expected a folder"));
    }
}
