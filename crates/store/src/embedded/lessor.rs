//! Leases with their deadlines and the keys that are attached to them.
//!
//! Owns: the deadlines. Does not own: the keys' values, nor the clock: `now` is an argument, counted from a start that
//! the caller chooses.

use crate::LeaseId;
use imbl::{OrdMap, OrdSet};
use skyhound_model::Key;
use std::time::Duration;

/// All leases. A clone shares everything with the original and costs nothing, because the maps do.
#[derive(Debug, Clone, Default)]
pub(super) struct Lessor {
    leases: OrdMap<LeaseId, Lease>,
    /// Every lease once, sorted by deadline.
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

    /// Returns the granted TTL of a lease.
    pub(super) fn ttl(&self, id: LeaseId) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.ttl)
    }

    /// Adds a lease that expires one TTL from now. The id must be new.
    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        let deadline = now + ttl;
        self.leases.insert(id, Lease { ttl, deadline, keys: OrdSet::new() });
        self.deadlines.insert((deadline, id));
    }

    /// Moves the deadline of a lease to one TTL from now; returns false if the lease does not exist.
    pub(super) fn renew(&mut self, id: LeaseId, now: Duration) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else { return false };
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now + lease.ttl;
        self.deadlines.insert((lease.deadline, id));
        true
    }

    /// Ends a lease; returns its keys, or `None` if the lease does not exist.
    pub(super) fn end(&mut self, id: LeaseId) -> Option<OrdSet<Key>> {
        let lease = self.leases.remove(&id)?;
        self.deadlines.remove(&(lease.deadline, id));
        Some(lease.keys)
    }

    /// Attaches a key to a lease; returns false if the lease does not exist.
    pub(super) fn attach(&mut self, id: LeaseId, key: Key) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.keys.insert(key)).is_some()
    }

    pub(super) fn detach(&mut self, id: LeaseId, key: &Key) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    /// Returns the deadline of the lease that expires next unless it is renewed.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.get_min().map(|(deadline, _)| *deadline)
    }

    /// Returns a lease whose deadline has passed, the earliest deadline first.
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
