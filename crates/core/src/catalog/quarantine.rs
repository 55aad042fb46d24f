//! Values that are no entries: kept apart one by one, so that none harms its neighbours.
//!
//! SkyDNS and CoreDNS fail every question whose subtree holds one unreadable value. Here it is left out,
//! counted, and listed for the operator.

use skyhound_model::{Key, Revision};

/// A value that cannot be read as an entry, or a key that is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its key.
    pub key: Key,
    /// What is wrong; reads behind the key as a sentence.
    pub reason: String,
    /// The revision that put it.
    pub revision: Revision,
}
