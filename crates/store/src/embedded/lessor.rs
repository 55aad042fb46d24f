//! Leases: until when each lives, and which keys hang on it.
//!
//! Owns the deadlines. Does not own the keys' values, nor the time: `now` is an argument, counted from
//! whenever the caller began to count.

use crate::LeaseId;
use imbl::{OrdMap, OrdSet};
use skyhound_model::Key;
use std::time::Duration;

/// All leases. A clone shares everything with the original and costs nothing, like the maps it is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Lessor {
    leases: OrdMap<LeaseId, Lease>,
    /// Every lease once, in the order in which they end.
    deadlines: OrdSet<(Duration, LeaseId)>,
}

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    deadline: Duration,
    keys: OrdSet<Key>,
}

impl Lessor {
    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    /// What a lease was granted.
    pub(super) fn ttl(&self, id: LeaseId) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.ttl)
    }

    /// A lease for one term from now. The id must be a new one.
    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        let deadline = now + ttl;
        self.leases.insert(id, Lease { ttl, deadline, keys: OrdSet::new() });
        self.deadlines.insert((deadline, id));
    }

    /// One more term from now; `false` when there is no such lease.
    pub(super) fn renew(&mut self, id: LeaseId, now: Duration) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else { return false };
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now + lease.ttl;
        self.deadlines.insert((lease.deadline, id));
        true
    }

    /// Ends a lease; returns the keys that hung on it, or `None` when there is no such lease.
    pub(super) fn end(&mut self, id: LeaseId) -> Option<OrdSet<Key>> {
        let lease = self.leases.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease.keys)
    }

    /// Hangs a key on a lease; `false` when there is no such lease.
    pub(super) fn attach(&mut self, id: LeaseId, key: Key) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.keys.insert(key)).is_some()
    }

    pub(super) fn detach(&mut self, id: LeaseId, key: &Key) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// When the next lease ends, unless it is kept.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.get_min().map(|(deadline, _)| *deadline)
    }

    /// A lease whose term is over, the longest next_expired first.
    pub(super) fn next_expired(&self, now: Duration) -> Option<LeaseId> {
        self.deadlines.get_min().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_ttl_counts_from_the_last_renewal() {
        let mut lessor = Lessor::default();
        lessor.grant(LeaseId(1), TTL, at(0));
        lessor.grant(LeaseId(2), TTL, at(1));
        assert_eq!(lessor.next_deadline(), Some(at(5)));
        assert!(lessor.renew(LeaseId(1), at(3)));
        assert_eq!(lessor.next_deadline(), Some(at(6)));
        assert_eq!(lessor.next_expired(at(5)), None);
        assert_eq!(lessor.next_expired(at(9)), Some(LeaseId(2)));
        lessor.end(LeaseId(2));
        assert_eq!(lessor.next_expired(at(9)), Some(LeaseId(1)));
        lessor.end(LeaseId(1));
        assert_eq!(lessor.next_deadline(), None);
    }

    #[test]
    fn ending_a_lease_returns_its_keys() {
        let mut lessor = Lessor::default();
        lessor.grant(LeaseId(1), TTL, at(0));
        for key in ["b", "a", "c"] {
            assert!(lessor.attach(LeaseId(1), Key::from(key)));
        }
        lessor.detach(LeaseId(1), &Key::from("c"));
        assert_eq!(lessor.end(LeaseId(1)), Some(["a", "b"].into_iter().map(Key::from).collect()));
        assert!(!lessor.renew(LeaseId(1), at(1)));
        assert!(!lessor.attach(LeaseId(1), Key::from("a")));
        assert_eq!(lessor.end(LeaseId(1)), None);
    }
}
