//! Claims that are held by a deadline in place of a socket: found by an id, kept by heartbeats.
//!
//! Owns: which ids this node holds and when each is due (`Beats`, synchronous, with time as an argument), the one
//! task that ends what is overdue, and taking over an id that another node held or nobody holds any more. Does not
//! own: what an id looks like (its dialect), nor its record in the store ([`super::ids`]).
//!
//! Any node accepts any id. One that does not hold it reads its record and takes the claim over: entry and record go
//! to its own leases in one transaction. The node that had it hears that, and forgets the claim without a write.

use super::ids::{self, Known};
use super::slot::ClaimId;
use super::{Outcome, RegisterError, Registry};
use skyhound_model::departure::Departure;
use skyhound_model::{Instance, Key};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::{Instant, sleep_until, timeout};

/// The most claims that one node holds by heartbeats. A million of them would still fit into memory; so many more
/// heartbeats a second than an HTTP listener takes would not.
pub const BEATING_MAX: usize = 100_000;
/// How many ids are looked up or taken over at a time: what a flood of unknown ids may cost the store.
const LANES: usize = 64;
/// How often the clock is looked at while claims are held, to notice that this process stood still (stopped, or its
/// machine was suspended): it heard nobody then, and who did not get through has not fallen silent.
const LOOK: Duration = Duration::from_secs(1);
/// A look that comes so much too late was a standstill. Less is a busy machine.
const STANDSTILL: Duration = Duration::from_millis(500);

/// The claims, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Beats {
    by_id: HashMap<Arc<str>, Beat>,
    due: BTreeMap<(Instant, ClaimId), Arc<str>>,
}

/// One claim that is held by heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) key: Key,
    pub(super) claim: ClaimId,
    silence: Duration,
    due: Instant,
}

impl Beats {
    fn hold(&mut self, id: &str, key: Key, claim: ClaimId, silence: Duration, now: Instant) {
        self.end(id);
        let (id, due) = (Arc::from(id), after(now, silence));
        self.due.insert((due, claim), Arc::clone(&id));
        self.by_id.insert(id, Beat { key, claim, silence, due });
    }

    /// A heartbeat. Returns whose it is; `None` if the id is not held here.
    fn beat(&mut self, id: &str, now: Instant) -> Option<&Beat> {
        let beat = self.by_id.get_mut(id)?;
        let id = self.due.remove(&(beat.due, beat.claim))?;
        beat.due = after(now, beat.silence);
        self.due.insert((beat.due, beat.claim), id);
        Some(beat)
    }

    fn get(&self, id: &str) -> Option<&Beat> {
        self.by_id.get(id)
    }

    fn end(&mut self, id: &str) -> Option<Beat> {
        let beat = self.by_id.remove(id)?;
        self.due.remove(&(beat.due, beat.claim));
        Some(beat)
    }

    /// The claim was taken over elsewhere.
    pub(super) fn gone(&mut self, id: &str, claim: ClaimId) {
        if self.by_id.get(id).is_some_and(|beat| beat.claim == claim) {
            self.end(id);
        }
    }

    /// Ends what is overdue.
    fn overdue(&mut self, now: Instant) -> Vec<Beat> {
        let mut over = Vec::new();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let id = first.remove();
            over.extend(self.by_id.remove(&id));
        }
        over
    }

    /// Everything is due so much later.
    fn put_off(&mut self, by: Duration) {
        let due = std::mem::take(&mut self.due);
        self.due = due.into_iter().map(|((due, claim), id)| ((after(due, by), claim), id)).collect();
        for beat in self.by_id.values_mut() {
            beat.due = after(beat.due, by);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.due.keys().next().map(|(due, _)| *due)
    }
}

/// Whatever a peer was granted: a time that the clock cannot say is a day.
fn after(now: Instant, silence: Duration) -> Instant {
    now.checked_add(silence).unwrap_or(now + Duration::from_secs(86_400))
}

/// What the registry has for its ids beside its state.
#[derive(Debug)]
pub(super) struct Shell {
    /// There is an earlier deadline than the one that is waited for.
    earlier: Notify,
    /// One id is looked up or taken over by one caller at a time; others with the same hash wait, too.
    lanes: [Mutex<()>; LANES],
    hash: RandomState,
}

impl Default for Shell {
    fn default() -> Self {
        Self { earlier: Notify::new(), lanes: std::array::from_fn(|_| Mutex::new(())), hash: RandomState::new() }
    }
}

/// Gives up a registration whose future is dropped.
struct GivenUp<'r> {
    registry: &'r Registry,
    id: &'r str,
    claim: ClaimId,
    over: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.registry.end_beating(self.id, Some(self.claim), Departure::Left);
        }
    }
}

impl Registry {
    /// Registers an instance under an id. It lives as long as [`Registry::beat`] is told the id, at any node, at least
    /// every `silence`. Dropping the future gives the registration up.
    pub async fn register_beating(
        self: &Arc<Self>,
        id: &str,
        instance: Instance,
        silence: Duration,
    ) -> Result<(), RegisterError> {
        if !ids::is_id(id) {
            return Err(RegisterError::Rejected(format!("{id:?} cannot be an id")));
        }
        let value = instance.entry.encode().into();
        let known = Known { key: instance.key, value, twin: instance.twin, silence };
        let (claim, outcome) = self.hold_beating(id, known)?;
        let mut given_up = GivenUp { registry: self, id, claim, over: false };
        self.visible(outcome).await?;
        given_up.over = true;
        Ok(())
    }

    /// A heartbeat. `Ok(false)`: nobody knows this id, and nobody will. After an error its peer should come again; if
    /// it was the store that did not answer in time, this node may hold the claim already and write it later.
    pub async fn beat(self: &Arc<Self>, id: &str) -> Result<bool, RegisterError> {
        if !ids::is_id(id) {
            return Ok(false);
        }
        if self.beat_here(id)? {
            return Ok(true);
        }
        let _lane = self.lane(id).await?;
        // Another heartbeat may have been quicker.
        if self.beat_here(id)? {
            return Ok(true);
        }
        let Some(known) = self.known(id).await? else { return Ok(false) };
        let (_, outcome) = self.hold_beating(id, known)?;
        // If this fails the claim stays, until its deadline: its peer lives, and the store will be told.
        self.visible(outcome).await.map(|()| true)
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
        let _lane = self.lane(id).await?;
        let held = self.lock().beats.get(id).cloned();
        let written = if let Some(beat) = held {
            self.written(&beat)
        } else {
            // First it is made ours, so that the node that has it hears that it need not put it again.
            let Some(known) = self.known(id).await? else { return Ok(false) };
            Some(self.hold_beating(id, known)?.1)
        };
        if let Some(outcome) = written {
            self.visible(outcome).await?;
        }
        match self.end_beating(id, None, Departure::Left) {
            Some(outcome) => self.visible(outcome).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// How many claims are held by heartbeats.
    pub fn beating(&self) -> usize {
        self.lock().beats.by_id.len()
    }

    /// A heartbeat for an id that is held here: no call of the store, unless another has written the entry.
    fn beat_here(&self, id: &str) -> Result<bool, RegisterError> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.stopping {
            return Err(RegisterError::Stopping);
        }
        let Some(beat) = state.beats.beat(id, Instant::now()) else { return Ok(false) };
        let (key, claim) = (beat.key.clone(), beat.claim);
        if state.slots.get_mut(&key).is_some_and(|slot| slot.say_again(claim)) {
            state.enqueue(&key);
            self.wake.notify_one();
        }
        Ok(true)
    }

    /// Claims an instance under an id from now on.
    fn hold_beating(&self, id: &str, known: Known) -> Result<(ClaimId, Outcome), RegisterError> {
        let (claim, before) = {
            let mut state = self.lock();
            if state.stopping {
                return Err(RegisterError::Stopping);
            }
            let before = state.beats.end(id);
            if state.beats.by_id.len() >= BEATING_MAX {
                return Err(RegisterError::Full);
            }
            state.next_claim += 1;
            state.claims += 1;
            let claim = state.next_claim;
            state.beats.hold(id, known.key.clone(), claim, known.silence, Instant::now());
            (claim, before)
        };
        self.beating.earlier.notify_one();
        let record = known.encode();
        let (_, outcome) = self.say(&known.key, claim, known.value, |slot| {
            if let Some(twin) = known.twin {
                slot.say_twin(claim, twin);
            }
            slot.records.say(claim, ids::key(id), record);
        });
        if let Some(before) = before {
            if before.key != known.key {
                self.forget_record(&before);
            }
            drop(self.drop_claim(&before.key, before.claim, Departure::Left));
        }
        Ok((claim, outcome))
    }

    /// The id has another entry now: its record is written over, and not this claim's to remove.
    fn forget_record(&self, beat: &Beat) {
        let mut state = self.lock();
        let freed = state.slots.get_mut(&beat.key).and_then(|slot| slot.records.forget(beat.claim));
        if let Some(lease) = freed {
            state.record_leases.give_back(lease);
        }
    }

    /// Ends the claim under an id: whichever it is, or this one.
    fn end_beating(&self, id: &str, only: Option<ClaimId>, why: Departure) -> Option<Outcome> {
        let beat = {
            let mut state = self.lock();
            let beat = state.beats.get(id)?;
            if only.is_some_and(|claim| claim != beat.claim) {
                return None;
            }
            state.beats.end(id)?
        };
        Some(self.drop_claim(&beat.key, beat.claim, why))
    }

    /// Where to hear that the record of a claim is written; `None` if it is.
    fn written(&self, beat: &Beat) -> Option<Outcome> {
        let mut state = self.lock();
        let slot = state.slots.get_mut(&beat.key).filter(|slot| !slot.records.is_written(beat.claim))?;
        let (tell, outcome) = tokio::sync::oneshot::channel();
        slot.waiters.push(tell);
        state.enqueue(&beat.key);
        drop(state);
        self.wake.notify_one();
        Some(outcome)
    }

    /// What the store has of an id.
    async fn known(&self, id: &str) -> Result<Option<Known>, RegisterError> {
        let key = ids::key(id);
        let unavailable = |why: String| RegisterError::Unavailable(why);
        let listing = timeout(self.settings.deadline, self.store.list(key.as_bytes()))
            .await
            .map_err(|_| unavailable(format!("not within {:?}", self.settings.deadline)))?
            .map_err(|error| unavailable(error.to_string()))?;
        let found = listing.items.into_iter().find(|item| item.key == key);
        Ok(found.and_then(|item| Known::parse(&item.value, &self.settings.layout)))
    }

    async fn lane(&self, id: &str) -> Result<MutexGuard<'_, ()>, RegisterError> {
        let lane = self.beating.hash.hash_one(id) % LANES as u64;
        let lane = &self.beating.lanes[usize::try_from(lane).unwrap_or_default()];
        timeout(self.settings.deadline, lane.lock())
            .await
            .map_err(|_| RegisterError::Unavailable("too many ids are being looked up".to_owned()))
    }
}

/// Ends what is overdue, for ever.
pub(super) async fn watch(registry: Arc<Registry>) {
    loop {
        let next = registry.lock().beats.next();
        let look = next.map(|due| due.min(Instant::now() + LOOK));
        let due = async {
            match look {
                Some(look) => sleep_until(look).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = registry.beating.earlier.notified() => {}
        }
        let late = look.map_or(Duration::ZERO, |look| Instant::now().saturating_duration_since(look));
        let over = {
            let mut state = registry.lock();
            if late >= STANDSTILL {
                tracing::warn!(?late, "this process stood still; nobody counts as silent for that time");
                state.beats.put_off(late);
            }
            // What is left to its lease at a stop did not fall silent.
            if state.stopping { Vec::new() } else { state.beats.overdue(Instant::now()) }
        };
        if over.is_empty() && registry.lock().stopping {
            return std::future::pending().await;
        }
        for beat in over {
            drop(registry.drop_claim(&beat.key, beat.claim, Departure::Expired));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(30);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn who_is_silent_is_overdue_alone() {
        let (mut beats, start) = (Beats::default(), Instant::now());
        beats.hold("a", Key::from("/k"), 1, SILENCE, start);
        beats.hold("b", Key::from("/k"), 2, SILENCE, at(start, 5));
        assert_eq!(beats.next(), Some(at(start, 30)));
        assert!(beats.beat("a", at(start, 20)).is_some());
        assert!(beats.beat("c", at(start, 20)).is_none());
        assert!(beats.overdue(at(start, 34)).is_empty());
        let over = beats.overdue(at(start, 35));
        assert_eq!(over.iter().map(|beat| beat.claim).collect::<Vec<_>>(), [2]);
        assert_eq!(beats.next(), Some(at(start, 50)));
        beats.gone("a", 7);
        assert!(beats.get("a").is_some(), "that was another claim");
        beats.gone("a", 1);
        assert_eq!((beats.next(), beats.by_id.len()), (None, 0));
    }

    #[test]
    fn what_is_put_off_keeps_its_order() {
        let (mut beats, start) = (Beats::default(), Instant::now());
        beats.hold("a", Key::from("/k"), 1, SILENCE, start);
        beats.hold("b", Key::from("/k"), 2, SILENCE, at(start, 5));
        beats.put_off(Duration::from_secs(100));
        assert!(beats.overdue(at(start, 129)).is_empty());
        assert_eq!(beats.overdue(at(start, 130)).len(), 1);
        assert!(beats.beat("b", at(start, 131)).is_some());
        assert_eq!(beats.next(), Some(at(start, 161)));
    }

    #[test]
    fn an_id_that_is_held_anew_has_one_deadline() {
        let (mut beats, start) = (Beats::default(), Instant::now());
        beats.hold("a", Key::from("/k"), 1, SILENCE, start);
        beats.hold("a", Key::from("/k"), 2, SILENCE, at(start, 10));
        assert!(beats.overdue(at(start, 30)).is_empty());
        assert_eq!(beats.overdue(at(start, 40)).len(), 1);
        beats.hold("a", Key::from("/k"), 3, Duration::MAX, start);
        assert!(beats.overdue(at(start, 1000)).is_empty());
    }
}
