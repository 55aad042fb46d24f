//! State that the peers of this node share: the holders of each id, and the removal of an id that another peer holds.
//!
//! Several daemons on one store are one hub, and they communicate through the store only: no message goes from node to
//! node. So when a peer frees an id whose holder is connected to another node, this node writes a *freed marker*: an
//! entry at the id's key that is no instance ([`is_freed_marker`]), and releases it a little later. The holder's node
//! reads the marker and gives up its claim; without the marker it would write again the entry that vanished under it.

use super::keys::HubKeys;
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

/// The time within which holders on this node release an id before a freed marker is written.
const RELEASE_GRACE: Duration = Duration::from_secs(1);
/// The lifetime of a freed marker: long enough for every node that follows the store to read it.
const MARKER_LIFETIME: Duration = Duration::from_secs(5);
/// The text of a freed marker.
const FREED_MARKER: &str = "skyhound: freed by a seaport peer";

/// The hub of this node.
#[derive(Debug)]
pub(super) struct SeaportHub {
    pub(super) app: Arc<App>,
    /// The identity of this hub for other hubs: a new one with each start.
    pub(super) id: String,
    /// The interval of heartbeats.
    pub(super) heartbeat: Duration,
    /// `None`: every peer may register.
    pub(super) keys: Option<HubKeys>,
    /// The registry's store has other daemons, which are this hub as well.
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
    /// Reports that another peer freed the id.
    pub(super) fn is_freed(&self) -> bool {
        self.freed.load(Ordering::Acquire)
    }
}

impl SeaportHub {
    /// A hub without holders.
    pub(super) fn new(app: Arc<App>, heartbeat: Duration, keys: Option<HubKeys>, shared: bool) -> Arc<Self> {
        let id = format!("{:032x}", fastrand::u128(..));
        Arc::new(Self { app, id, heartbeat, keys, shared, holders: Mutex::default() })
    }

    /// Adds a peer to the holders of an id; `peer` is notified when another peer frees the id.
    pub(super) fn add_holder(&self, id: &str, peer: &Arc<Notify>) -> Arc<Holder> {
        let holder = Arc::new(Holder { freed: AtomicBool::new(false), peer: Arc::clone(peer) });
        self.lock().entry(id.to_owned()).or_default().push(Arc::clone(&holder));
        holder
    }

    /// Removes a holder of an id.
    pub(super) fn remove_holder(&self, id: &str, holder: &Arc<Holder>) {
        let mut holders = self.lock();
        let Some(id_holders) = holders.get_mut(id) else { return };
        id_holders.retain(|other| !Arc::ptr_eq(other, holder));
        if id_holders.is_empty() {
            holders.remove(id);
        }
    }

    /// The number of peers of this node that hold an id.
    pub(super) fn holders(&self, id: &str) -> usize {
        self.lock().get(id).map_or(0, Vec::len)
    }

    /// Frees an id for all its holders: at once for those on this node, by a freed marker for those on other nodes.
    pub(super) fn free(self: &Arc<Self>, id: &str, stored: Option<Arc<StoredEntry>>) {
        let local_holders = self.lock().get(id).cloned().unwrap_or_default();
        for holder in &local_holders {
            holder.freed.store(true, Ordering::Release);
            holder.peer.notify_one();
        }
        if let Some(stored) = stored {
            let grace = if local_holders.is_empty() { Duration::ZERO } else { RELEASE_GRACE };
            let hub = Arc::clone(self);
            tokio::spawn(async move { hub.put_freed_marker(&stored, grace).await });
        }
    }

    /// Replaces the entry of a freed id by a marker, unless holders on this node remove the entry within `grace`.
    async fn put_freed_marker(&self, stored: &StoredEntry, grace: Duration) {
        let current = || {
            let entry = self.app.catalog.snapshot().entry(&stored.key).cloned();
            entry.filter(|entry| meta::registered_id(entry) == meta::registered_id(stored))
        };
        let mut changed = self.app.catalog.changed();
        let removed = async { while current().is_some() && changed.changed().await.is_ok() {} };
        let in_time = timeout(grace, removed).await.is_ok();
        if in_time || current().is_none() {
            return;
        }
        let Ok(name) = self.app.naming.layout.name(stored.key.as_bytes()) else { return };
        let entry = Entry { text: FREED_MARKER.into(), ..Entry::default() };
        match self.app.registry.register(Instance { name, key: stored.key.clone(), entry, mirror: None }).await {
            Ok(claim) => {
                sleep(MARKER_LIFETIME).await;
                // If the store is unavailable by then, the marker's lease removes it.
                drop(claim.release(RemovalReason::Deregistered).await);
            }
            Err(error) => {
                tracing::warn!(key = %stored.key, %error, "cannot free another peer's service; it stays registered");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Holder>>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports that an entry is the marker of an id that a peer freed.
pub(super) fn is_freed_marker(stored: &StoredEntry) -> bool {
    stored.entry.details.is_none() && &*stored.entry.text == FREED_MARKER
}
