//! The reliability of etcd's responses to progress requests, by version.
//!
//! A client may request the progress of a watch. The response should mean that all changes up to its revision have been
//! sent. Two bugs of the server, in releases that are still in use, make that depend on its version.

use semver::Version;

/// Guarantees of an etcd's progress responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// A response follows the changes that it covers. Before 3.4.25 and 3.5.8 it may overtake them (etcd issue 15220), so
    /// it proves only that the watch is alive.
    pub(super) ordered: bool,
    /// Every request has a response. From those releases up to 3.4.31 and 3.5.13 there may be none while nothing below
    /// the prefix changes (etcd pull request 17557), so a missing response proves nothing.
    pub(super) answered: bool,
}

impl Progress {
    /// The guarantees of an etcd of unknown version.
    pub(super) const UNKNOWN: Self = Self { ordered: false, answered: false };

    /// Returns the guarantees of a version of etcd.
    pub(super) fn of(version: &str) -> Self {
        let Ok(Version { major, minor, patch, .. }) = Version::parse(version) else { return Self::UNKNOWN };
        let (ordered_from, always_from) = match (major, minor) {
            (3, 4) => (25, 31),
            (3, 5) => (8, 13),
            // Progress requests exist since 3.4.
            (..3, _) | (3, ..4) => return Self::UNKNOWN,
            _ => (0, 0),
        };
        Self { ordered: patch >= ordered_from, answered: patch < ordered_from || patch >= always_from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarantees_depend_on_the_release() {
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
            ("unknown", false, false),
        ] {
            assert_eq!(Progress::of(version), Progress { ordered, answered }, "{version}");
        }
    }
}
