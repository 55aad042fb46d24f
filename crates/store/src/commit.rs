//! A commit: writes with their guards and operations, and the outcome of each.

use crate::{LeaseId, Revision};
use bytes::Bytes;
use skyhound_model::Key;

/// Limit of the number of writes in one commit. etcd allows 128 operations in a transaction, and counts the guards and
/// operations of a nested one on top of the outer's.
pub const COMMIT_MAX: usize = 100;
/// Limit of the number of guards, and of the number of operations, in one [`Write`].
pub const WRITE_MAX: usize = 16;

/// A condition on a key under which a [`Write`] takes effect.
///
/// ```
/// use skyhound_model::Key;
/// use skyhound_store::{Expect, Guard, Revision};
///
/// // Holds only while the key does not exist.
/// let absent = Guard { key: Key::from("/skydns/local/web"), expect: Expect::NotAfter(Revision(0)) };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Key.
    pub key: Key,
    /// Expected state of the key.
    pub expect: Expect,
}

/// The expected state of a [`Guard`]'s key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The last put of the key was at exactly this revision.
    AtRevision(Revision),
    /// The last put of the key was at this revision or before, or the key does not exist. `NotAfter(Revision(0))`
    /// expects that the key does not exist.
    NotAfter(Revision),
    /// The key exists and is attached to this lease.
    OnLease(LeaseId),
}

/// One operation.
///
/// ```
/// use skyhound_model::Key;
/// use skyhound_store::Op;
///
/// let put = Op::Put { key: Key::from("/skydns/local/web"), value: "{}".into(), lease: None };
/// let delete = Op::Delete { key: Key::from("/skydns/local/mail") };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts a value. The key is removed with its lease. Replaces the lease of an existing key.
    Put {
        /// Key.
        key: Key,
        /// Value.
        value: Bytes,
        /// Lease to attach the key to.
        lease: Option<LeaseId>,
    },
    /// Removes a key. A missing key is not an error.
    Delete {
        /// Key.
        key: Key,
    },
}

/// Operations that take effect together if all guards hold, and otherwise not at all.
///
/// ```
/// use skyhound_model::Key;
/// use skyhound_store::{Expect, Guard, Op, Outcome, Revision, Store, Write, embedded::Embedded};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Embedded::in_memory()?;
/// let key = Key::from("/skydns/local/web");
/// let create = Write {
///     guards: vec![Guard { key: key.clone(), expect: Expect::NotAfter(Revision(0)) }],
///     ops: vec![Op::Put { key, value: "{}".into(), lease: None }],
/// };
/// assert_eq!(store.commit(vec![create.clone()]).await?.outcomes, [Outcome::Done]);
/// assert_eq!(store.commit(vec![create]).await?.outcomes, [Outcome::Refused]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Write {
    /// Guards, at most [`WRITE_MAX`].
    pub guards: Vec<Guard>,
    /// Operations, at most [`WRITE_MAX`].
    pub ops: Vec<Op>,
}

/// The result of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Revision of the changes; without changes, the store's revision at that time.
    pub revision: Revision,
    /// Outcome of each write, in the order of the writes.
    pub outcomes: Vec<Outcome>,
}

/// The outcome of one [`Write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The write took effect at the commit's revision.
    Done,
    /// A guard did not hold; no operation of the write took effect.
    Refused,
}
