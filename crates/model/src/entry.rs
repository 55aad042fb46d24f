//! The value under a key: one JSON object in the format of SkyDNS, which CoreDNS reads too.
//!
//! Owns: parsing with the reason why a value is unreadable, the names of the fields, and the fields that a rewrite
//! preserves. Does not own: the records that DNS derives from an entry (`skyhound_dns`), nor the entry's key
//! ([`key`](crate::key)).

use super::details::{DetailFields, Details};
use super::name::{Name, NameError};
use super::text::Text;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The field with everything that skyhound adds. It is one object under a name of its own: no other reader uses it, and
/// none of its contents can collide with a SkyDNS field (Go's JSON ignores case).
const DETAILS_FIELD: &str = "skyhound";
/// Limit of a value that is read or written, in bytes. etcd accepts 1.5 MiB per request.
pub const VALUE_MAX: usize = 64 * 1024;

/// The host of an instance.
///
/// ```
/// use skyhound_model::Host;
///
/// assert_eq!(Host::parse("::ffff:10.0.0.1")?, Host::Addr([10, 0, 0, 1].into()));
/// assert_eq!(Host::parse("Web.Example.")?.to_string(), "web.example");
/// # Ok::<(), skyhound_model::name::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address; an IPv4-mapped IPv6 address (`::ffff:…`) is stored as IPv4.
    Addr(IpAddr),
    /// Another name, which DNS resolves.
    Name(Name),
}

impl Host {
    /// Parses an address or else a name.
    ///
    /// # Errors
    /// The reason why a text that is not an address is not a name either.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.parse::<IpAddr>() {
            Ok(addr) => Ok(Self::Addr(addr.to_canonical())),
            Err(_) => Name::parse(text).map(Self::Name),
        }
    }
}

impl std::fmt::Display for Host {
    /// Writes the stored form: a name without the dot at its end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) if name.labels().is_empty() => f.write_str("."),
            // Only one dot: a dot before it belongs to a label.
            Self::Name(name) => {
                let full = name.to_string();
                f.write_str(full.strip_suffix('.').unwrap_or(&full))
            }
        }
    }
}

/// One entry. The number 0 and an empty text mean the same as a missing field.
///
/// ```
/// use skyhound_model::{Entry, Host};
///
/// let entry = Entry::parse(br#"{"host":"10.0.0.1","port":80}"#)?;
/// assert_eq!(entry.host, Some(Host::Addr([10, 0, 0, 1].into())));
/// assert_eq!(entry.encode(), br#"{"host":"10.0.0.1","port":80}"#);
/// # Ok::<(), skyhound_model::entry::EntryError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Host of the instance. An entry without a host has only a TXT record.
    pub host: Option<Host>,
    /// TCP or UDP port.
    pub port: u16,
    /// SRV priority, lower first. DNS returns 10 for 0.
    pub priority: u16,
    /// SRV weight within a priority. DNS returns 100 for 0.
    pub weight: u16,
    /// Content of the TXT record.
    pub text: Text,
    /// Mail exchanger: the entry has an MX record with the priority as preference.
    pub mail: bool,
    /// TTL of the records, in seconds.
    pub ttl: u32,
    /// Number of labels to remove from the left of an SRV target that is derived from the key.
    pub targetstrip: u8,
    /// Group; one response never contains entries of different groups.
    pub group: Text,
    /// Fields that skyhound adds; `None` for entries of other writers.
    pub details: Option<Details>,
}

/// The reason why a value is not an entry. Its text is a predicate: `is not JSON: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Over [`VALUE_MAX`].
    #[error("is {0} bytes; the limit is {VALUE_MAX}")]
    TooLarge(usize),
    /// Not JSON.
    #[error("is not JSON: {0}")]
    Json(String),
    /// JSON, but not an object.
    #[error("is JSON, but not an object")]
    NotAnObject,
    /// A field has the wrong type or is out of its range.
    #[error("has {field:?}: {value}; expected {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Value of the field, shortened.
        value: String,
        /// Description of the values that are allowed.
        expected: &'static str,
    },
    /// The host is neither an address nor a name.
    #[error("has a host that is not an address and, as a name, {0}")]
    Host(#[from] NameError),
}

impl Entry {
    /// Parses a stored value. Field names are compared without regard to case, and the last of several fields of a name
    /// counts, as in Go; `null` means the same as a missing field; unknown fields are ignored.
    ///
    /// # Errors
    /// An [`EntryError`] for a value over [`VALUE_MAX`], for anything but a JSON object, and for a field of a wrong type
    /// or range. A number that does not fit its DNS field is an error and not cut to 16 bits: a wrong port is worse
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
                "mail" => entry.mail = value.as_bool().ok_or_else(|| invalid("mail", value, "true or false"))?,
                "ttl" => entry.ttl = number("ttl", value)?,
                "targetstrip" => entry.targetstrip = number("targetstrip", value)?,
                "group" => entry.group = text("group", value)?.into(),
                // A malformed object here concerns only additions, so the entry stays readable without them.
                DETAILS_FIELD => {
                    entry.details = <DetailFields as serde::Deserialize>::deserialize(value).ok().map(Into::into);
                }
                _ => {}
            }
        }
        Ok(entry)
    }

    /// Returns the value to store.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_into(Map::new())
    }

    /// Returns the value to store in place of `old`, with the unknown fields of `old` unchanged.
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
        // Without spare capacity: the value is stored for as long as the entry exists.
        Value::Object(fields).to_string().into_boxed_str().into_boxed_bytes().into_vec()
    }
}

/// Returns true if [`Entry::encode`] writes a field of this name, compared without regard to case.
fn is_known_field(name: &str) -> bool {
    const FIELDS: [&str; 10] =
        ["host", "port", "priority", "weight", "text", "mail", "ttl", "targetstrip", "group", DETAILS_FIELD];
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

fn invalid(field: &'static str, value: &Value, expected: &'static str) -> EntryError {
    let mut shown = value.to_string();
    if shown.len() > 80 {
        shown = shown.chars().take(80).chain("…".chars()).collect();
    }
    EntryError::Field { field, value: shown, expected }
}

fn text<'v>(field: &'static str, value: &'v Value) -> Result<&'v str, EntryError> {
    value.as_str().ok_or_else(|| invalid(field, value, "a string"))
}

fn host(value: &Value) -> Result<Option<Host>, EntryError> {
    let text = text("host", value)?;
    if text.is_empty() { Ok(None) } else { Ok(Some(Host::parse(text)?)) }
}

/// Reads a number that fits its field.
fn number<N: TryFrom<u64> + Bounded>(field: &'static str, value: &Value) -> Result<N, EntryError> {
    value.as_u64().and_then(|n| N::try_from(n).ok()).ok_or_else(|| invalid(field, value, N::RANGE))
}

/// A number with the description of its range.
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
        for (value, reason) in [
            ("this is not JSON", "is not JSON: expected"),
            (r#"{"host":"10.0.0.1""#, "is not JSON: EOF"),
            (r#"["10.0.0.3"]"#, "is JSON, but not an object"),
            (r#"{"port":"80"}"#, r#"has "port": "80"; expected a whole number from 0 to 65535"#),
            (r#"{"port":65536}"#, r#"has "port": 65536"#),
            (r#"{"ttl":-1}"#, r#"has "ttl": -1"#),
            (r#"{"weight":1.5}"#, r#"has "weight": 1.5"#),
            (r#"{"mail":"yes"}"#, "true or false"),
            (r#"{"host":7}"#, "a string"),
            (r#"{"host":"2000..3"}"#, "has a host that is not an address and, as a name, has an empty label"),
        ] {
            let error = Entry::parse(value.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(reason) || error.ends_with(reason), "{value} {error}");
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
