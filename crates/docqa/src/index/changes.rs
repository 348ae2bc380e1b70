//! What bringing an index up to date changed.

use std::fmt;

/// How many files came, changed, moved, went and stayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Files that were not there before.
    pub new: usize,
    /// Files with other bytes than before.
    pub changed: usize,
    /// Files that are found under another name than before, with the same bytes.
    pub renamed: usize,
    /// Files that are gone.
    pub removed: usize,
    /// Files that are as they were.
    pub kept: usize,
    /// How many passages were embedded for it.
    pub embedded: usize,
    /// How many passages had their embeddings already: in the store, under another name or in another version of
    /// their file, or from an interrupted run.
    pub reused: usize,
    /// Whether the store was there and was made anew, since the model or the options were others.
    pub remade: bool,
}

impl Changes {
    /// Whether there was any document before.
    pub fn had_documents(&self) -> bool {
        self.changed + self.renamed + self.removed + self.kept > 0
    }

    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        let Self { new, changed, renamed, removed, remade, .. } = *self;
        new + changed + renamed + removed == 0 && !remade
    }
}

impl fmt::Display for Changes {
    /// `1 new, 2 changed, 0 removed, 40 kept`, with those that were renamed where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} new, {} changed, ", self.new, self.changed)?;
        if self.renamed > 0 {
            write!(f, "{} renamed, ", self.renamed)?;
        }
        write!(f, "{} removed, {} kept", self.removed, self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_one_line() {
        let mut changes = Changes { new: 1, changed: 2, kept: 40, ..Changes::default() };
        assert_eq!(changes.to_string(), "1 new, 2 changed, 0 removed, 40 kept");
        changes.renamed = 3;
        assert_eq!(changes.to_string(), "1 new, 2 changed, 3 renamed, 0 removed, 40 kept");
        assert!(!changes.is_empty() && Changes { kept: 7, ..Changes::default() }.is_empty());
    }
}
