//! What the registry promises to peers that hold no socket: heartbeats, and ids that any node accepts.

use crate::promises::{ENTRIES, Node, Stores, become_mirrors, instance, mirror, twofold};
use async_trait::async_trait;
use skyhound_core::registry::RegisterError;
use skyhound_model::removal::{RemovalReason, Tombstone};
use skyhound_model::{Key, Layout};
use skyhound_store::{Change, Commit, Feed, LeaseId, Listing, Revision, Status, Store, StoreError, Write};
use skyhound_test_support::wait::{SOON, holds_for, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);
/// So long a peer may be silent. A busy machine keeps a heartbeat back, but not for as long.
const SILENCE: Duration = Duration::from_secs(4);
/// How often a heartbeat comes where two nodes hear it in turn: each hears one when its own time is over.
const TURN: Duration = Duration::from_millis(2200);
const RECORDS: &[u8] = b"/skyhound/ids/";

async fn records(store: &Arc<dyn Store>) -> usize {
    store.list(RECORDS).await.expect("the store answers").items.len()
}

/// Waits until nothing of it is left, here and in the store.
async fn is_over(node: &Node) {
    wait_until(SOON, async || {
        let entries = node.store.list(ENTRIES).await.map_err(|e| e.to_string())?.items.len();
        let left = (entries, records(&node.store).await, node.registry.claims(), node.registry.entries());
        let beating = node.registry.heartbeat_claims();
        if (left, beating) == ((0, 0, 0, 0), 0) { Ok(()) } else { Err(format!("{left:?} {beating}")) }
    })
    .await;
}

pub(crate) async fn who_beats_stays_and_who_falls_silent_expires(stores: Stores) {
    let node = Node::start(&stores.one).await;
    node.registry.register_with_heartbeat("a", instance(80, 1), SILENCE).await.expect("a store that answers");
    let (key, marker) = (instance(80, 1).key, Tombstone::key(&Layout::new("/skydns")));
    let before = node.knows(&key).expect("visible when it returns").revision;
    assert_eq!(records(&node.store).await, 1);
    holds_for(SILENCE * 2, async || {
        let beat = node.registry.heartbeat("a").await;
        // A heartbeat writes nothing.
        let stands = node.knows(&key).map(|known| known.revision);
        if (&beat, stands) == (&Ok(true), Some(before)) { Ok(()) } else { Err(format!("{beat:?} {stands:?}")) }
    })
    .await;

    let mut feed = stores.two.feed(b"/skydns/", before).await.expect("the store answers");
    let batch = tokio::time::timeout(SOON, feed.next()).await.expect("it expires").expect("the feed goes on");
    assert!(batch.changes.contains(&Change::Delete(key.clone())), "{batch:?}");
    let departed = batch.changes.iter().find_map(|change| match change {
        Change::Put(item) if item.key == marker => Some(Tombstone::parse(&item.value)),
        _ => None,
    });
    assert_eq!(departed.expect("the marker comes with the removal").reason(&key), RemovalReason::Expired);
    is_over(&node).await;
    assert_eq!(node.registry.heartbeat("a").await, Ok(false));
}

pub(crate) async fn the_last_id_to_leave_removes(stores: Stores) {
    let node = Node::start(&stores.one).await;
    for id in ["a", "b", "ab"] {
        node.registry.register_with_heartbeat(id, twofold(80, 1), LONG).await.expect("a store that answers");
    }
    assert_eq!((records(&node.store).await, node.registry.entries()), (3, 1));
    let key = instance(80, 1).key;
    for id in ["a", "b"] {
        assert_eq!(node.registry.deregister(id).await, Ok(true));
        assert!(node.knows(&key).is_some());
        assert_eq!(node.registry.deregister(id).await, Ok(false), "it is gone");
    }
    assert_eq!(node.registry.deregister("ab").await, Ok(true));
    assert_eq!(node.knows(&key), None);
    become_mirrors(&node.store, &[]).await;
    is_over(&node).await;
}

/// A load balancer sends the heartbeats of one peer to two nodes in turn, each later than the other's deadline.
pub(crate) async fn heartbeats_at_two_nodes_in_turn_keep_the_entry(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    one.registry.register_with_heartbeat("a", twofold(80, 1), SILENCE).await.expect("a store that answers");
    let key = instance(80, 1).key;
    two.comes_to_know(&key, Some(1)).await;
    let (over, missing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let watcher = {
        let (over, missing, key) = (Arc::clone(&over), Arc::clone(&missing), key.clone());
        let catalogs = [Arc::clone(&one.catalog), Arc::clone(&two.catalog)];
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let gone = catalogs.iter().filter(|catalog| catalog.snapshot().entry(&key).is_none()).count();
                missing.fetch_add(gone, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let mut clock = tokio::time::interval(TURN);
    clock.tick().await;
    for turn in 0..5 {
        clock.tick().await;
        let node = [&two, &one][turn % 2];
        assert_eq!(node.registry.heartbeat("a").await, Ok(true), "turn {turn}");
    }
    over.store(true, Ordering::Relaxed);
    watcher.await.expect("no panic");
    assert_eq!(missing.load(Ordering::Relaxed), 0, "the entry was missing for a moment");
    become_mirrors(&one.store, &[mirror("service/web/127.0.0.1", "127.0.0.1:80")]).await;
    // No more heartbeats: gone, from the one that had the last.
    is_over(&one).await;
    is_over(&two).await;
    become_mirrors(&one.store, &[]).await;
}

pub(crate) async fn any_node_deregisters(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    one.registry.register_with_heartbeat("a", instance(80, 1), LONG).await.expect("a store that answers");
    let key = instance(80, 1).key;
    assert_eq!(two.registry.deregister("a").await, Ok(true));
    assert_eq!(two.knows(&key), None, "gone when it returns");
    one.comes_to_know(&key, None).await;
    is_over(&one).await;
    assert_eq!(one.registry.heartbeat("a").await, Ok(false), "nothing comes back");
    assert_eq!(one.knows(&key), None);
}

/// One claim is taken over, another on the same entry lives: it puts the entry again.
pub(crate) async fn a_socket_here_outlives_an_id_that_was_taken_over(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    let socket = one.registry.register(instance(80, 1)).await.expect("a store that answers");
    one.registry.register_with_heartbeat("a", instance(80, 1), LONG).await.expect("a store that answers");
    assert_eq!(two.registry.heartbeat("a").await, Ok(true));
    wait_until(SOON, async || match one.registry.heartbeat_claims() {
        0 => Ok(()),
        held => Err(held),
    })
    .await;
    assert_eq!(two.registry.deregister("a").await, Ok(true));
    one.comes_to_know(&socket.instance().key, Some(1)).await;
    socket.release(RemovalReason::Deregistered).await.expect("a store that answers");
    is_over(&one).await;
}

pub(crate) async fn ids_outlive_a_planned_stop_and_a_long_downtime(stores: Stores) {
    let key = instance(80, 1).key;
    let left = {
        let node = Node::start(&stores.one).await;
        node.registry.register_with_heartbeat("a", instance(80, 1), LONG).await.expect("a store that answers");
        node.registry.stop(SOON).await;
        assert_eq!(node.registry.heartbeat("a").await, Err(RegisterError::Stopping));
        node.lease_of(&key).await
    };
    let node = Node::start(&stores.two).await;
    assert!(node.knows(&key).is_some(), "it stays for its lease");
    assert_eq!(node.registry.heartbeat("a").await, Ok(true));
    assert_ne!(node.lease_of(&key).await, left, "it is this node's now");
    node.registry.stop(SOON).await;

    // Nobody was there for longer than the entry's lease.
    node.store.revoke(node.lease_of(&key).await).await.expect("the store answers");
    let node = Node::start(&stores.one).await;
    assert_eq!(node.knows(&key), None);
    assert_eq!(node.registry.heartbeat("a").await, Ok(true));
    assert!(node.knows(&key).is_some(), "a heartbeat is enough");
    assert_eq!(node.registry.deregister("a").await, Ok(true));
    is_over(&node).await;
}

pub(crate) async fn an_id_is_taken_over_once_however_many_ask(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    one.registry.register_with_heartbeat("a", instance(80, 1), LONG).await.expect("a store that answers");
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let registry = Arc::clone(&two.registry);
        asking.spawn(async move { registry.heartbeat("a").await });
    }
    assert!(asking.join_all().await.into_iter().all(|known| known == Ok(true)));
    assert_eq!(two.registry.stats().puts.load(Ordering::Relaxed), 1);

    // A goodbye among heartbeats: each is answered, and one of them ended it.
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let registry = Arc::clone(&one.registry);
        asking.spawn(async move { registry.deregister("a").await });
        let registry = Arc::clone(&one.registry);
        asking.spawn(async move { registry.heartbeat("a").await.map(|_| false) });
    }
    let goodbyes = asking.join_all().await.into_iter().map(|ended| ended.expect("a store that answers"));
    assert!(goodbyes.filter(|ended| *ended).count() >= 1);
    assert_eq!(one.registry.deregister("a").await.map(|_| ()), Ok(()));
    is_over(&one).await;
}

/// A store that can be away.
#[derive(Debug)]
struct Switch {
    store: Arc<dyn Store>,
    away: AtomicBool,
    calls: AtomicUsize,
}

impl Switch {
    fn new(store: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store: Arc::clone(store), away: AtomicBool::new(false), calls: AtomicUsize::new(0) })
    }

    fn turn(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn there(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::Unreachable("it is away".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Switch {
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError> {
        self.there()?;
        self.store.list(prefix).await
    }
    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        self.there()?;
        self.store.commit(writes).await
    }
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.there()?;
        self.store.grant(ttl).await
    }
    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        self.there()?;
        self.store.renew(leases).await
    }
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.there()?;
        self.store.revoke(lease).await
    }
    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError> {
        self.there()?;
        self.store.feed(prefix, after).await
    }
    async fn status(&self) -> Result<Status, StoreError> {
        self.there()?;
        self.store.status().await
    }
}

fn is_unavailable(answer: &Result<bool, RegisterError>) {
    assert!(matches!(answer, Err(RegisterError::Unavailable(_))), "{answer:?}");
}

pub(crate) async fn while_the_store_is_away(stores: Stores) {
    let other = Node::start(&stores.two).await;
    let switch = Switch::new(&stores.one);
    let store: Arc<dyn Store> = switch.clone();
    let node = Node::patient(&store, Duration::from_millis(500)).await;
    for (id, port) in [("a", 80), ("b", 81)] {
        node.registry.register_with_heartbeat(id, instance(port, 1), LONG).await.expect("a store that answers");
    }
    other.registry.register_with_heartbeat("c", instance(82, 1), LONG).await.expect("a store that answers");
    let key: fn(u16) -> Key = |port| instance(port, 1).key;

    switch.turn(true);
    assert_eq!(node.registry.heartbeat("a").await, Ok(true), "known here");
    is_unavailable(&node.registry.deregister("b").await);
    is_unavailable(&node.registry.heartbeat("c").await);
    is_unavailable(&node.registry.deregister("c").await);
    switch.turn(false);
    other.comes_to_know(&key(81), None).await;
    assert!(other.knows(&key(80)).is_some() && other.knows(&key(82)).is_some());
    assert_eq!(node.registry.heartbeat("b").await, Ok(false), "it went as soon as the store was back");
    assert_eq!(node.registry.heartbeat("c").await, Ok(true));
    wait_until(SOON, async || if other.registry.heartbeat_claims() == 0 { Ok(()) } else { Err("not taken over") })
        .await;
}

pub(crate) async fn what_is_no_id_asks_no_store(stores: Stores) {
    let switch = Switch::new(&stores.one);
    let store: Arc<dyn Store> = switch.clone();
    let node = Node::start(&store).await;
    let before = switch.calls.load(Ordering::Relaxed);
    let long = "x".repeat(129);
    for id in ["", "a/b", "a b", "ä", &long] {
        assert_eq!(node.registry.heartbeat(id).await, Ok(false), "{id:?}");
        assert_eq!(node.registry.deregister(id).await, Ok(false), "{id:?}");
        let refused = node.registry.register_with_heartbeat(id, instance(80, 1), LONG).await;
        assert!(matches!(refused, Err(RegisterError::Rejected(_))), "{refused:?}");
    }
    assert_eq!(switch.calls.load(Ordering::Relaxed), before);
}
