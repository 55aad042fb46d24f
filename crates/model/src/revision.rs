//! The revision, the position in a store's history.
//!
//! It is defined here and not with the store, because every reader of a snapshot uses it and only the core uses the
//! store.

use std::fmt;

/// A point in the history of a store. It increases with every change; 0 is the state before the first change.
///
/// ```
/// use skyhound_model::Revision;
///
/// assert!(Revision::default() < Revision(7));
/// assert_eq!(Revision(7).to_string(), "7");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
