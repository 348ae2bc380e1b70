//! How peers are run: `peers.toml`.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::RowName;
use crate::{Failure, Reading};

/// The name of the file in the folder of the peers.
const FILE: &str = "peers.toml";

/// What is used where the folder has none.
const EXAMPLE: &str = include_str!("../../peers/peers.toml");

/// The peers of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Specs {
    #[serde(default)]
    peer: Vec<PeerSpec>,
}

/// One peer's way of measuring one row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSpec {
    /// Its name.
    pub name: String,
    /// Its version, and what else the table should say.
    pub version: Option<String>,
    /// What it measures: one of Kiln's rows.
    pub row: String,
    /// Where it runs, below the folder of the peers; else in the folder of its name.
    pub dir: Option<PathBuf>,
    /// Its command line. Words in braces are replaced by what the row has for them.
    pub command: String,
    /// Whether it stays while rounds go by: see [`ResidentPeer`](crate::ResidentPeer).
    #[serde(default)]
    pub resident: bool,
    /// Of how many runs its time is the best, where it prints one alone: Kiln gets as many.
    pub runs: Option<NonZero<usize>>,
    /// Where its time stands in what it prints.
    #[serde(flatten)]
    pub reading: Reading,
}

impl Specs {
    /// Those of a folder.
    ///
    /// # Errors
    /// Where the folder or its file cannot be read, or the file has something that is not known.
    pub fn open(dir: &Path, rows: &[RowName]) -> Result<Specs, Failure> {
        if !dir.is_dir() {
            return Err(format!("{}: no such folder", dir.display()).into());
        }
        let file = dir.join(FILE);
        if !file.exists() {
            return Specs::parse(EXAMPLE, rows);
        }
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Specs::parse(&text, rows).map_err(|error| format!("{}: {error}", file.display()).into())
    }

    pub(super) fn parse(text: &str, rows: &[RowName]) -> Result<Specs, Failure> {
        let specs: Specs = toml::from_str(text)?;
        match specs.peer.iter().find(|peer| !rows.iter().any(|(row, _)| *row == peer.row)) {
            Some(peer) => {
                let known: Vec<&str> = rows.iter().map(|(row, _)| *row).collect();
                Err(format!("{}: row {}: expected one of {}", peer.name, peer.row, known.join(", ")).into())
            }
            None => Ok(specs),
        }
    }

    /// All of them, in the file's order.
    pub fn peers(&self) -> impl Iterator<Item = &PeerSpec> {
        self.peer.iter()
    }
}

impl PeerSpec {
    /// `ncnn 1.0, Vulkan`.
    pub(super) fn title(&self) -> String {
        let version = self.version.iter().map(String::as_str);
        std::iter::once(self.name.as_str()).chain(version).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(self.dir.as_deref().unwrap_or(Path::new(&self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::ROWS;

    #[test]
    fn the_example_is_sound() {
        let specs = Specs::parse(EXAMPLE, &ROWS).expect("it should be read");
        for row in ["vgg16", "vgg16-convolutions", "matmul-512", "matmul-1024", "minilm", "train-base"] {
            assert!(specs.peers().any(|peer| peer.row == row), "{row} has no peer");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let peer = "[[peer]]\nname = \"a\"\ncommand = \"b\"\n";
        for (text, expected) in [
            (format!("{peer}row = \"three\""), "a: row three: expected one of one, two"),
            (peer.to_owned(), "missing field `row`"),
            (format!("{peer}row = \"one\"\nunit = \"min\""), "unknown variant `min`"),
            (format!("{peer}row = \"one\"\nresidnet = true"), "unknown field `residnet`"),
            ("[[pear]]".to_owned(), "unknown field `pear`"),
        ] {
            let error = Specs::parse(&text, &[("one", true), ("two", true)]).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = Specs::open(Path::new("no/such/folder"), &[("one", true)]).expect_err("there is none");
        assert!(error.to_string().contains("no such folder"), "{error}");
    }

    #[test]
    fn a_folder_may_have_its_own() {
        let dir = tempfile::tempdir().expect("a folder should be made");
        assert!(Specs::open(dir.path(), &ROWS).is_ok_and(|specs| specs.peers().count() > 3));
        std::fs::write(dir.path().join(FILE), "").expect("it should be written");
        assert_eq!(Specs::open(dir.path(), &ROWS).ok(), Some(Specs::default()));
    }
}
