//! Guarantees for clients without a connection: heartbeats, and ids that any node accepts.

use crate::promises::{ENTRIES, Node, Stores, instance, instance_with_mirror, mirror, mirrors_become};
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
/// The interval in which a heartbeat has to arrive. A busy machine delays one, but not for as long.
const HEARTBEAT_TTL: Duration = Duration::from_secs(4);
/// The interval of heartbeats that two nodes receive in turn: each receives one after its own deadline has passed.
const TURN_INTERVAL: Duration = Duration::from_millis(2200);
const RECORDS: &[u8] = b"/skyhound/ids/";

async fn records(store: &Arc<dyn Store>) -> usize {
    store.list(RECORDS).await.expect("the store answers").items.len()
}

/// Waits until neither the node nor the store holds anything.
async fn becomes_empty(node: &Node) {
    wait_until(SOON, async || {
        let entries = node.store.list(ENTRIES).await.map_err(|e| e.to_string())?.items.len();
        let left = (entries, records(&node.store).await, node.registry.claims(), node.registry.entries());
        let heartbeat_claims = node.registry.heartbeat_claims();
        if (left, heartbeat_claims) == ((0, 0, 0, 0), 0) { Ok(()) } else { Err(format!("{left:?} {heartbeat_claims}")) }
    })
    .await;
}

pub(crate) async fn heartbeats_keep_an_entry_and_their_absence_expires_it(stores: Stores) {
    let node = Node::start(&stores.one).await;
    node.registry.register_with_heartbeat("a", instance(80, 1), HEARTBEAT_TTL).await.expect("a store that answers");
    let (key, tombstone_key) = (instance(80, 1).key, Tombstone::key(&Layout::new("/skydns")));
    let before = node.stored(&key).expect("visible when it returns").revision;
    assert_eq!(records(&node.store).await, 1);
    holds_for(HEARTBEAT_TTL * 2, async || {
        let heartbeat = node.registry.heartbeat("a").await;
        // A heartbeat writes nothing.
        let revision = node.stored(&key).map(|found| found.revision);
        if (&heartbeat, revision) == (&Ok(true), Some(before)) {
            Ok(())
        } else {
            Err(format!("{heartbeat:?} {revision:?}"))
        }
    })
    .await;

    let mut feed = stores.two.feed(b"/skydns/", before).await.expect("the store answers");
    let batch = tokio::time::timeout(SOON, feed.next()).await.expect("it expires").expect("the feed goes on");
    assert!(batch.changes.contains(&Change::Delete(key.clone())), "{batch:?}");
    let tombstone = batch.changes.iter().find_map(|change| match change {
        Change::Put(item) if item.key == tombstone_key => Some(Tombstone::parse(&item.value)),
        _ => None,
    });
    assert_eq!(tombstone.expect("the tombstone is in the batch of the removal").reason(&key), RemovalReason::Expired);
    becomes_empty(&node).await;
    assert_eq!(node.registry.heartbeat("a").await, Ok(false));
}

pub(crate) async fn the_last_deregistered_id_removes_the_entry(stores: Stores) {
    let node = Node::start(&stores.one).await;
    for id in ["a", "b", "ab"] {
        node.registry
            .register_with_heartbeat(id, instance_with_mirror(80, 1), LONG)
            .await
            .expect("a store that answers");
    }
    assert_eq!((records(&node.store).await, node.registry.entries()), (3, 1));
    let key = instance(80, 1).key;
    for id in ["a", "b"] {
        assert_eq!(node.registry.deregister(id).await, Ok(true));
        assert!(node.stored(&key).is_some());
        assert_eq!(node.registry.deregister(id).await, Ok(false), "it is gone");
    }
    assert_eq!(node.registry.deregister("ab").await, Ok(true));
    assert_eq!(node.stored(&key), None);
    mirrors_become(&node.store, &[]).await;
    becomes_empty(&node).await;
}

/// A load balancer sends the heartbeats of one client to two nodes in turn, each later than the other's deadline.
pub(crate) async fn heartbeats_at_two_nodes_in_turn_keep_the_entry(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    one.registry
        .register_with_heartbeat("a", instance_with_mirror(80, 1), HEARTBEAT_TTL)
        .await
        .expect("a store that answers");
    let key = instance(80, 1).key;
    two.becomes(&key, Some(1)).await;
    let (finished, missing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let watcher = {
        let (finished, missing, key) = (Arc::clone(&finished), Arc::clone(&missing), key.clone());
        let catalogs = [Arc::clone(&one.catalog), Arc::clone(&two.catalog)];
        tokio::spawn(async move {
            while !finished.load(Ordering::Relaxed) {
                let gone = catalogs.iter().filter(|catalog| catalog.snapshot().entry(&key).is_none()).count();
                missing.fetch_add(gone, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let mut clock = tokio::time::interval(TURN_INTERVAL);
    clock.tick().await;
    for turn in 0..5 {
        clock.tick().await;
        let node = [&two, &one][turn % 2];
        assert_eq!(node.registry.heartbeat("a").await, Ok(true), "turn {turn}");
    }
    finished.store(true, Ordering::Relaxed);
    watcher.await.expect("no panic");
    assert_eq!(missing.load(Ordering::Relaxed), 0, "the entry was missing for a moment");
    mirrors_become(&one.store, &[mirror("service/web/127.0.0.1", "127.0.0.1:80")]).await;
    // Without heartbeats, the node that received the last one removes the entry.
    becomes_empty(&one).await;
    becomes_empty(&two).await;
    mirrors_become(&one.store, &[]).await;
}

pub(crate) async fn any_node_deregisters_an_id(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    one.registry.register_with_heartbeat("a", instance(80, 1), LONG).await.expect("a store that answers");
    let key = instance(80, 1).key;
    assert_eq!(two.registry.deregister("a").await, Ok(true));
    assert_eq!(two.stored(&key), None, "gone when it returns");
    one.becomes(&key, None).await;
    becomes_empty(&one).await;
    assert_eq!(one.registry.heartbeat("a").await, Ok(false), "nothing is put again");
    assert_eq!(one.stored(&key), None);
}

/// One claim is taken over, another one on the same entry is active and puts the entry again.
pub(crate) async fn a_claim_outlives_an_id_that_another_node_took_over(stores: Stores) {
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
    one.becomes(&socket.instance().key, Some(1)).await;
    socket.release(RemovalReason::Deregistered).await.expect("a store that answers");
    becomes_empty(&one).await;
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
    assert!(node.stored(&key).is_some(), "it stays until its lease expires");
    assert_eq!(node.registry.heartbeat("a").await, Ok(true));
    assert_ne!(node.lease_of(&key).await, left, "this node took it over");
    node.registry.stop(SOON).await;

    // No node was running for longer than the entry's lease TTL.
    node.store.revoke(node.lease_of(&key).await).await.expect("the store answers");
    let node = Node::start(&stores.one).await;
    assert_eq!(node.stored(&key), None);
    assert_eq!(node.registry.heartbeat("a").await, Ok(true));
    assert!(node.stored(&key).is_some(), "a heartbeat is enough");
    assert_eq!(node.registry.deregister("a").await, Ok(true));
    becomes_empty(&node).await;
}

pub(crate) async fn concurrent_heartbeats_take_an_id_over_once(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    one.registry.register_with_heartbeat("a", instance(80, 1), LONG).await.expect("a store that answers");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let registry = Arc::clone(&two.registry);
        tasks.spawn(async move { registry.heartbeat("a").await });
    }
    assert!(tasks.join_all().await.into_iter().all(|result| result == Ok(true)));
    assert_eq!(two.registry.stats().puts.load(Ordering::Relaxed), 1);

    // Deregistrations among heartbeats: all of them succeed, and at least one ends the registration.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let registry = Arc::clone(&one.registry);
        tasks.spawn(async move { registry.deregister("a").await });
        let registry = Arc::clone(&one.registry);
        tasks.spawn(async move { registry.heartbeat("a").await.map(|_| false) });
    }
    let deregistrations = tasks.join_all().await.into_iter().map(|ended| ended.expect("a store that answers"));
    assert!(deregistrations.filter(|ended| *ended).count() >= 1);
    assert_eq!(one.registry.deregister("a").await.map(|_| ()), Ok(()));
    becomes_empty(&one).await;
}

/// A store that can be made unavailable.
#[derive(Debug)]
struct Switch {
    store: Arc<dyn Store>,
    unavailable: AtomicBool,
    calls: AtomicUsize,
}

impl Switch {
    fn new(store: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store: Arc::clone(store), unavailable: AtomicBool::new(false), calls: AtomicUsize::new(0) })
    }

    fn set_unavailable(&self, unavailable: bool) {
        self.unavailable.store(unavailable, Ordering::Relaxed);
    }

    fn count_call(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.unavailable.load(Ordering::Relaxed) {
            return Err(StoreError::Unreachable("switched off by the test".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Switch {
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError> {
        self.count_call()?;
        self.store.list(prefix).await
    }
    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        self.count_call()?;
        self.store.commit(writes).await
    }
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.count_call()?;
        self.store.grant(ttl).await
    }
    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        self.count_call()?;
        self.store.renew(leases).await
    }
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.count_call()?;
        self.store.revoke(lease).await
    }
    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError> {
        self.count_call()?;
        self.store.feed(prefix, after).await
    }
    async fn status(&self) -> Result<Status, StoreError> {
        self.count_call()?;
        self.store.status().await
    }
}

fn assert_unavailable(result: &Result<bool, RegisterError>) {
    assert!(matches!(result, Err(RegisterError::Unavailable(_))), "{result:?}");
}

pub(crate) async fn an_unavailable_store_affects_only_ids_of_other_nodes(stores: Stores) {
    let other = Node::start(&stores.two).await;
    let switch = Switch::new(&stores.one);
    let store: Arc<dyn Store> = switch.clone();
    let node = Node::with_deadline(&store, Duration::from_millis(500)).await;
    for (id, port) in [("a", 80), ("b", 81)] {
        node.registry.register_with_heartbeat(id, instance(port, 1), LONG).await.expect("a store that answers");
    }
    other.registry.register_with_heartbeat("c", instance(82, 1), LONG).await.expect("a store that answers");
    let key: fn(u16) -> Key = |port| instance(port, 1).key;

    switch.set_unavailable(true);
    assert_eq!(node.registry.heartbeat("a").await, Ok(true), "held by this node");
    assert_unavailable(&node.registry.deregister("b").await);
    assert_unavailable(&node.registry.heartbeat("c").await);
    assert_unavailable(&node.registry.deregister("c").await);
    switch.set_unavailable(false);
    other.becomes(&key(81), None).await;
    assert!(other.stored(&key(80)).is_some() && other.stored(&key(82)).is_some());
    assert_eq!(node.registry.heartbeat("b").await, Ok(false), "it was removed when the store was available again");
    assert_eq!(node.registry.heartbeat("c").await, Ok(true));
    wait_until(SOON, async || if other.registry.heartbeat_claims() == 0 { Ok(()) } else { Err("not taken over") })
        .await;
}

pub(crate) async fn an_invalid_id_causes_no_store_call(stores: Stores) {
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
