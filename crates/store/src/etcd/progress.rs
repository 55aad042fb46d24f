//! What an etcd's answer to "how far is this watch?" is worth.
//!
//! A watch may be asked for its progress. The answer should say that all changes up to its revision have
//! been told. Two faults of the server, in releases that are still in use, make that depend on its version.

use semver::Version;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// An answer comes after the changes that it covers. Before 3.4.25 and 3.5.8 it may overtake them
    /// (etcd issue 15220), so it proves only that the watch is alive.
    pub(super) ordered: bool,
    /// There always is an answer. From those releases up to 3.4.31 and 3.5.13 there may be none while
    /// nothing below the prefix changes (etcd pull request 17557), so silence proves nothing.
    pub(super) answered: bool,
}

impl Progress {
    /// Of an etcd whose version is not known.
    pub(super) const UNKNOWN: Self = Self { ordered: false, answered: false };

    /// Of a version of etcd.
    pub(super) fn of(version: &str) -> Self {
        let Ok(Version { major, minor, patch, .. }) = Version::parse(version) else { return Self::UNKNOWN };
        let (ordered_from, sound_from) = match (major, minor) {
            (3, 4) => (25, 31),
            (3, 5) => (8, 13),
            // Progress requests came with 3.4.
            (..3, _) | (3, ..4) => return Self::UNKNOWN,
            _ => (0, 0),
        };
        Self { ordered: patch >= ordered_from, answered: patch < ordered_from || patch >= sound_from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (version, ordered, answered) in [
            ("3.3.27", false, false),
            ("3.4.23", false, true),
            ("3.4.25", true, false),
            ("3.4.31", true, true),
            ("3.5.7", false, true),
            ("3.5.12", true, false),
            ("3.5.13", true, true),
            ("3.6.0-rc.1", true, true),
            ("4.0.0", true, true),
            ("what", false, false),
        ] {
            assert_eq!(Progress::of(version), Progress { ordered, answered }, "{version}");
        }
    }
}
