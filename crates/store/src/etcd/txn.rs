//! A commit as one etcd transaction.
//!
//! Each [`Write`] becomes a transaction nested in the outer one, which has no guards of its own. So all
//! happen at one revision, and each has its own outcome. etcd reads the guards of the whole tree before
//! it applies anything.
//!
//! etcd counts only the puts of the outer transaction against its `--quota-backend-bytes`, so that while its alarm
//! NOSPACE is raised what is removed still goes, and what is registered still finds a place on a lease that is there.
//! A lease is what it does not grant then.

use crate::{COMMIT_MAX, Commit, Expect, Guard, LeaseId, Op, Outcome, Revision, StoreError, WRITE_MAX, Write};
use etcd_client::proto::PbTxnOpResponse;
use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnResponse};
use std::collections::HashSet;

/// The transaction of a commit.
pub(super) fn txn(writes: Vec<Write>) -> Result<Txn, StoreError> {
    check(&writes)?;
    let nested: Vec<TxnOp> = writes.into_iter().map(|write| TxnOp::txn(nested(write))).collect();
    Ok(Txn::new().and_then(nested))
}

/// Rejects what is beyond the limits. etcd would allow some of it: a little more in a transaction, and a
/// key that one write puts and another deletes.
fn check(writes: &[Write]) -> Result<(), StoreError> {
    if writes.len() > COMMIT_MAX {
        return Err(StoreError::Rejected(format!("{} writes in a commit, {COMMIT_MAX} are allowed", writes.len())));
    }
    let mut named = HashSet::new();
    for write in writes {
        let count = write.guards.len().max(write.ops.len());
        if count > WRITE_MAX {
            return Err(StoreError::Rejected(format!(
                "{count} guards or operations in a write, {WRITE_MAX} are allowed"
            )));
        }
        for Op::Put { key, .. } | Op::Delete { key } in &write.ops {
            if !named.insert(key) {
                return Err(StoreError::Rejected(format!("{key} is named by two operations of a commit")));
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
    // A key that is not there has revision 0 and lease 0 for etcd.
    match expect {
        // Nothing was ever put at revision 0, but for etcd a key that is not there would equal it.
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

/// What became of the commit.
pub(super) fn commit(response: TxnResponse) -> Commit {
    let revision = revision(response.0.header.map_or(0, |header| header.revision));
    let outcomes = response.0.responses.into_iter().map(|nested| match nested.response {
        Some(PbTxnOpResponse::ResponseTxn(nested)) if nested.succeeded => Outcome::Done,
        _ => Outcome::Refused,
    });
    Commit { revision, outcomes: outcomes.collect() }
}

/// A revision as etcd writes it. etcd's never exceed an `i64`; one that does is after everything.
pub(super) fn wire(Revision(revision): Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A revision of etcd's, which are never negative.
pub(super) fn revision(wire: i64) -> Revision {
    Revision(u64::try_from(wire).unwrap_or(0))
}
