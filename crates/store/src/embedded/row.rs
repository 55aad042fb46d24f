//! What the store holds of one key, in as little memory as it can be: a million of these are a normal size.

use crate::{Item, LeaseId, Revision};
use bytes::Bytes;
use skyhound_model::Key;
use std::num::NonZeroI64;
use std::sync::Arc;

/// The value of a key. A clone shares it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Shared with items that are on their way to readers. Bytes that are cloned would each take, for as long as
    /// they live, as much again as their own place.
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

    /// As readers are told it.
    pub(super) fn item(&self, key: &Key) -> Item {
        let value = Bytes::from_owner(Arc::clone(&self.value));
        Item { key: key.clone(), value, revision: self.revision, lease: self.lease() }
    }
}
