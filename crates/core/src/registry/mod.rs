//! Who is here: claims on entries, and the leases that carry them.
//!
//! A [`Claim`] is one peer's living interest in an entry. An entry lives while at least one claim on it
//! lives; the last to leave removes it, and removes only what this registry wrote. Several workers may
//! claim one host and port; who spoke last describes it.
//!
//! Owns: claims, what the store should have of each entry (`slot`) and of its second key (`mirror`), the session's leases
//! ([`session`]), group commits and their retries ([`writer`]), claims held by heartbeats under an id ([`heartbeats`],
//! [`ids`]), entries that nobody holds (`persistent`). Does not own: what an instance is ([`skyhound_model::instance`]), nor
//! when a peer is dead (its dialect).
//!
//! The write path never asks the catalog what to write. It meets it three times: to wait until this node answers what
//! was just written, to hear that an entry vanished under a living claim, and to learn on which lease a lasting entry
//! was put.
//!
//! Two daemons on one etcd that hold claims on one key do not know of each other's: when the one that
//! wrote last lets go, the key is removed, the other one hears it from the feed and puts it again.

mod claim;
pub mod heartbeats;
pub mod ids;
mod mirror;
mod on_stop;
mod persistent;
mod records;
pub mod session;
mod slot;
pub mod writer;

pub use claim::Claim;
pub use on_stop::OnStop;
pub use persistent::MAX_PERSISTENT;

use crate::catalog::Catalog;
use bytes::Bytes;
use heartbeats::Heartbeats;
use session::Leases;
use skyhound_model::removal::RemovalReason;
use skyhound_model::{Instance, Key, Layout};
use skyhound_store::{Batch, Change, LeaseId, Revision, Status, Store, StoreError};
use slot::{ClaimId, Slot};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// How long a registration may take before its peer is told to come again.
pub const REGISTER_DEADLINE: Duration = Duration::from_secs(5);

/// Why a registration, an update or a release did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The store is away, or slower than [`RegistrySettings::deadline`]. Trying again later is right.
    #[error("the registry's store does not answer: {0}")]
    Unavailable(String),
    /// The store answered that it cannot hold this.
    #[error("{0}")]
    Rejected(String),
    /// This daemon holds [`heartbeats::HEARTBEATS_MAX`] claims by heartbeats. Trying another one is right.
    #[error("this daemon holds as many instances by heartbeats as it takes")]
    Full,
    /// There are [`RegistrySettings::max_persistent`] entries that nobody holds. Some have to be removed first.
    #[error(
        "{0} entries stay until they are removed, and that is the most (--max-persistent); remove some, or give this one a ttl"
    )]
    TooManyPersistent(u32),
    /// This daemon is stopping. Trying another one, or this one again, is right.
    #[error("this daemon is stopping")]
    Stopping,
}

impl From<&StoreError> for RegisterError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Rejected(_) => Self::Rejected(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// How the registry works.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// The term of the session's leases (`--timeout`): so long an entry outlives a daemon that died.
    pub ttl: Duration,
    /// See [`REGISTER_DEADLINE`].
    pub deadline: Duration,
    /// See [`MAX_PERSISTENT`].
    pub max_persistent: u32,
    /// Where the entries are: the marker of removals ([`skyhound_model::removal`]) stands beside them.
    pub layout: Layout,
}

/// What the registry has done since it started.
#[derive(Debug, Default)]
pub struct RegistryStats {
    /// Group commits sent to the store.
    pub commits: AtomicU64,
    /// Group commits that failed.
    pub commit_errors: AtomicU64,
    /// Entries put.
    pub puts: AtomicU64,
    /// Entries removed.
    pub deletes: AtomicU64,
    /// Entries that vanished, or whose lease ran out, under a living claim.
    pub lost: AtomicU64,
}

/// The registry. Methods take `&Arc<Self>` because claims keep it alive.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    settings: RegistrySettings,
    state: Mutex<State>,
    /// The writer has work, or the registry stops.
    wake: Notify,
    /// The writer has nothing left to write.
    drained: Notify,
    /// The writer or the keeping alive ended: only a bug ends them before the registry stops.
    ended: Notify,
    stats: RegistryStats,
    heartbeat_sync: heartbeats::HeartbeatSync,
    /// Entries that nobody holds, on their way to the store.
    persistent: persistent::PersistentWrites,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<Key, Slot>,
    /// The slots that changed, each once, in the order of their change.
    queue: VecDeque<Key>,
    leases: Leases,
    /// The leases that the records of ids hang on.
    record_leases: Leases,
    /// Leases of a history that the store has lost. What the store brought back on them may be nobody's any more: what
    /// lives moves to others, and then they are ended.
    former_leases: HashSet<LeaseId>,
    heartbeats: Heartbeats,
    next_claim: ClaimId,
    claims: usize,
    stopping: bool,
    /// Entries were left to their lease ([`Claim::leave_to_lease`]): what nobody here claims is not ours to remove.
    has_abandoned: bool,
    /// The revision of the last batch that the catalog told.
    last_revision: Revision,
    last_error: Option<String>,
}

type Outcome = oneshot::Receiver<Result<Revision, RegisterError>>;

impl Registry {
    /// Starts the writer and the keeping alive. Becomes the catalog's listener.
    pub fn start(store: Arc<dyn Store>, catalog: Arc<Catalog>, settings: RegistrySettings) -> Arc<Self> {
        let registry = Arc::new(Self {
            store,
            catalog,
            settings,
            state: Mutex::default(),
            wake: Notify::new(),
            drained: Notify::new(),
            ended: Notify::new(),
            stats: RegistryStats::default(),
            heartbeat_sync: heartbeats::HeartbeatSync::default(),
            persistent: persistent::PersistentWrites::default(),
            tasks: Mutex::default(),
        });
        let weak = Arc::downgrade(&registry);
        registry.catalog.observe_batches(Box::new(move |batch| {
            if let Some(registry) = weak.upgrade() {
                registry.on_batch(batch);
            }
        }));
        let mut tasks = registry.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(notify_when_done(Arc::clone(&registry), writer::run(Arc::clone(&registry))));
        for leases in [session::ENTRIES, session::RECORDS] {
            let task = session::keep_alive(Arc::clone(&registry), leases);
            tasks.spawn(notify_when_done(Arc::clone(&registry), task));
        }
        tasks.spawn(notify_when_done(Arc::clone(&registry), heartbeats::expire_overdue(Arc::clone(&registry))));
        drop(tasks);
        registry
    }

    /// Registers an instance. When it returns, the entry is committed and this node answers it. Dropping
    /// the future gives the registration up.
    pub async fn register(self: &Arc<Self>, instance: Instance) -> Result<Claim, RegisterError> {
        let value = Bytes::from(instance.entry.encode());
        let id = {
            let mut state = self.lock();
            if state.stopping {
                return Err(RegisterError::Stopping);
            }
            state.next_claim += 1;
            state.claims += 1;
            state.next_claim
        };
        let mirror = instance.mirror.clone();
        let (_, outcome) = self.set_value(&instance.key, id, value, |slot| {
            if let Some(mirror) = mirror {
                slot.set_mirror(id, mirror);
            }
        });
        // From here on the claim exists: whatever ends this future gives it up.
        let claim = Claim { registry: Arc::clone(self), id, instance: Box::new(instance), finished: false };
        self.wait_visible(outcome).await?;
        Ok(claim)
    }

    /// How many claims live.
    pub fn claims(&self) -> usize {
        self.lock().claims
    }

    /// How many entries this node holds.
    pub fn entries(&self) -> usize {
        self.lock().slots.len()
    }

    /// How many leases carry them.
    pub fn leases(&self) -> usize {
        self.lock().leases.all().len()
    }

    /// Asks the store for its status. Takes as long as the store takes.
    pub async fn store_status(&self) -> Result<Status, StoreError> {
        self.store.status().await
    }

    /// What was done so far.
    pub fn stats(&self) -> &RegistryStats {
        &self.stats
    }

    /// Runs for ever. Returns only if a part of it failed, which is a bug.
    pub async fn run_until_done(&self) {
        self.ended.notified().await;
    }

    /// Takes no further registrations, writes what is left to write within `deadline`, and ends the
    /// keeping alive. Entries whose claims left ([`Claim::leave_to_lease`]), or are held by heartbeats, stay until their lease
    /// runs out; so do the records of their ids.
    pub async fn stop(&self, deadline: Duration) {
        self.lock().stopping = true;
        self.wake.notify_one();
        if tokio::time::timeout(deadline, self.drained.notified()).await.is_err() {
            tracing::warn!(left = self.lock().queue.len(), "stopping with entries unwritten; their lease removes them");
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    /// A claim's word, and what it says beside the value. Returns what it wanted before, and where to hear what
    /// comes of it.
    fn set_value(
        &self,
        key: &Key,
        claim: ClaimId,
        value: Bytes,
        also: impl FnOnce(&mut Slot),
    ) -> (Option<Bytes>, Outcome) {
        let (reply, outcome) = oneshot::channel();
        let mut state = self.lock();
        let slot = state.slots.entry(key.clone()).or_insert_with(Slot::new);
        let before = slot.set_value(claim, value);
        also(slot);
        slot.waiters.push(reply);
        state.enqueue(key);
        drop(state);
        self.wake.notify_one();
        (before, outcome)
    }

    /// Ends a claim.
    fn drop_claim(&self, key: &Key, claim: ClaimId, reason: RemovalReason) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let mut state = self.lock();
        if let Some(slot) = state.slots.get_mut(key)
            && slot.drop_claim(claim, reason).is_some()
        {
            slot.waiters.push(reply);
            state.claims -= 1;
            state.enqueue(key);
        }
        drop(state);
        self.wake.notify_one();
        outcome
    }

    /// Ends a claim without a word to the store.
    fn leave_to_lease(&self, key: &Key, claim: ClaimId) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(key) else { return };
        if slot.remove_claim(claim).is_some() {
            let last = slot.claims() == 0;
            state.claims -= 1;
            state.has_abandoned = true;
            if last {
                state.slots.remove(key);
            }
        }
    }

    /// Waits until a change is committed and this node's snapshot has it.
    async fn wait_visible(&self, outcome: Outcome) -> Result<(), RegisterError> {
        let both = async {
            // Dropped without a word: there was nothing to do.
            let revision = outcome.await.unwrap_or(Ok(Revision::default()))?;
            self.catalog.reached(revision).await;
            Ok(())
        };
        tokio::time::timeout(self.settings.deadline, both).await.unwrap_or_else(|_| {
            let reason = self.lock().last_error.clone();
            Err(RegisterError::Unavailable(
                reason.unwrap_or_else(|| format!("not within {:?}", self.settings.deadline)),
            ))
        })
    }

    /// The catalog's news: entries that vanished under a living claim are due again.
    fn on_batch(&self, batch: &Batch) {
        let mut state = self.lock();
        let state = &mut *state;
        let before = std::mem::replace(&mut state.last_revision, batch.revision);
        // Restored from a backup: revisions are told anew; or they were, and have been passed meanwhile. Then there is
        // something from a time of which all was known, and it is new.
        let is_repeated = |change: &Change| matches!(change, Change::Put(item) if item.revision <= before);
        let mut work = batch.revision < before || batch.changes.iter().any(is_repeated);
        if work {
            state.history_lost();
        }
        for change in &batch.changes {
            match change {
                Change::Delete(key) => {
                    if let Some(slot) = state.slots.get_mut(key)
                        && slot.on_delete(batch.revision)
                    {
                        self.stats.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        state.enqueue(key);
                        work = true;
                    }
                }
                Change::Put(item) => match item.lease.filter(|lease| state.leases.contains(*lease)) {
                    Some(_) if state.has_abandoned && !state.slots.contains_key(&item.key) => {}
                    Some(lease) => {
                        // Without a slot nobody here wants it: it comes from a commit that was given up.
                        let slot = state.slots.entry(item.key.clone()).or_insert_with(Slot::new);
                        if slot.on_own_put(item.revision, lease, item.value.clone()) {
                            state.enqueue(&item.key);
                            work = true;
                        }
                    }
                    None => {
                        if let Some(slot) = state.slots.get_mut(&item.key)
                            && slot.on_foreign_put(item.revision)
                        {
                            state.enqueue(&item.key);
                            work = true;
                        }
                    }
                },
            }
        }
        if work {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock is a bug, but what it protects is whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a task of the registry, and tells when it is over, be it by a panic.
async fn notify_when_done(registry: Arc<Registry>, task: impl Future<Output = ()>) {
    struct NotifyOnDrop(Arc<Registry>);
    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            self.0.ended.notify_one();
        }
    }
    let _notify = NotifyOnDrop(registry);
    task.await;
}

impl State {
    fn enqueue(&mut self, key: &Key) {
        if let Some(slot) = self.slots.get_mut(key)
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.queue.push_back(key.clone());
        }
    }

    /// A round failed. Where the store takes no writes, who wants something put is told at once, and may be taken
    /// elsewhere; who lives is put once it takes them again, and removals go on being tried.
    fn round_failed(&mut self, error: &StoreError) {
        self.last_error = Some(error.to_string());
        if !matches!(error, StoreError::Unwritable(_)) {
            return;
        }
        for key in &self.queue {
            let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.claims() > 0) else { continue };
            for waiter in slot.waiters.drain(..) {
                // Who waited may have gone.
                let _ = waiter.send(Err(RegisterError::Unavailable(error.to_string())));
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Those among the next slots of the queue that are so.
    fn next_where(&self, max: usize, predicate: impl Fn(&Slot) -> bool) -> Vec<Key> {
        let next = self.queue.iter().take(max);
        next.filter(|key| self.slots.get(*key).is_some_and(&predicate)).cloned().collect()
    }

    /// Drops a slot that nobody is interested in; whoever waits for that hears it.
    fn forget(&mut self, key: &Key) {
        if let Some(slot) = self.slots.remove(key) {
            if let Some(lease) = slot.lease {
                self.leases.release_place(lease);
            }
            for waiter in slot.waiters {
                let _ = waiter.send(Ok(Revision::default()));
            }
        }
    }

    /// The store went back in its history (restored from a backup): what was written may not be there, at whatever
    /// revision, and what was removed may. Everything is looked up again, and moves to new leases.
    fn history_lost(&mut self) {
        tracing::warn!(slots = self.slots.len(), "the store went back in its history; everything is written again");
        for lease in self.leases.all() {
            self.former_leases.insert(lease);
            self.lease_lost(lease);
        }
        for lease in self.record_leases.all() {
            self.former_leases.insert(lease);
            self.record_lease_lost(lease);
        }
        self.slots.values_mut().for_each(Slot::mark_unknown);
        for key in self.slots.keys().cloned().collect::<Vec<_>>() {
            self.enqueue(&key);
        }
    }

    /// Reading a key of a slot, its own or one beside it, showed this.
    fn observe(&mut self, key: &Key, read: &Key, found: Option<(Revision, Option<LeaseId>, Bytes)>, at: Revision) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(id) = ids::id(read) else {
            let former = |lease: &LeaseId| self.former_leases.contains(lease);
            return match found {
                Some((revision, Some(lease), _)) if read == key && former(&lease) => {
                    slot.observe_on_former_lease(revision)
                }
                found if read == key => slot.observe(found, at),
                found => slot.observe_companion(found),
            };
        };
        let Some((claim, lease)) = slot.records.observe(read, found.and_then(|(_, lease, _)| lease)) else { return };
        // Another node holds the claim now, or has ended it.
        if slot.taken_over(claim) {
            self.claims -= 1;
        }
        self.heartbeats.remove_claim(id, claim);
        if let Some(lease) = lease {
            self.record_leases.release_place(lease);
        }
    }

    /// A lease of records is gone; those that hung on it are due again. Returns how many slots have some.
    fn record_lease_lost(&mut self, lease: LeaseId) -> usize {
        self.record_leases.remove(lease);
        let slots = self.slots.iter_mut();
        let lost: Vec<Key> =
            slots.filter_map(|(key, slot)| slot.records.lease_lost(lease).then(|| key.clone())).collect();
        for key in &lost {
            self.enqueue(key);
        }
        lost.len()
    }

    /// A lease is gone. Returns how many entries are due again.
    fn lease_lost(&mut self, lease: LeaseId) -> usize {
        self.leases.remove(lease);
        let lost: Vec<Key> = self
            .slots
            .iter_mut()
            .filter(|(_, slot)| slot.lease == Some(lease))
            .filter_map(|(key, slot)| slot.lease_lost().then(|| key.clone()))
            .collect();
        for key in &lost {
            self.enqueue(key);
        }
        lost.len()
    }
}
