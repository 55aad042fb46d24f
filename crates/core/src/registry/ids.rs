//! The stored records of ids that any node accepts.
//!
//! Owns: which texts are ids, the key of a record and its JSON. Does not own: how a frontend makes ids, nor which node
//! holds the claim of one ([`super::heartbeats`]).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skyhound_model::{Key, Layout, MirrorKey};
use std::time::Duration;

/// The TTL of the leases of records: for that long an id outlives its daemon, or the whole cluster.
pub const RECORD_TTL: Duration = Duration::from_secs(60 * 60);
/// The longest id, in bytes. A UUID takes 36.
pub const ID_MAX: usize = 128;
/// The prefix of the keys of records.
const KEY_PREFIX: &str = "/skyhound/ids/";

/// Returns whether a text can be an id: visible ASCII without a slash. Other texts are never looked up in the store.
pub(super) fn is_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

/// The key of an id's record. It ends with a slash, so that a listing by this prefix returns this id alone, and not
/// those that begin with it.
pub(super) fn key(id: &str) -> Key {
    Key::from(format!("{KEY_PREFIX}{id}/"))
}

/// The id of a record's key.
pub(super) fn id(key: &Key) -> Option<&str> {
    std::str::from_utf8(key.as_bytes()).ok()?.strip_prefix(KEY_PREFIX)?.strip_suffix('/')
}

/// The record of an id: the data to register its instance again at any node, in no frontend's representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdRecord {
    pub(super) key: Key,
    pub(super) value: Bytes,
    pub(super) mirror: Option<MirrorKey>,
    pub(super) ttl: Duration,
}

/// The stored form of a record.
#[derive(Serialize, Deserialize)]
struct RecordJson {
    key: String,
    value: String,
    #[serde(default, rename = "twin", skip_serializing_if = "Option::is_none")]
    mirror: Option<MirrorJson>,
    #[serde(rename = "silence_ms")]
    ttl_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct MirrorJson {
    keys: [String; 2],
    value: String,
}

/// The text of a registered key or value; both are always UTF-8.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl IdRecord {
    pub(super) fn encode(&self) -> Bytes {
        let json = RecordJson {
            key: text(self.key.as_bytes()),
            value: text(&self.value),
            mirror: self.mirror.as_ref().map(|mirror| MirrorJson {
                keys: [text(mirror.keys[0].as_bytes()), text(mirror.keys[1].as_bytes())],
                value: text(&mirror.value),
            }),
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
        };
        // Strings and numbers can always be serialized.
        serde_json::to_vec(&json).unwrap_or_default().into()
    }

    /// Parses a record; `None` if it is malformed, or names an entry outside the layout's prefix.
    pub(super) fn parse(value: &[u8], layout: &Layout) -> Option<Self> {
        let json: RecordJson = serde_json::from_slice(value).ok()?;
        json.key.starts_with(layout.prefix()).then(|| Self {
            key: Key::from(json.key),
            value: json.value.into(),
            mirror: json
                .mirror
                .map(|mirror| MirrorKey { keys: mirror.keys.map(Key::from), value: mirror.value.into() }),
            ttl: Duration::from_millis(json.ttl_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_ids_are_recognized() {
        assert!(is_id("550e8400-e29b-41d4-a716-446655440000") && is_id(&"x".repeat(ID_MAX)));
        for bad in ["", "a/b", "../x", "a b", "a\0", "ä", &"x".repeat(ID_MAX + 1)] {
            assert!(!is_id(bad), "{bad:?}");
        }
        assert_eq!(id(&key("abc")), Some("abc"));
        assert_eq!(id(&Key::from("/skydns/abc/")), None);
    }

    #[test]
    fn records_round_trip() {
        let record = IdRecord {
            key: Key::from("/skydns/local/a"),
            value: Bytes::from_static(b"{\"port\":1}"),
            mirror: Some(MirrorKey {
                keys: [Key::from("service/a/1"), Key::from("service/a/1:2")],
                value: "1:2".into(),
            }),
            ttl: Duration::from_millis(1500),
        };
        let layout = Layout::new("/skydns");
        assert_eq!(IdRecord::parse(&record.encode(), &layout), Some(record.clone()));
        assert_eq!(IdRecord::parse(&record.encode(), &Layout::new("/other")), None);
        assert_eq!(IdRecord::parse(b"{}", &layout), None);
    }
}
