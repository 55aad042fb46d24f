//! DNS names, as the tree of entries needs them: lower case, labels from the root downwards.
//!
//! Owns: which bytes make a label, the lengths of RFC 1035 section 3.1, the presentation form with
//! its escapes (RFC 1035 section 5.1, RFC 4343). Does not own: the wire form of a message (hickory)
//! nor the store's keys ([`super::key`]).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest label, in bytes (RFC 1035 section 2.3.4).
pub const LABEL_MAX: usize = 63;
/// The longest name on the wire, in bytes, with its length bytes and the root's (RFC 1035 section 2.3.4).
pub const NAME_MAX: usize = 255;

/// Why some text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Two dots side by side, a leading dot, or nothing at all.
    #[error("has an empty label")]
    EmptyLabel,
    /// A label over [`LABEL_MAX`].
    #[error("has a label of {0} bytes, and {LABEL_MAX} is the most DNS allows")]
    LabelTooLong(usize),
    /// A name over [`NAME_MAX`].
    #[error("is a name over {NAME_MAX} bytes, the most DNS allows")]
    NameTooLong,
    /// A backslash that does not begin an escape of RFC 1035 section 5.1.
    #[error("has a backslash that escapes nothing")]
    BadEscape,
    /// A character that a registered label may not have.
    #[error("has {0:?}; a registered label is made of letters, digits, '-' and '_'")]
    BadCharacter(char),
    /// `*` or `any`, which stand for every label in questions (SkyDNS rule).
    #[error("is {0:?}, which stands for every label in a question and so cannot name one")]
    Wildcard(&'static str),
}

/// One label: 1 to 63 bytes, ASCII letters in lower case. Any other byte may occur, as in DNS itself;
/// what a *registration* may use is narrower, see [`Label::registrable`].
///
/// A short one, as nearly all are, is held in place: a tree of a million names is searched by comparing
/// labels, and each that is elsewhere in memory is a cache miss.
#[derive(Clone)]
pub struct Label(LabelRepr);

/// The longest label that is held in place; makes 24 bytes with its length and the tag.
const SHORT_MAX: usize = 22;

#[derive(Clone)]
enum LabelRepr {
    Short(u8, [u8; SHORT_MAX]),
    Long(Box<[u8]>),
}

impl Label {
    /// Folds to lower case and checks the length.
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

    /// A label that a peer may register: letters, digits, `-`, `_`; neither `*` nor `any`. Everything
    /// else either breaks readers (Go, c-ares and systemd-resolved refuse odd bytes) or writes outside
    /// its place (`/`, `..`).
    pub fn registrable(text: &str) -> Result<Self, NameError> {
        if let Some(odd) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*'))) {
            return Err(NameError::BadCharacter(odd));
        }
        let label = Self::new(text)?;
        match label.wildcard() {
            Some(word) => Err(NameError::Wildcard(word)),
            None if text.contains('*') => Err(NameError::BadCharacter('*')),
            None => Ok(label),
        }
    }

    /// The label's bytes, lower case.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            LabelRepr::Short(length, bytes) => &bytes[..usize::from(*length)],
            LabelRepr::Long(bytes) => bytes,
        }
    }

    /// The wildcard that this label is in a question, if it is one.
    pub fn wildcard(&self) -> Option<&'static str> {
        match self.as_bytes() {
            b"*" => Some("*"),
            b"any" => Some("any"),
            _ => None,
        }
    }
}

// A map keyed by labels can be asked with the bytes of a question: all of these are those of the bytes.
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
    /// Presentation form: `.` and `\` escaped with a backslash, what is not printable ASCII as `\DDD`.
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

/// An absolute name. The labels run **from the root**: `foo.services.local.` is `[local, services, foo]`,
/// the order of keys and of the walk down the tree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(Box<[Label]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self::default()
    }

    /// From presentation form; the dot at the end may be missing. Escapes as in RFC 1035 section 5.1.
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

    /// From labels that run from the root; checks the whole length.
    pub fn from_root(labels: Vec<Label>) -> Result<Self, NameError> {
        let name = Self(labels.into());
        if name.wire_len() > NAME_MAX { Err(NameError::NameTooLong) } else { Ok(name) }
    }

    /// The name one label below this one.
    pub fn child(&self, label: Label) -> Result<Self, NameError> {
        let mut labels = Vec::with_capacity(self.0.len() + 1);
        labels.extend_from_slice(&self.0);
        labels.push(label);
        Self::from_root(labels)
    }

    /// The name that is left when `count` labels are cut from the left; `None` when that leaves nothing.
    pub fn ancestor(&self, count: usize) -> Option<Self> {
        (count < self.0.len()).then(|| Self(self.0[..self.0.len() - count].into()))
    }

    /// `foo.x` for `_foo._tcp.x`, the name by which RFC 2782 asks for a service; `None` for any other name.
    pub fn srv_service(&self) -> Option<Self> {
        let (service, above) = self.0.split_last()?;
        let (protocol, above) = above.split_last()?;
        if !matches!(protocol.as_bytes(), b"_tcp" | b"_udp") {
            return None;
        }
        let service = Label::new(service.as_bytes().strip_prefix(b"_")?).ok()?;
        Some(Self(above.iter().cloned().chain([service]).collect()))
    }

    /// The labels, from the root downwards.
    pub fn labels(&self) -> &[Label] {
        &self.0
    }

    /// Whether this is `zone` or a name below it, by whole labels.
    pub fn is_within(&self, zone: &Name) -> bool {
        self.0.starts_with(&zone.0)
    }

    /// Length on the wire in bytes, uncompressed.
    pub fn wire_len(&self) -> usize {
        1 + self.0.iter().map(|l| 1 + l.as_bytes().len()).sum::<usize>()
    }
}

/// The byte that an escape stands for; `bytes` is behind the backslash.
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
    /// Presentation form with the dot at the end.
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
        for (text, why) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a..", NameError::EmptyLabel),
            ("a\\", NameError::BadEscape),
            ("a\\30", NameError::BadEscape),
            ("a\\300", NameError::BadEscape),
        ] {
            assert_eq!(Name::parse(text), Err(why), "{text}");
        }
        assert_eq!(Name::parse(&"x".repeat(64)), Err(NameError::LabelTooLong(64)));
        let long = vec!["x".repeat(63); 4].join(".");
        assert_eq!(Name::parse(&long), Err(NameError::NameTooLong));
        assert!(Name::parse(&long[2..]).is_ok(), "255 bytes on the wire are a name");
    }

    #[test]
    fn registrable_labels_are_narrower() {
        assert!(Label::registrable("_http-2").is_ok());
        for odd in ["a/b", "..", "a b", "ä", "a:1", "a*"] {
            assert!(matches!(Label::registrable(odd), Err(NameError::BadCharacter(_))), "{odd}");
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
