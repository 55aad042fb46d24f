//! Where entries are kept: one small trait and its laws.
//!
//! A store is an ordered map from keys to values in which every change has a [`Revision`], and a key
//! may hang on a lease that takes it away. [`memory and disk`](embedded) and [`etcd`] implement it;
//! both pass the one suite in `crates/store/tests/contract/`. Nothing above this module knows which one it has.
//!
//! # Laws
//! 1. *One revision, all or nothing.* A [`Store::commit`] takes effect at one revision or not at all;
//!    each [`Write`] in it takes effect whole or not at all, and says which.
//! 2. *Durable before visible.* What a commit reports as done, and what a feed tells, survives a crash
//!    of this process (memory excepted).
//! 3. *A feed is ordered, unique, atomic and without gaps.* After `feed(prefix, after)` every change
//!    below `prefix` with a revision above `after` is told once, in order, all changes of a revision in
//!    one [`Batch`]. On any doubt it ends with an error; the reader lists again and resumes there.
//! 4. *A lease that is kept does not expire; one that is not takes all its keys at one revision,* within
//!    its term and [`LEASE_EXPIRY_SLACK`].
//! 5. *An error is not an outcome.* [`StoreError::outcome_unknown`] says whether the commit may have
//!    happened all the same.

#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "etcd")]
pub mod etcd;

use async_trait::async_trait;
use bytes::Bytes;
use skyhound_model::Key;
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc;

/// The most writes in one commit. etcd allows 128 operations in a transaction and counts the guards and
/// operations of a nested one on top of the outer's.
pub const COMMIT_MAX: usize = 100;
/// The most guards, and the most operations, in one [`Write`].
pub const WRITE_MAX: usize = 16;
/// How much later than its term a lease may expire: etcd looks every 500 ms, and waits for its leader.
pub const LEASE_EXPIRY_SLACK: Duration = Duration::from_secs(1);

/// How often within its term a lease is kept alive: two calls may fail before one is due in time.
pub const RENEWALS_PER_TTL: u32 = 3;
/// Batches that a feed holds for a reader who is behind. With more, and no reading for a moment, the feed ends.
pub const FEED_BACKLOG: usize = 4096;

/// A point in the store's history. Grows with every change; 0 is before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// The bits that mark a lease as a skyhound's, and what stands in them. etcd draws the ids of others from its
/// member's number and the time, or takes theirs: one in 16 million would look like ours.
const SKYHOUND_MASK: i64 = 0x7fff_ff00_0000_0000;
const SKYHOUND_BITS: i64 = 0x5b48_4f00_0000_0000;

impl LeaseId {
    /// A new id that says that the lease is a skyhound's: what hangs on it was written by one of our nodes, as
    /// every other node can tell from the id alone.
    pub fn random() -> Self {
        Self(SKYHOUND_BITS | fastrand::i64(1..) & !SKYHOUND_MASK)
    }

    /// Whether a skyhound granted it.
    pub fn is_ours(self) -> bool {
        self.0 & SKYHOUND_MASK == SKYHOUND_BITS
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// The value, as it was put.
    pub value: Bytes,
    /// The revision that put it last.
    pub revision: Revision,
    /// The lease that it hangs on.
    pub lease: Option<LeaseId>,
}

/// All that stood below a prefix at one revision, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The revision that the items were read at; a feed goes on from here.
    pub revision: Revision,
    /// The items.
    pub items: Vec<Item>,
}

/// What has to be true of a key for a [`Write`] to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The key.
    pub key: Key,
    /// What has to be true of it.
    pub expect: Expect,
}

/// See [`Guard`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key was last put at exactly this revision.
    AtRevision(Revision),
    /// The key was last put at this revision or before, or is not there. `NotAfter(Revision(0))`: it is not there.
    NotAfter(Revision),
    /// The key is there and hangs on this lease.
    OnLease(LeaseId),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts a value; with a lease the key goes when the lease goes. Replaces the lease that it had.
    Put {
        /// The key.
        key: Key,
        /// The value.
        value: Bytes,
        /// The lease to hang it on.
        lease: Option<LeaseId>,
    },
    /// Removes a key. No error when it is not there.
    Delete {
        /// The key.
        key: Key,
    },
}

/// Operations that happen together if all guards hold, and otherwise not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Write {
    /// The guards, at most [`WRITE_MAX`].
    pub guards: Vec<Guard>,
    /// The operations, at most [`WRITE_MAX`].
    pub ops: Vec<Op>,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The revision of the changes; the store's revision at that time when nothing changed.
    pub revision: Revision,
    /// What became of each write, in the order given.
    pub outcomes: Vec<Outcome>,
}

/// What became of one [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, at the commit's revision.
    Done,
    /// A guard did not hold; nothing of it happened.
    Refused,
}

/// All changes of one revision below a feed's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// The changes; none when the store only says that there is nothing up to this revision.
    pub changes: Vec<Change>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key has this value now.
    Put(Item),
    /// The key is gone.
    Delete(Key),
}

/// Changes as they happen. Dropping it ends it.
#[derive(Debug)]
pub struct Feed {
    /// What happened before the feed was opened; read first.
    past: std::vec::IntoIter<Batch>,
    batches: mpsc::Receiver<Result<Batch, StoreError>>,
}

impl Feed {
    /// A feed and its writing end, for implementations. The channel has one place more than
    /// [`FEED_BACKLOG`], for the error that ends the feed of a reader who let the others fill up.
    pub fn channel() -> (mpsc::Sender<Result<Batch, StoreError>>, Self) {
        Self::resume(Vec::new())
    }

    /// The same, for a feed that begins with batches known already. They do not count as backlog.
    pub fn resume(past: Vec<Batch>) -> (mpsc::Sender<Result<Batch, StoreError>>, Self) {
        let (sender, batches) = mpsc::channel(FEED_BACKLOG + 1);
        (sender, Self { past: past.into_iter(), batches })
    }

    /// The next batch. After an error the feed is over.
    pub async fn next(&mut self) -> Result<Batch, StoreError> {
        if let Some(batch) = self.past.next() {
            return Ok(batch);
        }
        self.batches.recv().await.unwrap_or(Err(StoreError::FeedLost("the store closed it".into())))
    }
}

/// How the store is, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Which kind of store: `memory`, `disk`, `etcd`.
    pub kind: &'static str,
    /// The store's own version.
    pub version: String,
    /// The store's revision now.
    pub revision: Revision,
    /// Where it is: the file, or the member that answered.
    pub location: String,
    /// The member that answered and the leader it follows; `None` for a store of one.
    pub member: Option<Member>,
    /// What it complains of in its own words: etcd's alarms, a file that somebody removed.
    pub alarms: Vec<String>,
}

/// A member of an etcd cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster_id: u64,
    /// The member that answered.
    pub member_id: u64,
    /// The member that leads; 0 when there is none.
    pub leader_id: u64,
    /// The term of that leadership.
    pub raft_term: u64,
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It could not be reached, or did not answer in time. Whether a commit happened is unknown.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// It answered and refused: user, password or certificate.
    #[error("the store refuses us: {0}")]
    Denied(String),
    /// A put named a lease that is gone. Nothing of the commit happened.
    #[error("a lease that was named is gone")]
    LeaseNotFound,
    /// It takes no writes now (no space left), and will when that is mended. Nothing of the commit happened.
    #[error("the store takes no writes now: {0}")]
    Unwritable(String),
    /// It answered that it cannot do this (too large). Nothing happened, nor will it another time.
    #[error("the store cannot do this: {0}")]
    Rejected(String),
    /// The feed's history is gone; list again.
    #[error("the changes after revision {0} are no longer kept")]
    Compacted(Revision),
    /// The feed is over for another reason; list again.
    #[error("the feed of changes ended: {0}")]
    FeedLost(String),
    /// The reader did not keep up with the feed; list again.
    #[error("the reader of the feed fell more than {FEED_BACKLOG} batches behind")]
    FeedOverrun,
}

impl StoreError {
    /// Whether a commit that failed so may have happened all the same.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// Whether a commit may have failed so because of one of its writes (too large; a key that etcd's user may not
    /// write) and not because of the store: without that one the others would go through.
    pub fn may_concern_one_write(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Denied(_))
    }
}

/// A store. The laws are the module's.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// All keys that begin with `prefix`, read at one revision.
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError>;

    /// Applies up to [`COMMIT_MAX`] writes at one revision. No key may be named by two operations, in one
    /// write or in two. The guards of all are read before the first operation takes effect.
    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError>;

    /// A new lease of this term, in whole seconds, at least one, whose id [is ours](LeaseId::is_ours). The store
    /// may give a longer one.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Gives each lease a fresh term; says in the same order which are still there. An error says
    /// nothing about any of them.
    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError>;

    /// Ends a lease now, and removes its keys. No error when it is gone already.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// The term that a lease was granted; `None` when there is no such lease, or the store does not say.
    async fn lease_ttl(&self, _lease: LeaseId) -> Result<Option<Duration>, StoreError> {
        Ok(None)
    }

    /// The changes below `prefix` after a revision. Returns once the store has agreed to tell them. A
    /// revision that the store has not reached is one of another history ([`StoreError::FeedLost`]).
    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError>;

    /// How the store is.
    async fn status(&self) -> Result<Status, StoreError>;
}
