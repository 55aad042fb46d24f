//! The SkyDNS layout: the mapping between names and keys of the store.
//!
//! `1.rails.skydns.local.` ↔ `/skydns/local/skydns/rails/1`: a prefix, then the labels from the root, joined by `/`.
//! Owns: that the two directions are inverses for any prefix, that case is folded once, and that no name leads outside
//! the prefix. Does not own: the value under a key ([`entry`](crate::entry)).

use super::name::{Label, Name, NameError};
use std::fmt;
use std::sync::Arc;

/// A key of the store: bytes, cheap to clone.
///
/// ```
/// use skyhound_model::Key;
///
/// let key = Key::from("/skydns/local/web");
/// assert!(key.as_bytes().starts_with(b"/skydns/"));
/// assert_eq!(key.to_string(), "/skydns/local/web");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// Returns the bytes of the key.
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

/// The reason why a key has no name in a layout, or a name no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key does not begin with the prefix and a slash.
    #[error("is not below the prefix {0}")]
    OutsidePrefix(String),
    /// The key's path is not a name.
    #[error("as a name {0}")]
    Name(#[from] NameError),
    /// A label contains a slash, which would make it two labels of the key.
    #[error("has a label with a slash, which a key cannot represent")]
    Slash,
}

/// A key prefix (`--key-prefix`) with the mapping between names and the keys below it.
///
/// ```
/// use skyhound_model::{Layout, Name};
///
/// let layout = Layout::new("/skydns");
/// let name = Name::parse("1.rails.skydns.local.")?;
/// let key = layout.key(&name)?;
/// assert_eq!(key.as_bytes(), b"/skydns/local/skydns/rails/1");
/// assert_eq!(layout.name(key.as_bytes())?, name);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `/skydns/`: with one slash at each end, however it was set; `/` for the empty prefix.
    prefix: String,
}

impl Layout {
    /// Creates the layout below a prefix of any number of components. Slashes at either end and doubled slashes are
    /// ignored.
    pub fn new(prefix: &str) -> Self {
        let mut normalized = String::from("/");
        for part in prefix.split('/').filter(|part| !part.is_empty()) {
            normalized.push_str(part);
            normalized.push('/');
        }
        Self { prefix: normalized }
    }

    /// Returns the prefix of every key of this layout. It ends in a slash, so that it bounds whole labels.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the key of a name.
    ///
    /// # Errors
    /// [`KeyError::Slash`] if a label of the name contains a slash.
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

    /// Returns the name of a key. One slash at the end of the key is ignored, as in CoreDNS.
    ///
    /// # Errors
    /// [`KeyError::OutsidePrefix`] for a key of another prefix, and [`KeyError::Name`] if its path is not a name, as
    /// with an empty or overlong label.
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
        for (prefix, normalized) in [("/skydns", "/skydns/"), ("a//b/", "/a/b/"), ("", "/"), ("/", "/")] {
            assert_eq!(Layout::new(prefix).prefix(), normalized);
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
