//! Why an entry left, and how all nodes come to say the same.
//!
//! A node that removes entries puts a marker in the same transaction. So a removal comes with its reason, in one
//! batch of the feed; and a key that goes without a marker went with its lease, or was removed by others.
//! The marker is one key for all nodes, put anew with each removal: it has no history of its own and needs none, as
//! whoever reads it reads the removals with it.
//!
//! Owns: the marker's place and its text. Does not own: who asks about removals without one
//! (`skyhound_core::catalog::follow`).

use super::key::{Key, Layout};
use serde::{Deserialize, Serialize};

/// Where the marker stands below the prefix. As a name it ends in `_skyhound`, a label that no zone has: below the
/// prefix, because a feed tells all changes below one prefix at one revision together and the order across two
/// prefixes is nobody's promise.
const KEY_SUFFIX: &str = "_skyhound/departed";

/// Why an entry left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemovalReason {
    /// On purpose: its peer closed the socket, said goodbye, or somebody removed the key.
    Deregistered,
    /// Its peer fell silent, or the lease ran out on which it hung.
    Expired,
}

/// What a marker says of the removals at its revision: which of them expired. The others left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tombstone {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expired: Vec<String>,
}

/// An entry without a host for every other reader: one that answers nothing.
#[derive(Serialize, Deserialize)]
struct TombstoneJson {
    skyhound: Tombstone,
}

impl Tombstone {
    /// The marker's key.
    pub fn key(layout: &Layout) -> Key {
        Key::from(format!("{}{KEY_SUFFIX}", layout.prefix()))
    }

    /// Adds a removal.
    pub fn add(&mut self, key: &Key, reason: RemovalReason) {
        if reason == RemovalReason::Expired {
            self.expired.push(key.to_string());
        }
    }

    /// Why the entry under a key left that was removed at the marker's revision.
    pub fn reason(&self, key: &Key) -> RemovalReason {
        let key = key.to_string();
        if self.expired.contains(&key) { RemovalReason::Expired } else { RemovalReason::Deregistered }
    }

    /// The value to store.
    pub fn encode(&self) -> Vec<u8> {
        // Plain texts and lists of them always become JSON.
        serde_json::to_vec(&TombstoneJson { skyhound: self.clone() }).unwrap_or_default()
    }

    /// Reads a marker. What cannot be read (a newer node's) says that all left.
    pub fn parse(value: &[u8]) -> Self {
        serde_json::from_slice::<TombstoneJson>(value).map(|json| json.skyhound).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    #[test]
    fn a_tombstone_lists_the_expired_keys() {
        let mut tombstone = Tombstone::default();
        tombstone.add(&Key::from("/skydns/local/a"), RemovalReason::Deregistered);
        tombstone.add(&Key::from("/skydns/local/b"), RemovalReason::Expired);
        let read = Tombstone::parse(&tombstone.encode());
        assert_eq!(read, tombstone);
        assert_eq!(read.reason(&Key::from("/skydns/local/a")), RemovalReason::Deregistered);
        assert_eq!(read.reason(&Key::from("/skydns/local/b")), RemovalReason::Expired);
        assert_eq!(Tombstone::parse(b"newer").reason(&Key::from("/skydns/local/b")), RemovalReason::Deregistered);
    }

    #[test]
    fn other_readers_see_an_entry_without_host_and_text() {
        let entry = Entry::parse(&Tombstone::default().encode()).unwrap();
        assert!(entry.host.is_none() && entry.text.is_empty());
        assert_eq!(Tombstone::key(&Layout::new("/skydns")), Key::from("/skydns/_skyhound/departed"));
    }
}
