//! The stored state of one key, in as little memory as possible: a million of these are a normal size.

use crate::{Item, LeaseId, Revision};
use bytes::Bytes;
use skyhound_model::Key;
use std::num::NonZeroI64;
use std::sync::Arc;

/// The value of a key. A clone shares it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Shared with the items that readers receive. Cloned `Bytes` would each take as much memory again as the value's own
    /// bookkeeping, for as long as they live.
    value: Arc<[u8]>,
    pub(super) revision: Revision,
    lease: Option<NonZeroI64>,
}

impl Row {
    pub(super) fn new(value: &[u8], revision: Revision, lease: Option<LeaseId>) -> Self {
        Self { value: value.into(), revision, lease: lease.and_then(|id| NonZeroI64::new(id.0)) }
    }

    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.lease.map(|id| LeaseId(id.get()))
    }

    /// Returns the item that readers receive.
    pub(super) fn item(&self, key: &Key) -> Item {
        let value = Bytes::from_owner(Arc::clone(&self.value));
        Item { key: key.clone(), value, revision: self.revision, lease: self.lease() }
    }
}
