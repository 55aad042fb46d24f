//! DNS names in the form of the catalog's tree: lower case, labels from the root downwards.
//!
//! Owns: the bytes that a label may contain, the lengths of RFC 1035 section 3.1, and the presentation form with its
//! escapes (RFC 1035 section 5.1, RFC 4343). Does not own: the wire form of a message (hickory) and the store's keys
//! ([`key`](crate::key)).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Limit of a label, in bytes (RFC 1035 section 2.3.4).
const LABEL_MAX: usize = 63;
/// Limit of a name on the wire, in bytes, including its length bytes and the root's (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 255;

/// The reason why a text is not a name or not a label. Its text is a predicate: `has an empty label`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Two adjacent dots, a leading dot, or an empty text.
    #[error("has an empty label")]
    EmptyLabel,
    /// A label over 63 bytes.
    #[error("has a label of {0} bytes; the limit of DNS is {LABEL_MAX}")]
    LabelTooLong(usize),
    /// A name over [`NAME_MAX`].
    #[error("is a name over {NAME_MAX} bytes, the limit of DNS")]
    NameTooLong,
    /// A backslash that does not begin an escape of RFC 1035 section 5.1.
    #[error("has a backslash that does not begin an escape")]
    BadEscape,
    /// A character that is not allowed in a registered label.
    #[error("has {0:?}; a registered label consists of letters, digits, '-' and '_'")]
    BadCharacter(char),
    /// `*` or `any`, which match every label in a query (SkyDNS rule).
    #[error("is {0:?}, which matches every label in a query and cannot be registered")]
    Wildcard(&'static str),
}

/// One label: 1 to 63 bytes, ASCII letters in lower case. Any other byte may occur, as in DNS itself; a *registration*
/// is limited to fewer characters by [`Label::registrable`].
///
/// A short label, as nearly all are, is stored inline: a search in a tree of a million names compares labels, and each
/// label elsewhere in memory is a cache miss.
///
/// ```
/// use skyhound_model::Label;
///
/// assert_eq!(Label::new("Web")?.as_bytes(), b"web");
/// assert_eq!(Label::new("a.b")?.to_string(), r"a\.b");
/// assert!(Label::registrable("a.b").is_err());
/// # Ok::<(), skyhound_model::name::NameError>(())
/// ```
#[derive(Clone)]
pub struct Label(LabelRepr);

/// Limit of a label that is stored inline, in bytes; with its length and the tag it takes 24 bytes.
const SHORT_MAX: usize = 22;

#[derive(Clone)]
enum LabelRepr {
    Short(u8, [u8; SHORT_MAX]),
    Long(Box<[u8]>),
}

impl Label {
    /// Creates a label, folded to lower case.
    ///
    /// # Errors
    /// [`NameError::EmptyLabel`] and [`NameError::LabelTooLong`].
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let bytes = bytes.as_ref();
        match bytes.len() {
            0 => Err(NameError::EmptyLabel),
            length @ 1..=SHORT_MAX => {
                let mut short = [0; SHORT_MAX];
                short[..length].copy_from_slice(bytes);
                short.make_ascii_lowercase();
                Ok(Self(LabelRepr::Short(u8::try_from(length).unwrap_or_default(), short)))
            }
            length if length <= LABEL_MAX => Ok(Self(LabelRepr::Long(bytes.to_ascii_lowercase().into()))),
            long => Err(NameError::LabelTooLong(long)),
        }
    }

    /// Creates a label that a client may register: letters, digits, `-`, `_`; neither `*` nor `any`. Everything else
    /// either breaks readers (Go, c-ares and systemd-resolved reject unusual bytes) or leaves the client's part of the
    /// keyspace (`/`, `..`).
    ///
    /// # Errors
    /// [`NameError::BadCharacter`] and [`NameError::Wildcard`], and those of [`Label::new`].
    pub fn registrable(text: &str) -> Result<Self, NameError> {
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*'))) {
            return Err(NameError::BadCharacter(bad));
        }
        let label = Self::new(text)?;
        match label.wildcard() {
            Some(wildcard) => Err(NameError::Wildcard(wildcard)),
            None if text.contains('*') => Err(NameError::BadCharacter('*')),
            None => Ok(label),
        }
    }

    /// Returns the bytes of the label, in lower case.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            LabelRepr::Short(length, bytes) => &bytes[..usize::from(*length)],
            LabelRepr::Long(bytes) => bytes,
        }
    }

    /// Returns the wildcard that this label is in a query, if it is one.
    pub fn wildcard(&self) -> Option<&'static str> {
        match self.as_bytes() {
            b"*" => Some("*"),
            b"any" => Some("any"),
            _ => None,
        }
    }
}

// Lets a map of labels be searched by the bytes of a query. Equality, order and hash are therefore those of the bytes.
impl std::borrow::Borrow<[u8]> for Label {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Label {}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Label {
    /// Writes the presentation form: `.`, `\` and the other special characters with a backslash, other bytes than
    /// printable ASCII as `\DDD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.as_bytes() {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                other => write!(f, "\\{other:03}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// An absolute name. Its labels are ordered **from the root**: `foo.services.local.` is `[local, services, foo]`, the
/// order of keys and of the walk down the tree.
///
/// ```
/// use skyhound_model::Name;
///
/// let zone: Name = "skydns.local".parse()?;
/// let name = Name::parse("1.Rails.skydns.local.")?;
/// assert_eq!(name.to_string(), "1.rails.skydns.local.");
/// assert_eq!(name.labels()[0].to_string(), "local");
/// assert!(name.is_within(&zone));
/// assert_eq!(name.ancestor(2), Some(zone));
/// # Ok::<(), skyhound_model::name::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Box<[Label]>);

impl Name {
    /// Returns the root, `.`.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses the presentation form with the escapes of RFC 1035 section 5.1. The dot at the end is optional.
    ///
    /// # Errors
    /// [`NameError::BadEscape`], and those of [`Label::new`] and [`Name::from_root`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut labels = Vec::new();
        let mut label = Vec::new();
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' if bytes.peek().is_none() => break,
                b'.' => labels.push(Label::new(std::mem::take(&mut label))?),
                b'\\' => label.push(unescape(&mut bytes)?),
                plain => label.push(plain),
            }
        }
        labels.push(Label::new(label)?);
        labels.reverse();
        Self::from_root(labels)
    }

    /// Creates a name from labels that are ordered from the root.
    ///
    /// # Errors
    /// [`NameError::NameTooLong`] if the name takes more than [`NAME_MAX`] bytes on the wire.
    pub fn from_root(labels: Vec<Label>) -> Result<Self, NameError> {
        let name = Self(labels.into());
        if name.wire_len() > NAME_MAX { Err(NameError::NameTooLong) } else { Ok(name) }
    }

    /// Returns the name one label below this one.
    ///
    /// # Errors
    /// [`NameError::NameTooLong`] if that name takes more than [`NAME_MAX`] bytes on the wire.
    pub fn child(&self, label: Label) -> Result<Self, NameError> {
        let mut labels = Vec::with_capacity(self.0.len() + 1);
        labels.extend_from_slice(&self.0);
        labels.push(label);
        Self::from_root(labels)
    }

    /// Returns the name without its `count` leftmost labels; `None` if no label remains.
    pub fn ancestor(&self, count: usize) -> Option<Self> {
        (count < self.0.len()).then(|| Self(self.0[..self.0.len() - count].into()))
    }

    /// Returns `foo.x` for `_foo._tcp.x`, the name that RFC 2782 gives to a service in a query; `None` for any other
    /// name.
    pub fn srv_service(&self) -> Option<Self> {
        let (service, above) = self.0.split_last()?;
        let (protocol, above) = above.split_last()?;
        if !matches!(protocol.as_bytes(), b"_tcp" | b"_udp") {
            return None;
        }
        let service = Label::new(service.as_bytes().strip_prefix(b"_")?).ok()?;
        Some(Self(above.iter().cloned().chain([service]).collect()))
    }

    /// Returns the labels, from the root downwards.
    pub fn labels(&self) -> &[Label] {
        &self.0
    }

    /// Returns true if this name is `zone` or below it, compared by whole labels.
    pub fn is_within(&self, zone: &Name) -> bool {
        self.0.starts_with(&zone.0)
    }

    /// Returns the uncompressed length on the wire, in bytes.
    pub fn wire_len(&self) -> usize {
        1 + self.0.iter().map(|l| 1 + l.as_bytes().len()).sum::<usize>()
    }
}

/// Reads the rest of an escape after its backslash, and returns the byte that it represents.
fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    match bytes.next().ok_or(NameError::BadEscape)? {
        first @ b'0'..=b'9' => {
            let mut value = u32::from(first - b'0');
            for _ in 0..2 {
                match bytes.next() {
                    Some(digit @ b'0'..=b'9') => value = value * 10 + u32::from(digit - b'0'),
                    _ => return Err(NameError::BadEscape),
                }
            }
            u8::try_from(value).map_err(|_| NameError::BadEscape)
        }
        plain => Ok(plain),
    }
}

impl fmt::Display for Name {
    /// Writes the presentation form with the dot at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        self.0.iter().rev().try_for_each(|label| write!(f, "{label}."))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_run_from_the_root_in_lower_case() {
        let name = Name::parse("1.Rails.EAST.skydns.local").unwrap();
        let labels: Vec<_> = name.labels().iter().map(ToString::to_string).collect();
        assert_eq!(labels, ["local", "skydns", "east", "rails", "1"]);
        assert_eq!(name.to_string(), "1.rails.east.skydns.local.");
        assert_eq!(name, Name::parse("1.rails.east.skydns.LOCAL.").unwrap());
    }

    #[test]
    fn labels_compare_by_bytes_in_both_representations() {
        assert_eq!(size_of::<Label>(), 24);
        let label = |length: usize| Label::new("x".repeat(length)).unwrap();
        for length in 1..=LABEL_MAX {
            assert_eq!(label(length).as_bytes(), "x".repeat(length).as_bytes());
            assert!(label(length.max(2) - 1) <= label(length) && label(length) == label(length).clone());
        }
        assert!(Label::new("b").unwrap() > label(40).clone().min(Label::new("a".repeat(40)).unwrap()));
    }

    #[test]
    fn is_within_compares_whole_labels() {
        let zone = Name::parse("foo.local").unwrap();
        assert!(Name::parse("a.foo.local").unwrap().is_within(&zone));
        assert!(zone.is_within(&zone) && zone.is_within(&Name::root()));
        assert!(!Name::parse("afoo.local").unwrap().is_within(&zone));
    }

    #[test]
    fn malformed_names_are_rejected() {
        for (text, reason) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a..", NameError::EmptyLabel),
            ("a\\", NameError::BadEscape),
            ("a\\30", NameError::BadEscape),
            ("a\\300", NameError::BadEscape),
        ] {
            assert_eq!(Name::parse(text), Err(reason), "{text}");
        }
        assert_eq!(Name::parse(&"x".repeat(64)), Err(NameError::LabelTooLong(64)));
        let long = vec!["x".repeat(63); 4].join(".");
        assert_eq!(Name::parse(&long), Err(NameError::NameTooLong));
        assert!(Name::parse(&long[2..]).is_ok(), "255 bytes on the wire are allowed");
    }

    #[test]
    fn registrable_labels_are_narrower() {
        assert!(Label::registrable("_http-2").is_ok());
        for text in ["a/b", "..", "a b", "ä", "a:1", "a*"] {
            assert!(matches!(Label::registrable(text), Err(NameError::BadCharacter(_))), "{text}");
        }
        assert_eq!(Label::registrable("*"), Err(NameError::Wildcard("*")));
        assert_eq!(Label::registrable("Any"), Err(NameError::Wildcard("any")));
        assert_eq!(Label::registrable(""), Err(NameError::EmptyLabel));
    }

    proptest! {
        #[test]
        fn presentation_form_round_trips(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..8)) {
            let labels = labels.into_iter().map(|l| Label::new(l).unwrap()).collect();
            let name = Name::from_root(labels).unwrap();
            prop_assert_eq!(Name::parse(&name.to_string()).unwrap(), name);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,300}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(name.wire_len() <= NAME_MAX);
            }
        }
    }
}
