//! A commit as one etcd transaction.
//!
//! Each [`Write`] becomes a transaction nested in the outer one, which has no guards. All writes therefore take effect at
//! one revision, and each has its own outcome. etcd evaluates the guards of the whole tree before it applies anything.
//!
//! etcd counts only the puts of the outer transaction against its `--quota-backend-bytes`. While its alarm NOSPACE is
//! raised, deletes and puts on existing leases therefore still succeed; only new leases are not granted.

use crate::{COMMIT_MAX, Commit, Expect, Guard, LeaseId, Op, Outcome, Revision, StoreError, WRITE_MAX, Write};
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnResponse};
use std::collections::HashSet;

/// Returns the transaction of a commit.
pub(super) fn txn(writes: Vec<Write>) -> Result<Txn, StoreError> {
    check(&writes)?;
    let nested: Vec<TxnOp> = writes.into_iter().map(|write| TxnOp::txn(nested(write))).collect();
    Ok(Txn::new().and_then(nested))
}

/// Rejects a commit over the limits. etcd would accept some of them: a few more operations in a transaction, and a key
/// that one write puts and another deletes.
fn check(writes: &[Write]) -> Result<(), StoreError> {
    if writes.len() > COMMIT_MAX {
        return Err(StoreError::Rejected(format!("{} writes in a commit; the limit is {COMMIT_MAX}", writes.len())));
    }
    let mut named = HashSet::new();
    for write in writes {
        let count = write.guards.len().max(write.ops.len());
        if count > WRITE_MAX {
            return Err(StoreError::Rejected(format!(
                "{count} guards or operations in a write; the limit is {WRITE_MAX}"
            )));
        }
        for Op::Put { key, .. } | Op::Delete { key } in &write.ops {
            if !named.insert(key) {
                return Err(StoreError::Rejected(format!("two operations on {key} in one commit")));
            }
        }
    }
    Ok(())
}

fn nested(write: Write) -> Txn {
    let guards: Vec<Compare> = write.guards.into_iter().map(compare).collect();
    let ops: Vec<TxnOp> = write.ops.into_iter().map(op).collect();
    Txn::new().when(guards).and_then(ops)
}

fn compare(Guard { key, expect }: Guard) -> Compare {
    let key = key.as_bytes();
    // A missing key has revision 0 and lease 0 in etcd.
    match expect {
        // No key was put at revision 0, but a missing key would compare equal in etcd.
        Expect::AtRevision(Revision(0)) => Compare::mod_revision(key, CompareOp::Less, 0),
        Expect::AtRevision(revision) => Compare::mod_revision(key, CompareOp::Equal, wire(revision)),
        Expect::NotAfter(revision) => Compare::mod_revision(key, CompareOp::Less, wire(revision).saturating_add(1)),
        Expect::OnLease(LeaseId(lease)) => Compare::lease(key, CompareOp::Equal, lease),
    }
}

fn op(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|LeaseId(id)| PutOptions::new().with_lease(id));
            TxnOp::put(key.as_bytes(), value, options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_bytes(), None),
    }
}

/// Reads the result of a commit.
pub(super) fn commit(response: TxnResponse) -> Commit {
    let revision = revision(response.0.header.map_or(0, |header| header.revision));
    let outcomes = response.0.responses.into_iter().map(|nested| match nested.response {
        Some(PbTxnOpResponse::ResponseTxn(nested)) if nested.succeeded => Outcome::Done,
        _ => Outcome::Refused,
    });
    Commit { revision, outcomes: outcomes.collect() }
}

/// Converts a revision to etcd's type. etcd's revisions fit an `i64`; one that does not is after all of them.
pub(super) fn wire(Revision(revision): Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// Converts a revision of etcd, which is never negative.
pub(super) fn revision(wire: i64) -> Revision {
    Revision(u64::try_from(wire).unwrap_or(0))
}
