//! The values at one name: nearly always one entry or none, rarely several.
//!
//! Owns: a representation in which the common case needs no allocation, and the order of keys. Does not own: the choice
//! of the entries that readers see ([`super::node`]).

use super::quarantine::Quarantined;
use super::stored_entry::StoredEntry;
use skyhound_model::{Key, Revision};
use std::sync::Arc;

/// An entry, or a value that cannot be read as one.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Entry(Arc<StoredEntry>),
    Bad(Arc<Quarantined>),
}

impl Value {
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::Entry(stored) => &stored.key,
            Self::Bad(bad) => &bad.key,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        match self {
            Self::Entry(stored) => stored.revision,
            Self::Bad(bad) => bad.revision,
        }
    }
}

/// The values at a name, in the order of their keys.
#[derive(Debug, Clone, Default)]
pub(super) enum Values {
    #[default]
    None,
    One(Value),
    /// Several keys spell one name (`/a/B`, `/a/b`, `/a/b/`). Boxed, so that the other cases take two words.
    #[allow(clippy::box_collection, reason = "a million nodes have the size of the largest case")]
    Several(Box<Vec<Value>>),
}

impl Values {
    pub(super) fn as_slice(&self) -> &[Value] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }

    /// Puts a value under its key. Returns the earlier value.
    pub(super) fn put(&mut self, value: Value) -> Option<Value> {
        let before = self.remove(value.key());
        *self = match std::mem::take(self) {
            Self::None => Self::One(value),
            Self::One(other) => Self::of(vec![other, value]),
            Self::Several(mut values) => {
                values.push(value);
                Self::of(*values)
            }
        };
        before
    }

    /// Removes the value of a key, and returns it.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Value> {
        let at = self.as_slice().iter().position(|value| value.key() == key)?;
        match std::mem::take(self) {
            Self::None => None,
            Self::One(value) => Some(value),
            Self::Several(mut values) => {
                let removed = values.remove(at);
                *self = Self::of(*values);
                Some(removed)
            }
        }
    }

    fn of(mut values: Vec<Value>) -> Self {
        match values.len() {
            0 | 1 => values.pop().map_or(Self::None, Self::One),
            _ => {
                values.sort_by(|a, b| a.key().cmp(b.key()));
                Self::Several(Box::new(values))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(key: &str, revision: u64) -> Value {
        Value::Bad(Arc::new(Quarantined { key: Key::from(key), reason: String::new(), revision: Revision(revision) }))
    }

    fn held(values: &Values) -> Vec<(String, u64)> {
        values.as_slice().iter().map(|value| (value.key().to_string(), value.revision().0)).collect()
    }

    #[test]
    fn values_are_ordered_and_unique_by_key() {
        let mut values = Values::default();
        for (key, revision, before) in [("b", 1, None), ("c", 2, None), ("a", 3, None), ("b", 4, Some(1))] {
            assert_eq!(values.put(bad(key, revision)).map(|value| value.revision().0), before);
        }
        assert_eq!(held(&values), [("a".into(), 3), ("b".into(), 4), ("c".into(), 2)]);
        assert!(values.remove(&Key::from("d")).is_none());
        for key in ["b", "a", "c"] {
            assert!(values.remove(&Key::from(key)).is_some());
        }
        assert!(matches!(values, Values::None));
        assert_eq!(size_of::<Values>(), 2 * size_of::<usize>());
    }
}
