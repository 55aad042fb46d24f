//! The two parts of a store that the catalog follows, and a reader's position in them.
//!
//! Two keyspaces share a store, and each has a feed and therefore a revision of its own: the SkyDNS layout
//! ([`Part::Primary`]) and the mirror keyspace ([`Part::Mirror`], see `super::mirror_keyspace`).
//!
//! Owns: the parts, the position and its text. Does not own: the digest in a position (`super::digest`), the decision
//! to resume at a position ([`super::history`]).

use skyhound_store::Revision;
use std::fmt;
use std::ops::{Index, IndexMut};
use std::str::FromStr;

/// A part of the store that has a feed of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The SkyDNS layout.
    Primary,
    /// The mirror keyspace: hound-dog's layout.
    Mirror,
}

/// One value for each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PerPart<T> {
    /// The value of the SkyDNS layout.
    pub primary: T,
    /// The value of the mirror keyspace.
    pub mirror: T,
}

impl<T> Index<Part> for PerPart<T> {
    type Output = T;

    fn index(&self, part: Part) -> &T {
        match part {
            Part::Primary => &self.primary,
            Part::Mirror => &self.mirror,
        }
    }
}

impl<T> IndexMut<Part> for PerPart<T> {
    fn index_mut(&mut self, part: Part) -> &mut T {
        match part {
            Part::Primary => &mut self.primary,
            Part::Mirror => &mut self.mirror,
        }
    }
}

/// The revisions up to which a reader has received each part; 0 for a mirror keyspace that is not followed.
pub type Revisions = PerPart<Revision>;

impl Revisions {
    /// Returns whether a reader at these revisions has received everything up to the others.
    pub fn covers(self, other: Self) -> bool {
        self.primary >= other.primary && self.mirror >= other.mirror
    }

    /// Returns the lowest revisions that cover both.
    pub(super) fn max(self, other: Self) -> Self {
        Self { primary: self.primary.max(other.primary), mirror: self.mirror.max(other.mirror) }
    }
}

/// A reader's position: the revisions up to which it has received each part, and the state digest at them, which
/// distinguishes it from the same revisions of another history.
///
/// As text `107.5f…`, or `107-95.5f…` if the mirror keyspace is followed. Positions of one daemon or of one etcd are
/// ordered; nothing else in the text has a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// The revision of each part.
    pub revisions: Revisions,
    /// The state digest of both parts.
    pub digest: u64,
}

impl Position {
    /// Returns whether a reader at this position has received everything up to another position.
    pub fn covers(self, other: Self) -> bool {
        self.revisions.covers(other.revisions)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.revisions.primary)?;
        if self.revisions.mirror != Revision(0) {
            write!(f, "-{}", self.revisions.mirror)?;
        }
        write!(f, ".{:x}", self.digest)
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is no position of an event stream; send the id of the last event");
        let number = |text: &str| text.parse().map(Revision).map_err(|_| invalid());
        let (revisions, digest) = text.split_once('.').ok_or_else(invalid)?;
        let digest = u64::from_str_radix(digest, 16).map_err(|_| invalid())?;
        let (primary, mirror) = match revisions.split_once('-') {
            Some((primary, mirror)) => (number(primary)?, number(mirror)?),
            None => (number(revisions)?, Revision(0)),
        };
        Ok(Self { revisions: Revisions { primary, mirror }, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_round_trip() {
        for text in ["107.0", "107-95.ffffffffffffffff"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in ["", "-", "1", "1-2", "1-.0", "x.0", "1-2-3.0", "-1.0", "1.", "1.x", "1.0.0", "1.1ffffffffffffffff"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
