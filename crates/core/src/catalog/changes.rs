//! The changes that a batch makes, as readers see them: an instance that appears, differs or is removed.
//!
//! An entry that is put again with the same contents, on another lease for example, makes no change. For each key of a
//! name that a batch touches:
//!
//! | entry before | entry after | change |
//! |---|---|---|
//! | none | any | put |
//! | any | the same contents | none |
//! | any | other contents, same service | put |
//! | any | of another service, or of none | removed (deregistered) from the earlier service, then put |
//! | any | none; another key of the name has the same host and port | none: the instance is still present |
//! | any | none | removed, for the batch's removal reason |
//!
//! Only entries that are instances of a service count. Each change has a number, without gaps.
//!
//! Owns: that table and the order of the changes of a batch. Does not own: the removal reasons
//! ([`super::removal_reasons`]), the recent changes ([`super::history`]). Synchronous; no clock.

use super::position::{Part, Position};
use super::snapshot::Snapshot;
use super::stored_entry::StoredEntry;
use skyhound_model::{Key, Name, RemovalReason};
use skyhound_store::{Batch, Change as StoreChange, Item, Revision};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// The effect of a change on an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// The instance appeared or its contents differ.
    Put,
    /// The instance was removed, for this reason.
    Removed(RemovalReason),
}

/// A change of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The number of the change, from 1.
    pub number: u64,
    /// The part that the change came from.
    pub part: Part,
    /// The revision of [`Self::part`] that made the change.
    pub revision: Revision,
    /// The position of a reader that has received the whole batch of this change.
    pub at: Position,
    /// The service.
    pub service: Arc<str>,
    /// The effect on the instance.
    pub kind: ChangeKind,
    /// The instance after a put, or before its removal.
    pub instance: Arc<StoredEntry>,
}

/// Returns the changes from one snapshot to the next, which contains `batch` of `part`. `reason` returns the removal
/// reason of a key.
pub(super) fn between(
    before: &Snapshot,
    after: &Snapshot,
    part: Part,
    batch: &Batch,
    reason: impl Fn(&Key) -> RemovalReason,
) -> Vec<Arc<Change>> {
    let mut number = before.changes();
    let mut changes = Vec::new();
    for name in touched_names(before, after, batch) {
        let pairs = pairs(entries(before, &name), entries(after, &name));
        for (kind, stored) in changes_of(&pairs, &reason) {
            let Some(service) = &stored.service else { continue };
            number += 1;
            changes.push(Arc::new(Change {
                number,
                part,
                revision: batch.revision,
                at: after.position(),
                service: Arc::clone(service),
                kind,
                instance: Arc::clone(stored),
            }));
        }
    }
    changes
}

/// Returns the changes of one name by the table in the header, removals first: readers must apply the entry that
/// replaces another one of the same name last.
fn changes_of<'s>(
    pairs: &[Pair<'s>],
    reason: impl Fn(&Key) -> RemovalReason,
) -> impl Iterator<Item = (ChangeKind, &'s Arc<StoredEntry>)> {
    let is_present = |location| pairs.iter().any(|(_, after)| after.is_some_and(|after| after.location() == location));
    let removed = pairs.iter().filter_map(move |pair| match *pair {
        (Some(before), None) if !is_present(before.location()) => {
            Some((ChangeKind::Removed(reason(&before.key)), before))
        }
        _ => None,
    });
    let moved = pairs.iter().filter_map(|pair| match *pair {
        (Some(before), Some(after)) if before.service != after.service => {
            Some((ChangeKind::Removed(RemovalReason::Deregistered), before))
        }
        _ => None,
    });
    let put = pairs.iter().filter_map(|pair| match *pair {
        (Some(before), Some(after)) if before.entry == after.entry => None,
        (_, after) => Some((ChangeKind::Put, after?)),
    });
    removed.chain(moved).chain(put)
}

/// The entries of one key before and after a batch.
type Pair<'s> = (Option<&'s Arc<StoredEntry>>, Option<&'s Arc<StoredEntry>>);

/// Merges the entries before and after a batch into one pair for each key. Both are in the order of keys, so the cost
/// is linear in their number, however many keys spell one name (a thousand can, in upper and lower case); nearly always
/// there is one.
fn pairs<'s>(
    before: impl Iterator<Item = &'s Arc<StoredEntry>>,
    after: impl Iterator<Item = &'s Arc<StoredEntry>>,
) -> Vec<Pair<'s>> {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(before), Some(after)) => before.key.cmp(&after.key),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return pairs,
        };
        pairs.push(match order {
            Ordering::Less => (before.next(), None),
            Ordering::Greater => (None, after.next()),
            Ordering::Equal => (before.next(), after.next()),
        });
    }
}

/// Returns the names that a batch touches, each once.
fn touched_names(before: &Snapshot, after: &Snapshot, batch: &Batch) -> Vec<Name> {
    let mut names = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        let (StoreChange::Delete(key) | StoreChange::Put(Item { key, .. })) = change;
        // A key of the SkyDNS layout always has the same name; a key of the mirror keyspace may have moved.
        let (name_before, name_after) = (before.name(key), after.name(key));
        names.extend(name_before.clone());
        names.extend(name_after.filter(|name| name_before.as_ref() != Some(name)));
    }
    if names.len() > 1 {
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    names
}

fn entries<'s>(snapshot: &'s Snapshot, name: &Name) -> impl Iterator<Item = &'s Arc<StoredEntry>> {
    snapshot.node(name).into_iter().flat_map(super::node::Node::own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Keyspace;

    /// Three keys that spell one name: one is removed, one changes, one is added.
    #[test]
    fn changes_at_a_name_with_several_keys_are_ordered() {
        let item = |key: &str, port: u16, revision| Item {
            key: Key::from(format!("/skydns/local/skydns/services/web/{key}")),
            value: format!(r#"{{"host":"10.0.0.1","port":{port}}}"#).into(),
            revision: Revision(revision),
            lease: None,
        };
        let put = |key, port, revision| StoreChange::Put(item(key, port, revision));
        let batch = |revision, changes| Batch { revision: Revision(revision), changes };
        let keyspace = Arc::new(Keyspace::new(skyhound_model::Naming::example(), None));
        let before = Snapshot::empty(keyspace).apply(&batch(1, vec![put("A", 1, 1), put("B", 2, 1), put("b", 3, 1)]));
        let removed = StoreChange::Delete(item("A", 1, 1).key);
        let next = batch(2, vec![removed, put("a", 4, 2), put("B", 5, 2), put("b", 3, 2), put("b/", 6, 2)]);
        let changes = between(&before, &before.apply(&next), Part::Primary, &next, |_| RemovalReason::Expired);
        let delivered: Vec<_> =
            changes.iter().map(|change| (change.number, change.kind, change.instance.entry.port)).collect();
        let removed = ChangeKind::Removed(RemovalReason::Expired);
        assert_eq!(
            delivered,
            [(1, removed, 1), (2, ChangeKind::Put, 4), (3, ChangeKind::Put, 5), (4, ChangeKind::Put, 6)]
        );
        // Another key now has the same host and port, so nothing was removed.
        let next = batch(2, vec![StoreChange::Delete(item("b", 3, 1).key), put("b/", 3, 2)]);
        let changes = between(&before, &before.apply(&next), Part::Primary, &next, |_| RemovalReason::Deregistered);
        assert_eq!(changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [ChangeKind::Put]);
    }
}
