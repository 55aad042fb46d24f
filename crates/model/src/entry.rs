//! What stands at a key: one JSON object that SkyDNS and CoreDNS read as it is.
//!
//! Owns: which values are readable and why one is not, the names of the fields, what a rewrite keeps.
//! Does not own: what DNS makes of an entry (`skyhound_dns`), nor where it stands ([`super::key`]).

use super::details::{DetailFields, Details};
use super::name::{Name, NameError};
use super::text::Text;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The field that holds everything of ours. One object under a name of its own: no other reader looks
/// at it, and nothing in it can collide with a SkyDNS field (Go's JSON ignores case).
pub const DETAILS_FIELD: &str = "skyhound";
/// The largest value that is read or written, in bytes. etcd takes 1.5 MiB a request.
pub const VALUE_MAX: usize = 64 * 1024;

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address; an IPv4 address in IPv6 clothes (`::ffff:…`) counts as IPv4.
    Addr(IpAddr),
    /// Another name, which DNS has to look up.
    Name(Name),
}

impl Host {
    /// An address where the text is one, otherwise a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.parse::<IpAddr>() {
            Ok(addr) => Ok(Self::Addr(addr.to_canonical())),
            Err(_) => Name::parse(text).map(Self::Name),
        }
    }
}

impl std::fmt::Display for Host {
    /// As it is stored: a name without the dot at its end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) if name.labels().is_empty() => f.write_str("."),
            // One dot: another before it belongs to a label.
            Self::Name(name) => {
                let full = name.to_string();
                f.write_str(full.strip_suffix('.').unwrap_or(&full))
            }
        }
    }
}

/// One entry. A number that is 0 and a text that is empty are the same as a field that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Where it is. Without a host an entry answers nothing but TXT.
    pub host: Option<Host>,
    /// TCP or UDP port.
    pub port: u16,
    /// SRV priority, lower first. DNS says 10 for 0.
    pub priority: u16,
    /// SRV weight within a priority. DNS says 100 for 0.
    pub weight: u16,
    /// What TXT answers.
    pub text: Text,
    /// Whether it is a mail exchanger: answers MX, with the priority as preference.
    pub mail: bool,
    /// The longest time to cache it, in seconds.
    pub ttl: u32,
    /// How many labels to cut from the left of an SRV target that is made from the key.
    pub targetstrip: u8,
    /// Entries of different groups are not answered together.
    pub group: Text,
    /// What ours adds; `None` for entries that others wrote.
    pub details: Option<Details>,
}

/// Why a value is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Over [`VALUE_MAX`].
    #[error("is {0} bytes; {VALUE_MAX} is the most that is read")]
    TooLarge(usize),
    /// Not JSON.
    #[error("is not JSON: {0}")]
    Json(String),
    /// JSON, but not an object.
    #[error("is JSON, but not an object")]
    NotAnObject,
    /// A field has the wrong type or is out of its range.
    #[error("has {field:?}: {value}, and that takes {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The host is neither an address nor a name.
    #[error("has a host that is no address and, as a name, {0}")]
    Host(#[from] NameError),
}

impl Entry {
    /// Reads a stored value. Field names are matched without regard to case, and the last one of a name
    /// counts (as Go readers do it); `null` is the same as missing; unknown fields are passed over.
    /// Numbers that do not fit their DNS field are an error, not cut to 16 bits: a wrong port is worse
    /// than none.
    pub fn parse(value: &[u8]) -> Result<Self, EntryError> {
        if value.len() > VALUE_MAX {
            return Err(EntryError::TooLarge(value.len()));
        }
        let Value::Object(fields) = serde_json::from_slice(value).map_err(|e| EntryError::Json(e.to_string()))? else {
            return Err(EntryError::NotAnObject);
        };
        let mut entry = Self::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.to_ascii_lowercase().as_str() {
                "host" => entry.host = host(value)?,
                "port" => entry.port = number("port", value)?,
                "priority" => entry.priority = number("priority", value)?,
                "weight" => entry.weight = number("weight", value)?,
                "text" => entry.text = text("text", value)?.into(),
                "mail" => entry.mail = value.as_bool().ok_or_else(|| wrong("mail", value, "true or false"))?,
                "ttl" => entry.ttl = number("ttl", value)?,
                "targetstrip" => entry.targetstrip = number("targetstrip", value)?,
                "group" => entry.group = text("group", value)?.into(),
                // An odd object under our own name harms nobody but what only we would show.
                DETAILS_FIELD => {
                    entry.details = <DetailFields as serde::Deserialize>::deserialize(value).ok().map(Into::into)
                }
                _ => {}
            }
        }
        Ok(entry)
    }

    /// The value to store.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_into(Map::new())
    }

    /// The value to store in place of `old`: fields that we do not know are kept as they are.
    pub fn encode_replacing(&self, old: &[u8]) -> Vec<u8> {
        match serde_json::from_slice(old) {
            Ok(Value::Object(mut fields)) => {
                fields.retain(|name, _| !is_known_field(name));
                self.encode_into(fields)
            }
            _ => self.encode(),
        }
    }

    fn encode_into(&self, unknown: Map<String, Value>) -> Vec<u8> {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value, present: bool| {
            if present {
                fields.insert(name.to_owned(), value);
            }
        };
        put("host", json!(self.host.as_ref().map(ToString::to_string)), self.host.is_some());
        put("port", json!(self.port), self.port != 0);
        put("priority", json!(self.priority), self.priority != 0);
        put("weight", json!(self.weight), self.weight != 0);
        put("text", json!(self.text), !self.text.is_empty());
        put("mail", json!(true), self.mail);
        put("ttl", json!(self.ttl), self.ttl != 0);
        put("targetstrip", json!(self.targetstrip), self.targetstrip != 0);
        put("group", json!(self.group), !self.group.is_empty());
        put(DETAILS_FIELD, json!(self.details), self.details.is_some());
        fields.extend(unknown);
        // Exact: it is kept for as long as the entry is.
        Value::Object(fields).to_string().into_boxed_str().into_boxed_bytes().into_vec()
    }
}

/// Whether a field, in any case, is one that [`Entry::encode`] writes.
fn is_known_field(name: &str) -> bool {
    const FIELDS: [&str; 10] =
        ["host", "port", "priority", "weight", "text", "mail", "ttl", "targetstrip", "group", DETAILS_FIELD];
    FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn wrong(field: &'static str, value: &Value, expected: &'static str) -> EntryError {
    let mut shown = value.to_string();
    if shown.len() > 80 {
        shown = shown.chars().take(80).chain("…".chars()).collect();
    }
    EntryError::Field { field, value: shown, expected }
}

fn text<'v>(field: &'static str, value: &'v Value) -> Result<&'v str, EntryError> {
    value.as_str().ok_or_else(|| wrong(field, value, "a string"))
}

fn host(value: &Value) -> Result<Option<Host>, EntryError> {
    let text = text("host", value)?;
    if text.is_empty() { Ok(None) } else { Ok(Some(Host::parse(text)?)) }
}

/// A number that fits its field.
fn number<N: TryFrom<u64> + Bounded>(field: &'static str, value: &Value) -> Result<N, EntryError> {
    value.as_u64().and_then(|n| N::try_from(n).ok()).ok_or_else(|| wrong(field, value, N::RANGE))
}

/// The range of a number, in words.
trait Bounded {
    const RANGE: &'static str;
}
impl Bounded for u8 {
    const RANGE: &'static str = "a whole number from 0 to 255";
}
impl Bounded for u16 {
    const RANGE: &'static str = "a whole number from 0 to 65535";
}
impl Bounded for u32 {
    const RANGE: &'static str = "a whole number from 0 to 4294967295";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(json: &str) -> Entry {
        Entry::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{json} {e}"))
    }

    #[test]
    fn entries_of_other_writers_are_read() {
        let external = parsed(
            r#"{"host":"10.0.0.1","port":80,"targetstrip":1,"text":"\"heritage=x\"","setIdentifier":"s","ttl":null}"#,
        );
        assert_eq!(external.host, Some(Host::Addr([10, 0, 0, 1].into())));
        assert_eq!((external.port, external.targetstrip, external.ttl), (80, 1, 0));
        assert_eq!(&*external.text, "\"heritage=x\"");
        assert_eq!(parsed(r#"{"HOST":"Web.Local.","Mail":true}"#).host, Some(Host::parse("web.local").unwrap()));
        assert_eq!(parsed(r#"{"host":"::ffff:10.0.0.1"}"#).host, Some(Host::Addr([10, 0, 0, 1].into())));
        assert_eq!(parsed(" {} \n"), Entry::default());
    }

    #[test]
    fn malformed_entries_are_rejected_with_a_reason() {
        for (value, why) in [
            ("this is not JSON", "is not JSON: expected"),
            (r#"{"host":"10.0.0.1""#, "is not JSON: EOF"),
            (r#"["10.0.0.3"]"#, "is JSON, but not an object"),
            (r#"{"port":"80"}"#, r#"has "port": "80", and that takes a whole number from 0 to 65535"#),
            (r#"{"port":65536}"#, r#"has "port": 65536"#),
            (r#"{"ttl":-1}"#, r#"has "ttl": -1"#),
            (r#"{"weight":1.5}"#, r#"has "weight": 1.5"#),
            (r#"{"mail":"yes"}"#, "true or false"),
            (r#"{"host":7}"#, "a string"),
            (r#"{"host":"2000..3"}"#, "has a host that is no address and, as a name, has an empty label"),
        ] {
            let error = Entry::parse(value.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(why) || error.ends_with(why), "{value} {error}");
        }
    }

    #[test]
    fn a_rewrite_preserves_unknown_fields() {
        let old = br#"{"Host":"10.0.0.1","colour":"blue","port":1,"setIdentifier":"s"}"#;
        let entry = Entry { host: Some(Host::Addr([10, 0, 0, 2].into())), port: 2, ..Entry::default() };
        let new: Value = serde_json::from_slice(&entry.encode_replacing(old)).unwrap();
        assert_eq!(new, json!({"host": "10.0.0.2", "port": 2, "colour": "blue", "setIdentifier": "s"}));
    }

    proptest! {
        #[test]
        fn entries_round_trip(port: u16, priority: u16, weight: u16, ttl: u32, mail: bool, text in ".{0,40}", targetstrip: u8) {
            let entry = Entry {
                host: Some(Host::parse("a.b").unwrap()), port, priority, weight, ttl, mail, targetstrip,
                text: text.into(), group: "g".into(),
                details: Some(DetailFields { id: "1".into(), ..DetailFields::default() }.into()),
            };
            prop_assert_eq!(Entry::parse(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Entry::parse(&bytes);
        }
    }
}
