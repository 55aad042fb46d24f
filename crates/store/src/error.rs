//! The error of a store, by the reaction that it requires.

use crate::{FEED_BACKLOG, Revision};

/// The reason why a request to the store failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store did not respond, or not in time. A commit may have taken effect.
    #[error("the store is unreachable: {0}")]
    Unreachable(String),
    /// The store denied access because of the user, the password or the certificate.
    #[error("the store denied access: {0}")]
    Denied(String),
    /// A put named a lease that does not exist. Nothing of the commit took effect.
    #[error("the lease of a put does not exist")]
    LeaseNotFound,
    /// The store cannot write (no space left) until an operator repairs it. Nothing of the commit took effect.
    #[error("the store cannot write: {0}")]
    Unwritable(String),
    /// The store rejected the request (too large). Nothing took effect, and a retry fails too.
    #[error("the store rejected the request: {0}")]
    Rejected(String),
    /// The changes after this revision are gone; the reader lists again.
    #[error("the changes after revision {0} were compacted")]
    Compacted(Revision),
    /// The feed ended for another reason; the reader lists again.
    #[error("the feed ended: {0}")]
    FeedLost(String),
    /// The reader lagged; it lists again.
    #[error("the reader of the feed lagged by more than {FEED_BACKLOG} batches")]
    FeedOverrun,
}

impl StoreError {
    /// Returns true if the commit that failed may have taken effect all the same.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Returns true if one write of a commit may be the cause (too large; a key that etcd's user may not write) and not
    /// the store: the other writes would succeed without it.
    pub fn may_concern_one_write(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Denied(_))
    }
}
