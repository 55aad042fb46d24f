//! Claims that are held by a heartbeat deadline instead of a connection, and found by an id.
//!
//! Owns: the operations on such a claim, the task that ends overdue claims, and the takeover of an id that another node
//! held or that no node holds any more. Does not own: the form of an id (its frontend), the record in the store
//! ([`super::ids`]), nor the order of deadlines (`deadlines`).
//!
//! Any node accepts any id. A node that does not hold it reads its record and takes the claim over: it puts entry and
//! record on its own leases in one transaction. The feed delivers that to the node that held the claim, which forgets
//! it without a write.

pub use super::deadlines::MAX_HEARTBEAT_CLAIMS;

use super::ids::{self, IdRecord};
use super::state::RecordState;
use super::{ClaimId, RegisterError, Registry};
use skyhound_model::Instance;
use skyhound_model::removal::RemovalReason;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::{Instant, sleep_until, timeout};

/// The limit of concurrent lookups and takeovers, which bounds the cost of a flood of unknown ids for the store.
const LOOKUP_LOCKS: usize = 64;
/// The interval at which the clock is checked while claims are held. The check detects that this process was paused (or
/// its machine suspended): meanwhile it received nothing, so clients did not miss their heartbeats.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// The delay of a check from which on it counts as a pause. A shorter delay is a busy machine.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The synchronization of callers that use ids.
#[derive(Debug)]
pub(super) struct HeartbeatSync {
    /// Notified when a deadline may be earlier than the one that the task waits for.
    earlier: Notify,
    /// An id is looked up or taken over by one caller at a time. Ids with the same hash share a lock.
    lookup_locks: [Mutex<()>; LOOKUP_LOCKS],
    hash: RandomState,
}

impl Default for HeartbeatSync {
    fn default() -> Self {
        Self { earlier: Notify::new(), lookup_locks: std::array::from_fn(|_| Mutex::new(())), hash: RandomState::new() }
    }
}

/// Ends a registration whose future is dropped.
struct CancelGuard<'r> {
    registry: &'r Registry,
    id: &'r str,
    claim: ClaimId,
    finished: bool,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let (only, reason) = (Some(self.claim), RemovalReason::Deregistered);
            drop(self.registry.lock().end_heartbeat_claim(self.id, only, reason));
        }
    }
}

impl Registry {
    /// Registers an instance under an id. The registration lives as long as [`Registry::heartbeat`] is called with the
    /// id, at any node, at least every `ttl`. Dropping the future cancels it.
    pub async fn register_with_heartbeat(
        self: &Arc<Self>,
        id: &str,
        instance: Instance,
        ttl: Duration,
    ) -> Result<(), RegisterError> {
        if !ids::is_id(id) {
            return Err(RegisterError::Rejected(format!(
                "{id:?} is not a valid id; use 1 to {} visible ASCII characters without a slash",
                ids::ID_MAX
            )));
        }
        let value = instance.entry.encode().into();
        let record = IdRecord { key: instance.key, value, mirror: instance.mirror, ttl };
        let (claim, completion) = self.lock().register_with_heartbeat(id, record, Instant::now())?;
        let mut guard = CancelGuard { registry: self, id, claim, finished: false };
        self.heartbeat_sync.earlier.notify_one();
        self.wait_visible(completion).await?;
        guard.finished = true;
        Ok(())
    }

    /// Renews the deadline of an id. `Ok(false)`: no node holds this id, and none will. After an error the client
    /// should repeat the heartbeat; if the store did not respond in time, this node may hold the claim already and
    /// write it later.
    pub async fn heartbeat(self: &Arc<Self>, id: &str) -> Result<bool, RegisterError> {
        if !ids::is_id(id) {
            return Ok(false);
        }
        if self.lock().heartbeat(id, Instant::now())? {
            return Ok(true);
        }
        let _lock = self.lookup_lock(id).await?;
        // Another heartbeat may have taken the id over meanwhile.
        if self.lock().heartbeat(id, Instant::now())? {
            return Ok(true);
        }
        let Some(record) = self.lookup(id).await? else { return Ok(false) };
        let (_, completion) = self.lock().register_with_heartbeat(id, record, Instant::now())?;
        self.heartbeat_sync.earlier.notify_one();
        // If this fails the claim stays until its deadline: its client is alive, and the writer retries.
        self.wait_visible(completion).await.map(|()| true)
    }

    /// Ends the registration of an id, whichever node holds it. `Ok(false)`: no node holds this id.
    ///
    /// After [`RegisterError::Unavailable`], a claim of this node is ended and its entry is removed when the store
    /// recovers; a claim of another node stays registered until it is deregistered or misses its heartbeats.
    pub async fn deregister(self: &Arc<Self>, id: &str) -> Result<bool, RegisterError> {
        if !ids::is_id(id) {
            return Ok(false);
        }
        // A takeover under way finishes first.
        let _lock = self.lookup_lock(id).await?;
        let record_state = self.lock().record_state(id);
        let pending = match record_state {
            RecordState::Present => None,
            RecordState::Pending(completion) => Some(completion),
            RecordState::NotHeld => {
                // This node takes the claim over first, so that the node that holds it does not put the entry again.
                let Some(record) = self.lookup(id).await? else { return Ok(false) };
                let (_, completion) = self.lock().register_with_heartbeat(id, record, Instant::now())?;
                self.heartbeat_sync.earlier.notify_one();
                Some(completion)
            }
        };
        if let Some(completion) = pending {
            self.wait_visible(completion).await?;
        }
        let ended = self.lock().end_heartbeat_claim(id, None, RemovalReason::Deregistered);
        match ended {
            Some(completion) => self.wait_visible(completion).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// The number of claims that are held by heartbeats.
    pub fn heartbeat_claims(&self) -> usize {
        self.lock().heartbeat_claims()
    }

    /// Reads the record of an id from the store.
    async fn lookup(&self, id: &str) -> Result<Option<IdRecord>, RegisterError> {
        let key = ids::key(id);
        let unavailable = |reason: String| RegisterError::Unavailable(reason);
        let listing = timeout(self.settings.deadline, self.store.list(key.as_bytes()))
            .await
            .map_err(|_| unavailable(format!("no response within {:?}", self.settings.deadline)))?
            .map_err(|error| unavailable(error.to_string()))?;
        let found = listing.items.into_iter().find(|item| item.key == key);
        Ok(found.and_then(|item| IdRecord::parse(&item.value, &self.settings.layout)))
    }

    async fn lookup_lock(&self, id: &str) -> Result<MutexGuard<'_, ()>, RegisterError> {
        let index = self.heartbeat_sync.hash.hash_one(id) % LOOKUP_LOCKS as u64;
        let lookup_lock = &self.heartbeat_sync.lookup_locks[usize::try_from(index).unwrap_or_default()];
        timeout(self.settings.deadline, lookup_lock.lock())
            .await
            .map_err(|_| RegisterError::Unavailable("too many concurrent lookups of ids".to_owned()))
    }
}

/// Ends claims whose heartbeat deadline has passed, until the registry stops.
pub(super) async fn expire_overdue(registry: Arc<Registry>) {
    loop {
        let next = registry.lock().next_deadline();
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
        let is_stopping = {
            let mut state = registry.lock();
            if late >= PAUSE_MIN {
                tracing::warn!(?late, "this process was paused; postponing all heartbeat deadlines");
                state.postpone_deadlines(late);
            }
            state.expire_heartbeats(Instant::now());
            state.is_stopping()
        };
        if is_stopping {
            return std::future::pending().await;
        }
    }
}
