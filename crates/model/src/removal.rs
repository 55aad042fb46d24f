//! The reason why an entry was removed, and the tombstone that carries it to all nodes.
//!
//! A node that removes entries puts a tombstone in the same transaction. A removal therefore arrives with its reason, in
//! one batch of the feed; a key that disappears without a tombstone went with its lease, or another program removed it.
//! The tombstone is one key for all nodes and is replaced by each removal. It needs no history: a reader of the feed
//! receives it together with the removals that it describes.
//!
//! Owns: the tombstone's key and format. Does not own: the reason of removals without one
//! (`skyhound_core::catalog::follow`).

use super::key::{Key, Layout};
use serde::{Deserialize, Serialize};

/// The tombstone's key below the prefix. As a name it ends in `_skyhound`, a label that no zone has. It is below the
/// prefix because a feed delivers all changes below one prefix at one revision together, and no order is guaranteed
/// across two prefixes.
const KEY_SUFFIX: &str = "_skyhound/departed";

/// The reason why an entry was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemovalReason {
    /// Removed on purpose: its client closed the socket or deregistered, or an operator removed the key.
    Deregistered,
    /// Its client missed its heartbeats or pings, or its lease expired.
    Expired,
}

/// The reasons of the removals at one revision: it lists the entries that expired; the others were deregistered.
///
/// ```
/// use skyhound_model::{Key, RemovalReason, removal::Tombstone};
///
/// let (web, mail) = (Key::from("/skydns/local/web"), Key::from("/skydns/local/mail"));
/// let mut tombstone = Tombstone::default();
/// tombstone.add(&web, RemovalReason::Expired);
/// assert_eq!(Tombstone::parse(&tombstone.encode()).reason(&web), RemovalReason::Expired);
/// assert_eq!(tombstone.reason(&mail), RemovalReason::Deregistered);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tombstone {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expired: Vec<String>,
}

/// The stored form. Other readers see an entry without a host, which has no records.
#[derive(Serialize, Deserialize)]
struct TombstoneJson {
    skyhound: Tombstone,
}

impl Tombstone {
    /// Returns the tombstone's key.
    pub fn key(layout: &Layout) -> Key {
        Key::from(format!("{}{KEY_SUFFIX}", layout.prefix()))
    }

    /// Adds a removal.
    pub fn add(&mut self, key: &Key, reason: RemovalReason) {
        if reason == RemovalReason::Expired {
            self.expired.push(key.to_string());
        }
    }

    /// Returns the reason for a key that was removed at the tombstone's revision.
    pub fn reason(&self, key: &Key) -> RemovalReason {
        let key = key.to_string();
        if self.expired.contains(&key) { RemovalReason::Expired } else { RemovalReason::Deregistered }
    }

    /// Returns the value to store.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and lists of them always become JSON.
        serde_json::to_vec(&TombstoneJson { skyhound: self.clone() }).unwrap_or_default()
    }

    /// Parses a stored tombstone. An unreadable one, as of a newer version, means that all entries were deregistered.
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
