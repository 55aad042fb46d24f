//! Claims that are held by a deadline in place of a socket: found by an id, kept by heartbeats.
//!
//! Owns: which ids this node holds and when each is due (`Heartbeats`, synchronous, with time as an argument), the one
//! task that ends what is overdue, and taking over an id that another node held or nobody holds any more. Does not
//! own: what an id looks like (its dialect), nor its record in the store ([`super::ids`]).
//!
//! Any node accepts any id. One that does not hold it reads its record and takes the claim over: entry and record go
//! to its own leases in one transaction. The node that had it hears that, and forgets the claim without a write.

use super::ids::{self, IdRecord};
use super::slot::ClaimId;
use super::{Outcome, RegisterError, Registry};
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Instance, Key};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::{Instant, sleep_until, timeout};

/// The most claims that one node holds by heartbeats. A million of them would still fit into memory; so many more
/// heartbeats a second than an HTTP listener takes would not.
pub const HEARTBEATS_MAX: usize = 100_000;
/// How many ids are looked up or taken over at a time: what a flood of unknown ids may cost the store.
const LOOKUP_LOCKS: usize = 64;
/// How often the clock is looked at while claims are held, to notice that this process stood still (stopped, or its
/// machine was suspended): it heard nobody then, and who did not get through has not fallen silent.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// A look that comes so much too late was a standstill. Less is a busy machine.
const STANDSTILL: Duration = Duration::from_millis(500);

/// The claims, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    by_id: HashMap<Arc<str>, HeartbeatClaim>,
    due: BTreeMap<(Instant, ClaimId), Arc<str>>,
}

/// One claim that is held by heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeartbeatClaim {
    pub(super) key: Key,
    pub(super) claim: ClaimId,
    ttl: Duration,
    due: Instant,
}

impl Heartbeats {
    fn insert(&mut self, id: &str, key: Key, claim: ClaimId, ttl: Duration, now: Instant) {
        self.remove(id);
        let (id, due) = (Arc::from(id), deadline(now, ttl));
        self.due.insert((due, claim), Arc::clone(&id));
        self.by_id.insert(id, HeartbeatClaim { key, claim, ttl, due });
    }

    /// A heartbeat. Returns whose it is; `None` if the id is not held here.
    fn heartbeat(&mut self, id: &str, now: Instant) -> Option<&HeartbeatClaim> {
        let claimed = self.by_id.get_mut(id)?;
        let id = self.due.remove(&(claimed.due, claimed.claim))?;
        claimed.due = deadline(now, claimed.ttl);
        self.due.insert((claimed.due, claimed.claim), id);
        Some(claimed)
    }

    fn get(&self, id: &str) -> Option<&HeartbeatClaim> {
        self.by_id.get(id)
    }

    fn remove(&mut self, id: &str) -> Option<HeartbeatClaim> {
        let claimed = self.by_id.remove(id)?;
        self.due.remove(&(claimed.due, claimed.claim));
        Some(claimed)
    }

    /// The claim was taken over elsewhere.
    pub(super) fn remove_claim(&mut self, id: &str, claim: ClaimId) {
        if self.by_id.get(id).is_some_and(|claimed| claimed.claim == claim) {
            self.remove(id);
        }
    }

    /// Ends what is overdue.
    fn take_expired(&mut self, now: Instant) -> Vec<HeartbeatClaim> {
        let mut expired = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let id = first.remove();
            expired.extend(self.by_id.remove(&id));
        }
        expired
    }

    /// Everything is due so much later.
    fn postpone(&mut self, by: Duration) {
        let due = std::mem::take(&mut self.due);
        self.due = due.into_iter().map(|((due, claim), id)| ((deadline(due, by), claim), id)).collect();
        for claimed in self.by_id.values_mut() {
            claimed.due = deadline(claimed.due, by);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, _)| *due)
    }
}

/// Whatever a peer was granted: a time that the clock cannot say is a day.
fn deadline(now: Instant, ttl: Duration) -> Instant {
    now.checked_add(ttl).unwrap_or(now + Duration::from_secs(86_400))
}

/// What the registry has for its ids beside its state.
#[derive(Debug)]
pub(super) struct HeartbeatSync {
    /// There is an earlier deadline than the one that is waited for.
    earlier: Notify,
    /// One id is looked up or taken over by one caller at a time; others with the same hash wait, too.
    lookup_locks: [Mutex<()>; LOOKUP_LOCKS],
    hash: RandomState,
}

impl Default for HeartbeatSync {
    fn default() -> Self {
        Self { earlier: Notify::new(), lookup_locks: std::array::from_fn(|_| Mutex::new(())), hash: RandomState::new() }
    }
}

/// Gives up a registration whose future is dropped.
struct CancelGuard<'r> {
    registry: &'r Registry,
    id: &'r str,
    claim: ClaimId,
    finished: bool,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.registry.end_heartbeat_claim(self.id, Some(self.claim), RemovalReason::Deregistered);
        }
    }
}

impl Registry {
    /// Registers an instance under an id. It lives as long as [`Registry::heartbeat`] is told the id, at any node, at least
    /// every `ttl`. Dropping the future gives the registration up.
    pub async fn register_with_heartbeat(
        self: &Arc<Self>,
        id: &str,
        instance: Instance,
        ttl: Duration,
    ) -> Result<(), RegisterError> {
        if !ids::is_id(id) {
            return Err(RegisterError::Rejected(format!("{id:?} cannot be an id")));
        }
        let value = instance.entry.encode().into();
        let record = IdRecord { key: instance.key, value, mirror: instance.mirror, ttl };
        let (claim, outcome) = self.claim_with_heartbeat(id, record)?;
        let mut guard = CancelGuard { registry: self, id, claim, finished: false };
        self.wait_visible(outcome).await?;
        guard.finished = true;
        Ok(())
    }

    /// A heartbeat. `Ok(false)`: nobody knows this id, and nobody will. After an error its peer should come again; if
    /// it was the store that did not answer in time, this node may hold the claim already and write it later.
    pub async fn heartbeat(self: &Arc<Self>, id: &str) -> Result<bool, RegisterError> {
        if !ids::is_id(id) {
            return Ok(false);
        }
        if self.heartbeat_here(id)? {
            return Ok(true);
        }
        let _lock = self.lookup_lock(id).await?;
        // Another heartbeat may have been quicker.
        if self.heartbeat_here(id)? {
            return Ok(true);
        }
        let Some(record) = self.lookup(id).await? else { return Ok(false) };
        let (_, outcome) = self.claim_with_heartbeat(id, record)?;
        // If this fails the claim stays, until its deadline: its peer lives, and the store will be told.
        self.wait_visible(outcome).await.map(|()| true)
    }

    /// Ends what is registered under an id, whichever node holds it. `Ok(false)`: nobody knows this id.
    ///
    /// With [`RegisterError::Unavailable`] a claim that was held here is given up and its entry goes as soon as the
    /// store is back; one that was held elsewhere stays registered, until it is deregistered or its heartbeats end.
    pub async fn deregister(self: &Arc<Self>, id: &str) -> Result<bool, RegisterError> {
        if !ids::is_id(id) {
            return Ok(false);
        }
        // Who is taking it over finishes first.
        let _lock = self.lookup_lock(id).await?;
        let held = self.lock().heartbeats.get(id).cloned();
        let pending = if let Some(claimed) = held {
            self.record_outcome(&claimed)
        } else {
            // First it is made ours, so that the node that has it hears that it need not put it again.
            let Some(record) = self.lookup(id).await? else { return Ok(false) };
            Some(self.claim_with_heartbeat(id, record)?.1)
        };
        if let Some(outcome) = pending {
            self.wait_visible(outcome).await?;
        }
        match self.end_heartbeat_claim(id, None, RemovalReason::Deregistered) {
            Some(outcome) => self.wait_visible(outcome).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// How many claims are held by heartbeats.
    pub fn heartbeat_claims(&self) -> usize {
        self.lock().heartbeats.by_id.len()
    }

    /// A heartbeat for an id that is held here: no call of the store, unless another has written the entry.
    fn heartbeat_here(&self, id: &str) -> Result<bool, RegisterError> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.stopping {
            return Err(RegisterError::Stopping);
        }
        let Some(claimed) = state.heartbeats.heartbeat(id, Instant::now()) else { return Ok(false) };
        let (key, claim) = (claimed.key.clone(), claimed.claim);
        if state.slots.get_mut(&key).is_some_and(|slot| slot.reassert(claim)) {
            state.enqueue(&key);
            self.wake.notify_one();
        }
        Ok(true)
    }

    /// Claims an instance under an id from now on.
    fn claim_with_heartbeat(&self, id: &str, record: IdRecord) -> Result<(ClaimId, Outcome), RegisterError> {
        let (claim, before) = {
            let mut state = self.lock();
            if state.stopping {
                return Err(RegisterError::Stopping);
            }
            let before = state.heartbeats.remove(id);
            if state.heartbeats.by_id.len() >= HEARTBEATS_MAX {
                return Err(RegisterError::Full);
            }
            state.next_claim += 1;
            state.claims += 1;
            let claim = state.next_claim;
            state.heartbeats.insert(id, record.key.clone(), claim, record.ttl, Instant::now());
            (claim, before)
        };
        self.heartbeat_sync.earlier.notify_one();
        let encoded = record.encode();
        let (_, outcome) = self.set_value(&record.key, claim, record.value, |slot| {
            if let Some(mirror) = record.mirror {
                slot.set_mirror(claim, mirror);
            }
            slot.records.set(claim, ids::key(id), encoded);
        });
        if let Some(before) = before {
            if before.key != record.key {
                self.forget_record(&before);
            }
            drop(self.drop_claim(&before.key, before.claim, RemovalReason::Deregistered));
        }
        Ok((claim, outcome))
    }

    /// The id has another entry now: its record is written over, and not this claim's to remove.
    fn forget_record(&self, claimed: &HeartbeatClaim) {
        let mut state = self.lock();
        let freed = state.slots.get_mut(&claimed.key).and_then(|slot| slot.records.forget(claimed.claim));
        if let Some(lease) = freed {
            state.record_leases.release_place(lease);
        }
    }

    /// Ends the claim under an id: whichever it is, or this one.
    fn end_heartbeat_claim(&self, id: &str, only: Option<ClaimId>, reason: RemovalReason) -> Option<Outcome> {
        let claimed = {
            let mut state = self.lock();
            let claimed = state.heartbeats.get(id)?;
            if only.is_some_and(|claim| claim != claimed.claim) {
                return None;
            }
            state.heartbeats.remove(id)?
        };
        Some(self.drop_claim(&claimed.key, claimed.claim, reason))
    }

    /// Where to hear that the record of a claim is written; `None` if it is.
    fn record_outcome(&self, claimed: &HeartbeatClaim) -> Option<Outcome> {
        let mut state = self.lock();
        let slot = state.slots.get_mut(&claimed.key).filter(|slot| !slot.records.is_present(claimed.claim))?;
        let (reply, outcome) = tokio::sync::oneshot::channel();
        slot.waiters.push(reply);
        state.enqueue(&claimed.key);
        drop(state);
        self.wake.notify_one();
        Some(outcome)
    }

    /// What the store has of an id.
    async fn lookup(&self, id: &str) -> Result<Option<IdRecord>, RegisterError> {
        let key = ids::key(id);
        let unavailable = |reason: String| RegisterError::Unavailable(reason);
        let listing = timeout(self.settings.deadline, self.store.list(key.as_bytes()))
            .await
            .map_err(|_| unavailable(format!("not within {:?}", self.settings.deadline)))?
            .map_err(|error| unavailable(error.to_string()))?;
        let found = listing.items.into_iter().find(|item| item.key == key);
        Ok(found.and_then(|item| IdRecord::parse(&item.value, &self.settings.layout)))
    }

    async fn lookup_lock(&self, id: &str) -> Result<MutexGuard<'_, ()>, RegisterError> {
        let lookup_lock = self.heartbeat_sync.hash.hash_one(id) % LOOKUP_LOCKS as u64;
        let lookup_lock = &self.heartbeat_sync.lookup_locks[usize::try_from(lookup_lock).unwrap_or_default()];
        timeout(self.settings.deadline, lookup_lock.lock())
            .await
            .map_err(|_| RegisterError::Unavailable("too many ids are being looked up".to_owned()))
    }
}

/// Ends what is overdue, for ever.
pub(super) async fn expire_overdue(registry: Arc<Registry>) {
    loop {
        let next = registry.lock().heartbeats.next_deadline();
        let wake_at = next.map(|due| due.min(Instant::now() + CLOCK_CHECK));
        let due = async {
            match wake_at {
                Some(wake_at) => sleep_until(wake_at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = registry.heartbeat_sync.earlier.notified() => {}
        }
        let late = wake_at.map_or(Duration::ZERO, |wake_at| Instant::now().saturating_duration_since(wake_at));
        let expired = {
            let mut state = registry.lock();
            if late >= STANDSTILL {
                tracing::warn!(?late, "this process stood still; nobody counts as silent for that time");
                state.heartbeats.postpone(late);
            }
            // What is left to its lease at a stop did not fall silent.
            if state.stopping { Vec::new() } else { state.heartbeats.take_expired(Instant::now()) }
        };
        if expired.is_empty() && registry.lock().stopping {
            return std::future::pending().await;
        }
        for claimed in expired {
            drop(registry.drop_claim(&claimed.key, claimed.claim, RemovalReason::Expired));
        }
    }
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
        heartbeats.insert("a", Key::from("/k"), 1, TTL, start);
        heartbeats.insert("b", Key::from("/k"), 2, TTL, at(start, 5));
        assert_eq!(heartbeats.next_deadline(), Some(at(start, 30)));
        assert!(heartbeats.heartbeat("a", at(start, 20)).is_some());
        assert!(heartbeats.heartbeat("c", at(start, 20)).is_none());
        assert!(heartbeats.take_expired(at(start, 34)).is_empty());
        let expired = heartbeats.take_expired(at(start, 35));
        assert_eq!(expired.iter().map(|claimed| claimed.claim).collect::<Vec<_>>(), [2]);
        assert_eq!(heartbeats.next_deadline(), Some(at(start, 50)));
        heartbeats.remove_claim("a", 7);
        assert!(heartbeats.get("a").is_some(), "that was another claim");
        heartbeats.remove_claim("a", 1);
        assert_eq!((heartbeats.next_deadline(), heartbeats.by_id.len()), (None, 0));
    }

    #[test]
    fn postponed_deadlines_keep_their_order() {
        let (mut heartbeats, start) = (Heartbeats::default(), Instant::now());
        heartbeats.insert("a", Key::from("/k"), 1, TTL, start);
        heartbeats.insert("b", Key::from("/k"), 2, TTL, at(start, 5));
        heartbeats.postpone(Duration::from_secs(100));
        assert!(heartbeats.take_expired(at(start, 129)).is_empty());
        assert_eq!(heartbeats.take_expired(at(start, 130)).len(), 1);
        assert!(heartbeats.heartbeat("b", at(start, 131)).is_some());
        assert_eq!(heartbeats.next_deadline(), Some(at(start, 161)));
    }

    #[test]
    fn a_reregistered_id_has_one_deadline() {
        let (mut heartbeats, start) = (Heartbeats::default(), Instant::now());
        heartbeats.insert("a", Key::from("/k"), 1, TTL, start);
        heartbeats.insert("a", Key::from("/k"), 2, TTL, at(start, 10));
        assert!(heartbeats.take_expired(at(start, 30)).is_empty());
        assert_eq!(heartbeats.take_expired(at(start, 40)).len(), 1);
        heartbeats.insert("a", Key::from("/k"), 3, Duration::MAX, start);
        assert!(heartbeats.take_expired(at(start, 1000)).is_empty());
    }
}
