//! Events and reads of the store: what the feed delivers, and what a read of an uncertain key finds.

use super::State;
use crate::registry::ids;
use crate::registry::leases::LeaseKind;
use crate::registry::slot::Slot;
use skyhound_model::Key;
use skyhound_store::{Batch, Change, Item, Revision};

impl State {
    /// Applies a batch of the feed: an entry that vanished under an active claim becomes due again. Returns the number
    /// of those entries.
    pub(in crate::registry) fn on_batch(&mut self, batch: &Batch) -> u64 {
        let before = std::mem::replace(&mut self.last_revision, batch.revision);
        if is_of_another_history(batch, before) {
            self.history_lost();
        }
        let mut lost = 0;
        for change in &batch.changes {
            match change {
                Change::Delete(key) => lost += u64::from(self.on_delete(key, batch.revision)),
                Change::Put(item) => self.on_put(item),
            }
        }
        lost
    }

    fn on_delete(&mut self, key: &Key, revision: Revision) -> bool {
        let lost = self.slots.get_mut(key).is_some_and(|slot| slot.on_delete(revision));
        if lost {
            self.enqueue(key);
        }
        lost
    }

    fn on_put(&mut self, item: &Item) {
        let own_lease = item.lease.filter(|lease| self.entry_leases.contains(*lease));
        let is_due = if let Some(lease) = own_lease {
            if self.has_abandoned && !self.slots.contains_key(&item.key) {
                return;
            }
            // A key without a slot is not wanted here: it comes from a commit that was abandoned, and the new slot
            // removes it.
            let slot = self.slots.entry(item.key.clone()).or_insert_with(Slot::new);
            slot.on_put_on_own_lease(item.revision, lease, item.value.clone())
        } else {
            self.slots.get_mut(&item.key).is_some_and(|slot| slot.on_put_by_other(item.revision))
        };
        if is_due {
            self.enqueue(&item.key);
        }
    }

    /// The store went back in its history (restored from a backup): written entries may be missing, at any revision,
    /// and removed ones may be present. All slots are read or written again, and move to new leases.
    fn history_lost(&mut self) {
        tracing::warn!(slots = self.slots.len(), "the store went back in its history; writing all entries again");
        for kind in LeaseKind::ALL {
            for lease in self.leases(kind).all() {
                self.former_leases.insert(lease);
                self.lease_lost(kind, lease);
            }
        }
        self.slots.values_mut().for_each(Slot::mark_unknown);
        for key in self.slots.keys().cloned().collect::<Vec<_>>() {
            self.enqueue(&key);
        }
    }

    /// Applies the result of reading a key of a slot at revision `at`: the entry's own key, or a companion's.
    pub(in crate::registry) fn observe(&mut self, entry: &Key, read: &Key, found: Option<Item>, at: Revision) {
        if let Some(id) = ids::id(read) {
            self.observe_record(entry, read, id, found);
            return;
        }
        let Some(slot) = self.slots.get_mut(entry) else { return };
        if read != entry {
            slot.observe_mirror(read, found);
            return;
        }
        match found {
            Some(item) if item.lease.is_some_and(|lease| self.former_leases.contains(&lease)) => {
                slot.observe_on_former_lease(item.revision);
            }
            found => slot.observe(found, at),
        }
    }

    /// A record that is not on this node's lease any more ends the claim here, without a write: another node holds the
    /// claim now, or has ended it.
    fn observe_record(&mut self, entry: &Key, read: &Key, id: &str, found: Option<Item>) {
        let Some(slot) = self.slots.get_mut(entry) else { return };
        let Some((claim, lease)) = slot.observe_record(read, found.and_then(|item| item.lease)) else { return };
        if slot.drop_superseded_claim(claim) {
            self.claims -= 1;
        }
        self.heartbeats.remove_claim(id, claim);
        if let Some(lease) = lease {
            self.record_leases.release(lease);
        }
    }
}

/// Returns whether a batch shows that the store was restored from a backup. Either its revisions are delivered again,
/// or they have passed the last known one meanwhile: then it delivers a put from a time up to which everything was
/// known.
fn is_of_another_history(batch: &Batch, before: Revision) -> bool {
    let is_repeated = |change: &Change| matches!(change, Change::Put(item) if item.revision <= before);
    batch.revision < before || batch.changes.iter().any(is_repeated)
}
