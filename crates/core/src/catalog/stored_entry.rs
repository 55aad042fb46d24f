//! An entry together with its attributes in the store.

use skyhound_model::{Entry, Host, Key};
use skyhound_store::{LeaseId, Revision};
use std::num::NonZeroU32;
use std::sync::Arc;

/// An entry with its key, revision and lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The key.
    pub key: Key,
    /// The entry.
    pub entry: Entry,
    /// The revision that put it.
    pub revision: Revision,
    /// The lease that it is attached to.
    pub lease: Option<LeaseId>,
    /// The TTL of that lease in seconds, once the store has returned it.
    pub lease_ttl_s: Option<NonZeroU32>,
    /// The service that it is an instance of, in lower case.
    pub service: Option<Arc<str>>,
    /// True for a key of the mirror keyspace, which a hound-dog peer wrote.
    pub in_mirror: bool,
}

impl StoredEntry {
    /// Returns whether the entry is a persistent registration without a lease TTL: it stays until a request removes it.
    pub fn is_persistent(&self) -> bool {
        self.lease.is_none() && !self.in_mirror && self.entry.details.is_some()
    }

    /// The host and port of the instance; `None` for an entry without a host.
    pub fn location(&self) -> Option<(&Host, u16)> {
        self.entry.host.as_ref().map(|host| (host, self.entry.port))
    }
}
