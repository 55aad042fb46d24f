//! Values that cannot be parsed, separated one by one, so that none affects its neighbours.
//!
//! SkyDNS and CoreDNS fail every query whose subtree contains one unreadable value. Here such a value is left out,
//! counted, and listed for the operator.

use skyhound_model::{Key, Revision};

/// A value that cannot be read as an entry, or a key that is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The key.
    pub key: Key,
    /// The reason; it continues a sentence after the key.
    pub reason: String,
    /// The revision that put the value.
    pub revision: Revision,
}
