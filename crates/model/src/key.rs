//! The SkyDNS layout: where in the store the entry of a name stands.
//!
//! `1.rails.skydns.local.` ↔ `/skydns/local/skydns/rails/1`: a prefix, then the labels from the root,
//! joined by `/`. Owns: that the two directions are inverses for any prefix, that case is folded once,
//! and that no name can lead outside the prefix. Does not own: what the entry holds.

use super::name::{Label, Name, NameError};
use std::fmt;
use std::sync::Arc;

/// A key of the store: bytes, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<T: AsRef<[u8]>> From<T> for Key {
    fn from(bytes: T) -> Self {
        Self(bytes.as_ref().into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Why a key of the store is not the place of a name, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key does not begin with the prefix and a slash.
    #[error("is not below the prefix {0}")]
    OutsidePrefix(String),
    /// The key's path does not spell a name.
    #[error("as a name {0}")]
    Name(#[from] NameError),
    /// A label with a slash has no key: it would be two labels there.
    #[error("has a label with a slash in it, which no key can hold")]
    Slash,
}

/// A key prefix (`--key-prefix`), and the two directions below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `/skydns/`: with one slash at each end, whatever was typed; `/` for the empty prefix.
    prefix: String,
}

impl Layout {
    /// Any number of components; slashes at either end, and doubled ones, do not count.
    pub fn new(prefix: &str) -> Self {
        let mut clean = String::from("/");
        for part in prefix.split('/').filter(|part| !part.is_empty()) {
            clean.push_str(part);
            clean.push('/');
        }
        Self { prefix: clean }
    }

    /// What every key of this layout begins with; ends in a slash, so that it bounds whole labels.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a name.
    pub fn key(&self, name: &Name) -> Result<Key, KeyError> {
        let mut key = Vec::with_capacity(self.prefix.len() + name.wire_len());
        key.extend_from_slice(self.prefix.as_bytes());
        for (at, label) in name.labels().iter().enumerate() {
            if label.as_bytes().contains(&b'/') {
                return Err(KeyError::Slash);
            }
            if at > 0 {
                key.push(b'/');
            }
            key.extend_from_slice(label.as_bytes());
        }
        Ok(Key::from(key))
    }

    /// The name of a key. One slash at the key's end is passed over, as CoreDNS does.
    pub fn name(&self, key: &[u8]) -> Result<Name, KeyError> {
        let path =
            key.strip_prefix(self.prefix.as_bytes()).ok_or_else(|| KeyError::OutsidePrefix(self.prefix.clone()))?;
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if path.is_empty() {
            return Ok(Name::root());
        }
        let labels = path.split(|byte| *byte == b'/').map(Label::new).collect::<Result<_, _>>()?;
        Ok(Name::from_root(labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_manual_example_maps_both_ways() {
        let layout = Layout::new("/skydns");
        let name = Name::parse("1.rails.production.east.skydns.local.").unwrap();
        let key = layout.key(&name).unwrap();
        assert_eq!(key.as_bytes(), b"/skydns/local/skydns/east/production/rails/1");
        assert_eq!(layout.name(key.as_bytes()), Ok(name));
    }

    #[test]
    fn prefixes_are_normalized() {
        for (typed, clean) in [("/skydns", "/skydns/"), ("a//b/", "/a/b/"), ("", "/"), ("/", "/")] {
            assert_eq!(Layout::new(typed).prefix(), clean);
        }
    }

    #[test]
    fn keys_without_a_name_are_rejected() {
        let layout = Layout::new("/skydns");
        assert_eq!(layout.name(b"/skydnsx/a"), Err(KeyError::OutsidePrefix("/skydns/".into())));
        assert_eq!(layout.name(b"/skydns/a//b"), Err(KeyError::Name(NameError::EmptyLabel)));
        assert_eq!(layout.key(&Name::parse("a/b.local").unwrap()), Err(KeyError::Slash));
    }

    #[test]
    fn keys_of_other_writers_are_read() {
        let layout = Layout::new("/skydns");
        assert_eq!(layout.name(b"/skydns/local/Foo/").unwrap().to_string(), "foo.local.");
        assert_eq!(layout.name(b"/skydns/local/host:web:8080").unwrap().to_string(), "host:web:8080.local.");
    }

    proptest! {
        #[test]
        fn name_and_key_are_inverses(
            prefix in "(/[a-z]{1,5}){0,3}",
            labels in prop::collection::vec("[a-z0-9_:.-]{1,20}", 1..8),
        ) {
            let layout = Layout::new(&prefix);
            let name = Name::from_root(labels.iter().map(|l| Label::new(l).unwrap()).collect()).unwrap();
            let key = layout.key(&name).unwrap();
            prop_assert!(key.as_bytes().starts_with(layout.prefix().as_bytes()));
            prop_assert_eq!(layout.name(key.as_bytes()), Ok(name));
        }
    }
}
