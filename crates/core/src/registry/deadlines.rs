//! The deadlines of claims with heartbeats.
//!
//! Synchronous; time is an argument. Owns: which ids this node holds, and when each one expires. Does not own: the
//! claims on entries (`state`), nor the task that watches the clock ([`super::heartbeats`]).

use super::ClaimId;
use skyhound_model::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The limit of claims with heartbeats on one node. A million of them would still fit into memory, but an HTTP listener
/// does not accept as many heartbeats per second.
pub const MAX_HEARTBEAT_CLAIMS: usize = 100_000;

/// Claims by id, ordered by deadline.
///
/// Invariant: `by_id` and `due` hold the same claims with the same deadlines.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    by_id: HashMap<Arc<str>, HeartbeatClaim>,
    due: BTreeMap<(Instant, ClaimId), Arc<str>>,
}

/// One claim with a heartbeat deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeartbeatClaim {
    pub(super) key: Key,
    pub(super) claim: ClaimId,
    ttl: Duration,
    due: Instant,
}

impl Heartbeats {
    pub(super) fn insert(&mut self, id: &str, key: Key, claim: ClaimId, ttl: Duration, now: Instant) {
        self.remove(id);
        let (id, due) = (Arc::from(id), deadline(now, ttl));
        self.due.insert((due, claim), Arc::clone(&id));
        self.by_id.insert(id, HeartbeatClaim { key, claim, ttl, due });
    }

    /// Renews the deadline of an id and returns its claim; `None` if this node does not hold the id.
    pub(super) fn heartbeat(&mut self, id: &str, now: Instant) -> Option<&HeartbeatClaim> {
        let claimed = self.by_id.get_mut(id)?;
        let id = self.due.remove(&(claimed.due, claimed.claim))?;
        claimed.due = deadline(now, claimed.ttl);
        self.due.insert((claimed.due, claimed.claim), id);
        Some(claimed)
    }

    pub(super) fn get(&self, id: &str) -> Option<&HeartbeatClaim> {
        self.by_id.get(id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<HeartbeatClaim> {
        let claimed = self.by_id.remove(id)?;
        self.due.remove(&(claimed.due, claimed.claim));
        Some(claimed)
    }

    /// Removes an id only if this claim holds it: another registration may have replaced the claim.
    pub(super) fn remove_claim(&mut self, id: &str, claim: ClaimId) {
        if self.by_id.get(id).is_some_and(|claimed| claimed.claim == claim) {
            self.remove(id);
        }
    }

    /// Removes and returns the claims whose deadline has passed.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<HeartbeatClaim> {
        let mut expired = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let id = first.remove();
            expired.extend(self.by_id.remove(&id));
        }
        expired
    }

    /// Moves all deadlines into the future by `by`.
    pub(super) fn postpone(&mut self, by: Duration) {
        let due = std::mem::take(&mut self.due);
        self.due = due.into_iter().map(|((due, claim), id)| ((deadline(due, by), claim), id)).collect();
        for claimed in self.by_id.values_mut() {
            claimed.due = deadline(claimed.due, by);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, _)| *due)
    }
}

/// `now + ttl`, or a day later if the clock cannot represent that time.
fn deadline(now: Instant, ttl: Duration) -> Instant {
    now.checked_add(ttl).unwrap_or(now + Duration::from_secs(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn only_missed_heartbeats_expire() {
        let (mut heartbeats, start) = (Heartbeats::default(), Instant::now());
        heartbeats.insert("a", Key::from("/k"), ClaimId(1), TTL, start);
        heartbeats.insert("b", Key::from("/k"), ClaimId(2), TTL, at(start, 5));
        assert_eq!(heartbeats.next_deadline(), Some(at(start, 30)));
        assert!(heartbeats.heartbeat("a", at(start, 20)).is_some());
        assert!(heartbeats.heartbeat("c", at(start, 20)).is_none());
        assert!(heartbeats.take_expired(at(start, 34)).is_empty());
        let expired = heartbeats.take_expired(at(start, 35));
        assert_eq!(expired.iter().map(|claimed| claimed.claim).collect::<Vec<_>>(), [ClaimId(2)]);
        assert_eq!(heartbeats.next_deadline(), Some(at(start, 50)));
        heartbeats.remove_claim("a", ClaimId(7));
        assert!(heartbeats.get("a").is_some(), "that was another claim");
        heartbeats.remove_claim("a", ClaimId(1));
        assert_eq!((heartbeats.next_deadline(), heartbeats.len()), (None, 0));
    }

    #[test]
    fn postponed_deadlines_keep_their_order() {
        let (mut heartbeats, start) = (Heartbeats::default(), Instant::now());
        heartbeats.insert("a", Key::from("/k"), ClaimId(1), TTL, start);
        heartbeats.insert("b", Key::from("/k"), ClaimId(2), TTL, at(start, 5));
        heartbeats.postpone(Duration::from_secs(100));
        assert!(heartbeats.take_expired(at(start, 129)).is_empty());
        assert_eq!(heartbeats.take_expired(at(start, 130)).len(), 1);
        assert!(heartbeats.heartbeat("b", at(start, 131)).is_some());
        assert_eq!(heartbeats.next_deadline(), Some(at(start, 161)));
    }

    #[test]
    fn a_reregistered_id_has_one_deadline() {
        let (mut heartbeats, start) = (Heartbeats::default(), Instant::now());
        heartbeats.insert("a", Key::from("/k"), ClaimId(1), TTL, start);
        heartbeats.insert("a", Key::from("/k"), ClaimId(2), TTL, at(start, 10));
        assert!(heartbeats.take_expired(at(start, 30)).is_empty());
        assert_eq!(heartbeats.take_expired(at(start, 40)).len(), 1);
        heartbeats.insert("a", Key::from("/k"), ClaimId(3), Duration::MAX, start);
        assert!(heartbeats.take_expired(at(start, 1000)).is_empty());
    }
}
