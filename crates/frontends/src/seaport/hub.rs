//! What the peers of this node share: who holds which id, and the end of an id that somebody else holds.
//!
//! Several daemons on one store are one hub, and the store is where they meet: nothing is said from node to node. So
//! when a peer frees an id whose holder is connected elsewhere, this node *buries* it: it puts an entry in its place
//! that is no instance ([`is_freed_marker`]) and lets go of it a little later. Whoever holds the id sees it and gives up its
//! claim, where it would otherwise put again what vanished under it.

use super::keys::Keys;
use super::meta;
use crate::app::App;
use skyhound_core::catalog::StoredEntry;
use skyhound_model::{Entry, Instance, RemovalReason};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long holders on this node have to let go before an id is buried.
const RELEASE_GRACE: Duration = Duration::from_secs(1);
/// How long a buried id stays so: in this time every node that follows the store has seen it.
const MARKER_LIFETIME: Duration = Duration::from_secs(5);
/// What stands at the place of an id that was freed.
const FREED_MARKER: &str = "skyhound: freed by a seaport peer";

/// The hub.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) app: Arc<App>,
    /// Which one this is, by its own word to other hubs: anew with each start.
    pub(super) id: String,
    /// How often each side says that it lives.
    pub(super) heartbeat: Duration,
    /// `None`: everybody may register.
    pub(super) keys: Option<Keys>,
    /// The registry's store has other daemons, and they are this hub as well.
    pub(super) shared: bool,
    holders: Mutex<HashMap<String, Vec<Arc<Holder>>>>,
}

/// One peer's interest in an id.
#[derive(Debug)]
pub(super) struct Holder {
    freed: AtomicBool,
    peer: Arc<Notify>,
}

impl Holder {
    /// Whether somebody else freed it.
    pub(super) fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Acquire)
    }
}

impl Hub {
    /// A hub on these parts.
    pub(super) fn new(app: Arc<App>, heartbeat: Duration, keys: Option<Keys>, shared: bool) -> Arc<Self> {
        let id = format!("{:032x}", fastrand::u128(..));
        Arc::new(Self { app, id, heartbeat, keys, shared, holders: Mutex::default() })
    }

    /// A peer holds an id from now on; it is woken when somebody else frees it.
    pub(super) fn add_holder(&self, id: &str, peer: &Arc<Notify>) -> Arc<Holder> {
        let holder = Arc::new(Holder { freed: AtomicBool::new(false), peer: Arc::clone(peer) });
        self.lock().entry(id.to_owned()).or_default().push(Arc::clone(&holder));
        holder
    }

    /// It does not any more.
    pub(super) fn remove_holder(&self, id: &str, holder: &Arc<Holder>) {
        let mut holders = self.lock();
        let Some(id_holders) = holders.get_mut(id) else { return };
        id_holders.retain(|other| !Arc::ptr_eq(other, holder));
        if id_holders.is_empty() {
            holders.remove(id);
        }
    }

    /// How many peers of this node hold an id.
    pub(super) fn holders(&self, id: &str) -> usize {
        self.lock().get(id).map_or(0, Vec::len)
    }

    /// Frees an id for everybody who holds it.
    pub(super) fn free(self: &Arc<Self>, id: &str, stored: Option<Arc<StoredEntry>>) {
        let here = self.lock().get(id).cloned().unwrap_or_default();
        for holder in &here {
            holder.freed.store(true, Ordering::Release);
            holder.peer.notify_one();
        }
        if let Some(stored) = stored {
            let (hub, wait) = (Arc::clone(self), if here.is_empty() { Duration::ZERO } else { RELEASE_GRACE });
            tokio::spawn(async move { hub.put_freed_marker(&stored, wait).await });
        }
    }

    /// Ends what stands at an id's place, if holders on this node have not done so in time.
    async fn put_freed_marker(&self, stored: &StoredEntry, wait: Duration) {
        let current = || {
            let now = self.app.catalog.snapshot().entry(&stored.key).cloned();
            now.filter(|now| meta::registered_id(now) == meta::registered_id(stored))
        };
        let mut changed = self.app.catalog.changed();
        let gone = async { while current().is_some() && changed.changed().await.is_ok() {} };
        let in_time = timeout(wait, gone).await.is_ok();
        if in_time || current().is_none() {
            return;
        }
        let Ok(name) = self.app.naming.layout.name(stored.key.as_bytes()) else { return };
        let entry = Entry { text: FREED_MARKER.into(), ..Entry::default() };
        match self.app.registry.register(Instance { name, key: stored.key.clone(), entry, mirror: None }).await {
            Ok(claim) => {
                sleep(MARKER_LIFETIME).await;
                // The store may be away by then; it goes with its lease.
                drop(claim.release(RemovalReason::Deregistered).await);
            }
            Err(error) => tracing::warn!(key = %stored.key, %error, "cannot free what another peer registered"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Holder>>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an id that stood here was freed by a peer.
pub(super) fn is_freed_marker(stored: &StoredEntry) -> bool {
    stored.entry.details.is_none() && &*stored.entry.text == FREED_MARKER
}
