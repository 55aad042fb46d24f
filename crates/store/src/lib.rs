//! Durable, ordered storage of entries: one trait, its contract, and two implementations.
//!
//! A store is an ordered map from keys to values in which every change has a [`Revision`], and a key may be attached to
//! a lease that removes it. The features `embedded` (memory or a file) and `etcd` provide implementations; both pass one
//! test suite, `crates/store/tests/contract/suite`. The crates above depend on the trait alone.
//!
//! - [`Store`]: the trait, with [`Item`], [`Listing`] and [`Status`]
//! - [`Write`], [`Guard`], [`Op`]: a commit and its [`Outcome`]
//! - [`Feed`], [`Batch`], [`Change`]: the changes after a revision
//! - [`LeaseId`]: the id of a lease
//! - [`StoreError`]: the errors of all of them
//!
//! # Contract
//! 1. *One revision, all or nothing.* A [`Store::commit`] takes effect at one revision or not at all; each [`Write`] in
//!    it takes effect whole or not at all, and the commit reports which.
//! 2. *Durable before visible.* A commit that was acknowledged and a change that a feed delivered survive a crash of this
//!    process (memory excepted).
//! 3. *A feed is ordered, unique, atomic and without gaps.* After `feed(prefix, after)` every change below `prefix` with
//!    a revision above `after` is delivered once, in order, all changes of a revision in one [`Batch`]. On any doubt the
//!    feed ends with an error; the reader lists again and resumes there.
//! 4. *A lease that is renewed does not expire; one that is not removes all its keys at one revision,* within its TTL
//!    and [`LEASE_EXPIRY_SLACK`].
//! 5. *An error is not an outcome.* [`StoreError::outcome_unknown`] reports that the commit may have taken effect all the
//!    same.

#![warn(clippy::missing_errors_doc)]

mod commit;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
mod feed;
mod lease;
mod status;

pub use commit::{COMMIT_MAX, Commit, Expect, Guard, Op, Outcome, WRITE_MAX, Write};
pub use error::StoreError;
pub use feed::{Batch, Change, FEED_BACKLOG, Feed};
pub use lease::{LEASE_EXPIRY_SLACK, LeaseId, RENEWALS_PER_TTL};
pub use skyhound_model::Revision;
pub use status::{Member, Status};

use async_trait::async_trait;
use bytes::Bytes;
use skyhound_model::Key;
use std::fmt;
use std::time::Duration;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Key.
    pub key: Key,
    /// Value of the last put.
    pub value: Bytes,
    /// Revision of the last put.
    pub revision: Revision,
    /// Lease that the key is attached to.
    pub lease: Option<LeaseId>,
}

/// All items below a prefix at one revision, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Revision at which the items were read; a feed after it continues the listing.
    pub revision: Revision,
    /// Items.
    pub items: Vec<Item>,
}

/// A store. The contract is described at the [crate](crate#contract).
///
/// ```
/// use skyhound_model::Key;
/// use skyhound_store::{Op, Outcome, Store, StoreError, Write, embedded::Embedded};
/// use std::time::Duration;
///
/// async fn put_and_revoke(store: &dyn Store) -> Result<(), StoreError> {
///     let lease = store.grant(Duration::from_secs(30)).await?;
///     let put = Op::Put { key: Key::from("/skydns/local/web"), value: "{}".into(), lease: Some(lease) };
///     let commit = store.commit(vec![Write { ops: vec![put], ..Write::default() }]).await?;
///     assert_eq!(commit.outcomes, [Outcome::Done]);
///     assert_eq!(store.list(b"/skydns/").await?.items[0].revision, commit.revision);
///     store.revoke(lease).await?;
///     assert!(store.list(b"/skydns/").await?.items.is_empty());
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// put_and_revoke(&Embedded::in_memory()?).await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Lists all keys that begin with `prefix`, at one revision.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::Denied`], or [`StoreError::Rejected`] for a value that is too large to
    /// be read.
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError>;

    /// Applies up to [`COMMIT_MAX`] writes at one revision. At most one operation of the commit may name a key. The
    /// guards of all writes are evaluated before the first operation takes effect.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] beyond a limit; [`StoreError::LeaseNotFound`] for a put on a missing lease;
    /// [`StoreError::Unwritable`] and [`StoreError::Denied`]; [`StoreError::Unreachable`], after which the outcome is
    /// unknown. A guard that does not hold is not an error but [`Outcome::Refused`].
    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError>;

    /// Grants a lease of this TTL, rounded up to whole seconds, at least one. Its id [is ours](LeaseId::is_ours). The
    /// store may grant a longer TTL.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] for a TTL over the store's limit; [`StoreError::Unwritable`], [`StoreError::Denied`] and
    /// [`StoreError::Unreachable`].
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Renews each lease for its whole TTL, and returns in the same order which of them exist.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and [`StoreError::Denied`]. An error gives no information about any of the leases.
    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError>;

    /// Ends a lease now and removes its keys. A missing lease is not an error.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`], [`StoreError::Denied`] and [`StoreError::Unreachable`].
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Returns the granted TTL of a lease; `None` if the lease does not exist or the store does not report TTLs.
    ///
    /// # Errors
    /// [`StoreError::Denied`] and [`StoreError::Unreachable`].
    async fn lease_ttl(&self, _lease: LeaseId) -> Result<Option<Duration>, StoreError> {
        Ok(None)
    }

    /// Opens a feed of the changes below `prefix` after a revision. Returns once the store has accepted it.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if the changes after the revision are gone; [`StoreError::FeedLost`] for a revision that
    /// the store has not reached, because it belongs to another history; [`StoreError::Rejected`] for too many feeds;
    /// [`StoreError::Denied`] and [`StoreError::Unreachable`].
    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError>;

    /// Returns the status of the store.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and [`StoreError::Denied`], and [`StoreError::Unwritable`] while the embedded store
    /// cannot write.
    async fn status(&self) -> Result<Status, StoreError>;
}
