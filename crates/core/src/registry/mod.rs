//! The registry: claims on entries, and the leases and commits that keep those entries in the store.
//!
//! A [`Claim`] is one client's active interest in an entry. An entry lives while at least one claim on it lives. When
//! the last claim ends, the registry removes the entry, and removes only a value that it wrote. Several workers may
//! claim one host and port; the last one that set a value describes the entry.
//!
//! # Data flow
//! ```text
//! Claim, heartbeats ─▶ state ─▶ writer ──────┬─▶ group_commit ─▶ store
//!                     (slots)                │
//! persistent ────────────────────────────────┘
//!            catalog ─▶ state ─▶ writer        (entries that vanished under a claim)
//! ```
//!
//! - `claim`: the handle of a client; [`heartbeats`] and [`ids`]: claims that are held by an id instead
//! - `state`: all mutable state behind one lock, with its invariants; `slot`, `mirror`, `records`: one entry, its
//!   mirror key and its id records as state machines; `leases`, `deadlines`, `queue`: the parts of the state without
//!   entries
//! - `writer`: reads, leases and writes of slots; `persistent`: registrations without a claim; `group_commit`: the loop
//!   of both, with retries and the isolation of rejected writes
//! - `session`: the leases in the store
//!
//! Does not own: the content of an instance ([`skyhound_model::instance`]), nor the liveness of a client (its
//! frontend).
//!
//! The write path never asks the catalog what to write. It uses the catalog three times: to wait until this node's
//! answers contain its own commit, to learn that an entry vanished under an active claim, and to find the lease of a
//! persistent registration.
//!
//! Two daemons on one etcd that hold claims on one key do not know each other's claims: when the last claim of the
//! daemon that wrote last ends, it removes the key; the feed delivers that to the other one, which puts the key again.

mod claim;
mod claim_id;
mod deadlines;
mod error;
mod group_commit;
pub mod heartbeats;
pub mod ids;
mod leases;
mod mirror;
mod on_stop;
mod persistent;
mod queue;
mod records;
mod session;
mod slot;
mod state;
mod stats;
mod waiter;
mod writer;

pub use claim::Claim;
pub use error::RegisterError;
pub use on_stop::OnStop;
pub use persistent::MAX_PERSISTENT;
pub use stats::RegistryStats;

use crate::catalog::Catalog;
use claim_id::ClaimId;
use group_commit::Committer;
use leases::LeaseKind;
use skyhound_model::{Instance, Layout};
use skyhound_store::{Batch, Status, Store, StoreError};
use state::State;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use waiter::Completion;

/// The time that a registration may take before its client receives an error and should retry.
pub const REGISTER_DEADLINE: Duration = Duration::from_secs(5);

/// The settings of a registry.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// The TTL of the session's leases (`--timeout`): the time that an entry outlives a daemon that died.
    pub ttl: Duration,
    /// The deadline of a registration ([`REGISTER_DEADLINE`]).
    pub deadline: Duration,
    /// The limit of persistent registrations ([`MAX_PERSISTENT`]).
    pub max_persistent: u32,
    /// The layout of entry keys. The tombstone of removals ([`skyhound_model::removal`]) is stored beside the entries.
    pub layout: Layout,
}

/// The registry. Methods take `&Arc<Self>` because claims keep it alive.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    catalog: Arc<Catalog>,
    settings: RegistrySettings,
    state: Mutex<State>,
    /// Notified by the state when the writer has work, or the registry stops.
    wake: Arc<Notify>,
    /// Notified when the writer of a stopping registry has nothing left to write.
    drained: Notify,
    /// Notified when a task of the registry ends. Before the registry stops, only a bug ends one.
    ended: Notify,
    stats: RegistryStats,
    heartbeat_sync: heartbeats::HeartbeatSync,
    persistent: persistent::PersistentWrites,
    tasks: Mutex<JoinSet<()>>,
}

impl Registry {
    /// Starts the tasks of a registry, and subscribes it to the batches of the catalog.
    pub fn start(store: Arc<dyn Store>, catalog: Arc<Catalog>, settings: RegistrySettings) -> Arc<Self> {
        let wake = Arc::new(Notify::new());
        let registry = Arc::new(Self {
            store,
            catalog,
            settings,
            state: Mutex::new(State::new(Arc::clone(&wake))),
            wake,
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
        for kind in LeaseKind::ALL {
            let task = session::keep_alive(Arc::clone(&registry), kind);
            tasks.spawn(notify_when_done(Arc::clone(&registry), task));
        }
        tasks.spawn(notify_when_done(Arc::clone(&registry), heartbeats::expire_overdue(Arc::clone(&registry))));
        drop(tasks);
        registry
    }

    /// Registers an instance. When it returns, the entry is committed and visible in this node's answers. Dropping the
    /// future cancels the registration.
    pub async fn register(self: &Arc<Self>, instance: Instance) -> Result<Claim, RegisterError> {
        let (id, completion) = self.lock().register(&instance)?;
        // The claim exists from here on, so that it ends if this future is dropped.
        let claim = Claim { registry: Arc::clone(self), id, instance: Box::new(instance), finished: false };
        self.wait_visible(completion).await?;
        Ok(claim)
    }

    /// The number of active claims.
    pub fn claims(&self) -> usize {
        self.lock().claims()
    }

    /// The number of entries that this node holds.
    pub fn entries(&self) -> usize {
        self.lock().entries()
    }

    /// The number of leases of those entries.
    pub fn leases(&self) -> usize {
        self.lock().leases(LeaseKind::Entries).len()
    }

    /// Requests the status of the store, without a deadline of its own.
    pub async fn store_status(&self) -> Result<Status, StoreError> {
        self.store.status().await
    }

    /// The counters since the start.
    pub fn stats(&self) -> &RegistryStats {
        &self.stats
    }

    /// Runs for ever. Returns only if a task of the registry failed, which is a bug.
    pub async fn run_until_done(&self) {
        self.ended.notified().await;
    }

    /// Rejects further registrations, writes pending changes within `deadline`, and ends the renewal of leases. Entries
    /// that were left to their lease ([`Claim::leave_to_lease`]) or are held by heartbeats stay until their lease
    /// expires, and so do the records of their ids.
    pub async fn stop(&self, deadline: Duration) {
        self.lock().stop();
        if tokio::time::timeout(deadline, self.drained.notified()).await.is_err() {
            let pending = self.lock().queued();
            tracing::warn!(pending, "stopping before all changes are written; leases remove the entries");
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    /// Waits until a change is committed and this node's snapshot contains it.
    async fn wait_visible(&self, completion: Completion) -> Result<(), RegisterError> {
        let visible = async {
            let revision = completion.wait().await?;
            self.catalog.reached(revision).await;
            Ok(())
        };
        let deadline = self.settings.deadline;
        tokio::time::timeout(deadline, visible).await.unwrap_or_else(|_| {
            let reason = self.lock().last_error().map(str::to_owned);
            Err(RegisterError::Unavailable(reason.unwrap_or_else(|| format!("no response within {deadline:?}"))))
        })
    }

    /// Applies a batch that the catalog delivers.
    fn on_batch(&self, batch: &Batch) {
        let lost = self.lock().on_batch(batch);
        self.stats.lost.fetch_add(lost, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock is a bug, but the state is consistent after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committer(&self) -> Committer<'_, Arc<dyn Store>> {
        Committer { store: &self.store, layout: &self.settings.layout, stats: &self.stats }
    }
}

/// Runs a task of the registry, and notifies when it ends, by a panic too.
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
