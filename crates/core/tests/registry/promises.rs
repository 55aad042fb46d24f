//! Guarantees for claims that a connection holds, on any store.

use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, StoredEntry};
use skyhound_core::registry::{MAX_PERSISTENT, RegisterError, Registry, RegistrySettings};
use skyhound_model::removal::{RemovalReason, Tombstone};
use skyhound_model::{Instance, Key, Layout, MirrorKey, Naming, Registration};
use skyhound_store::{Change, LeaseId, Op, Store, Write};
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The prefix of all entries of these tests. The tombstone is stored outside of it.
pub(crate) const ENTRIES: &[u8] = b"/skydns/local/";
/// The number of repetitions of a race.
const RACES: usize = 1000;

/// One store as seen by two nodes: two connections, if it has connections.
pub(crate) struct Stores {
    pub(crate) one: Arc<dyn Store>,
    pub(crate) two: Arc<dyn Store>,
}

/// A node without its network: catalog and registry on a store.
pub(crate) struct Node {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<Registry>,
    follower: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Node {
    pub(crate) async fn start(store: &Arc<dyn Store>) -> Self {
        // A disk may take seconds for a commit while other tests write.
        Self::with_deadline(store, SOON).await
    }

    /// A node with a deadline for its store.
    pub(crate) async fn with_deadline(store: &Arc<dyn Store>, deadline: Duration) -> Self {
        let catalog = Catalog::new(Keyspace::from(Layout::new("/skydns")));
        let settings = RegistrySettings {
            ttl: Duration::from_secs(30),
            deadline,
            max_persistent: MAX_PERSISTENT,
            layout: Layout::new("/skydns"),
        };
        let registry = Registry::start(Arc::clone(store), Arc::clone(&catalog), settings);
        let follow = Follow { store: Arc::clone(store), compare_every: COMPARE_EVERY };
        let follower = tokio::spawn(follow.run(Arc::clone(&catalog)));
        tokio::time::timeout(SOON, catalog.ready()).await.expect("the store can be read");
        Self { store: Arc::clone(store), catalog, registry, follower }
    }

    /// The entry of a key in this node's snapshot.
    pub(crate) fn stored(&self, key: &Key) -> Option<Arc<StoredEntry>> {
        self.catalog.snapshot().entry(key).cloned()
    }

    pub(crate) async fn lease_of(&self, key: &Key) -> LeaseId {
        let listing = self.store.list(key.as_bytes()).await.expect("the store answers");
        listing.items[0].lease.expect("it is on a lease")
    }

    async fn remove_manually(&self, key: &Key) {
        let delete = Write { guards: Vec::new(), ops: vec![Op::Delete { key: key.clone() }] };
        self.store.commit(vec![delete]).await.expect("the store answers");
    }

    /// Waits until this node's snapshot has an entry with this weight, or none.
    pub(crate) async fn becomes(&self, key: &Key, weight: Option<u16>) {
        wait_until(SOON, async || {
            let weight_now = self.stored(key).map(|stored| stored.entry.weight);
            if weight_now == weight { Ok(()) } else { Err(format!("{weight_now:?} instead of {weight:?}")) }
        })
        .await;
    }
}

pub(crate) fn instance(port: u16, weight: u16) -> Instance {
    let naming = Naming {
        root: "skydns.local".parse().expect("a name"),
        layout: Layout::new("/skydns"),
        default_category: "services".into(),
        default_ttl: 30,
    };
    let registration =
        Registration { service: "web".into(), port, weight: Some(weight), frontend: "test", ..Registration::default() };
    registration.accept(&naming, IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a good registration")
}

/// The same instance with a mirror key in hound-dog's layout.
pub(crate) fn instance_with_mirror(port: u16, weight: u16) -> Instance {
    let keys = [Key::from("service/web/127.0.0.1"), Key::from(format!("service/web/127.0.0.1:{port}"))];
    let value = format!("127.0.0.1:{port}").into();
    Instance { mirror: Some(MirrorKey { keys, value }), ..instance(port, weight) }
}

/// The mirror keys in a store, with their values.
async fn mirrors(store: &Arc<dyn Store>) -> Vec<(String, String)> {
    let listing = store.list(b"service/").await.expect("the store answers");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    listing.items.iter().map(|item| (item.key.to_string(), text(&item.value))).collect()
}

pub(crate) fn mirror(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

pub(crate) async fn mirrors_become(store: &Arc<dyn Store>, wanted: &[(String, String)]) {
    wait_until(SOON, async || {
        let current = mirrors(store).await;
        if current == wanted { Ok(()) } else { Err(format!("{current:?}")) }
    })
    .await;
}

fn count(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) async fn a_registered_instance_is_visible_at_once(stores: Stores) {
    let node = Node::start(&stores.one).await;
    for port in 1..=20 {
        let claim = node.registry.register(instance(port, 7)).await.expect("a store that answers");
        let found = node.stored(&claim.instance().key).expect("visible when it returns");
        assert_eq!((found.entry.port, found.entry.weight), (port, 7));
        claim.release(RemovalReason::Deregistered).await.expect("a store that answers");
    }
}

pub(crate) async fn a_released_entry_is_gone_at_once(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let claim = node.registry.register(instance(80, 1)).await.expect("a store that answers");
    let key = claim.instance().key.clone();
    claim.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(node.stored(&key), None, "removed when it returns");
    assert!(node.store.list(ENTRIES).await.expect("the store answers").items.is_empty());
    assert_eq!((node.registry.claims(), node.registry.entries()), (0, 0));

    let dropped = node.registry.register(instance(81, 1)).await.expect("a store that answers");
    let key = dropped.instance().key.clone();
    drop(dropped);
    node.becomes(&key, None).await;
}

/// The feed delivers a removal and its reason in one batch, so that every node reports the same.
pub(crate) async fn a_removal_carries_its_reason(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let tombstone_key = Tombstone::key(&Layout::new("/skydns"));
    let after = node.store.status().await.expect("the store answers").revision;
    let mut feed = stores.two.feed(b"/skydns/", after).await.expect("the store answers");
    for (port, why) in
        [(80, RemovalReason::Deregistered), (81, RemovalReason::Expired), (82, RemovalReason::Deregistered)]
    {
        let claim = node.registry.register(instance(port, 1)).await.expect("a store that answers");
        let key = claim.instance().key.clone();
        claim.release(why).await.expect("a store that answers");
        let removal = tokio::time::timeout(SOON, async {
            loop {
                let batch = feed.next().await.expect("the feed goes on");
                if batch.changes.contains(&Change::Delete(key.clone())) {
                    break batch;
                }
            }
        });
        let batch = removal.await.expect("the feed delivers the removal");
        let tombstone = batch.changes.iter().find_map(|change| match change {
            Change::Put(item) if item.key == tombstone_key => Some((Tombstone::parse(&item.value), item.lease)),
            _ => None,
        });
        let (tombstone, lease) = tombstone.expect("the tombstone is in the batch of the removal");
        assert_eq!((tombstone.reason(&key), lease), (why, None), "port {port}");
    }
}

pub(crate) async fn an_identical_registration_writes_nothing(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let first = node.registry.register(instance(80, 1)).await.expect("a store that answers");
    let puts = count(&node.registry.stats().puts);
    let second = node.registry.register(instance(80, 1)).await.expect("a store that answers");
    first.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(count(&node.registry.stats().puts), puts);
    assert_eq!(count(&node.registry.stats().deletes), 0);
    assert!(node.stored(&second.instance().key).is_some());
}

pub(crate) async fn the_last_released_claim_removes_the_entry(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(node.registry.register(instance(80, 1)).await.expect("a store that answers"));
    }
    let key = workers[0].instance().key.clone();
    while let Some(worker) = workers.pop() {
        assert!(node.stored(&key).is_some(), "{} workers are left", workers.len() + 1);
        worker.release(RemovalReason::Deregistered).await.expect("a store that answers");
    }
    assert_eq!(node.stored(&key), None);
}

/// An old connection closes while the same process registers again: in either order, the entry stays.
async fn race(old_node: &Node, new_node: &Node) {
    let mut old = old_node.registry.register(instance(80, 1)).await.expect("a store that answers");
    let key = old.instance().key.clone();
    let (finished, missing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let watcher = {
        let (catalog, key) = (Arc::clone(&new_node.catalog), key.clone());
        let (finished, missing) = (Arc::clone(&finished), Arc::clone(&missing));
        new_node.becomes(&key, Some(1)).await;
        tokio::spawn(async move {
            while !finished.load(Ordering::Relaxed) {
                if catalog.snapshot().entry(&key).is_none() {
                    missing.store(true, Ordering::Relaxed);
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let nodes = [new_node, old_node];
    for turn in 0..RACES {
        let new = nodes[turn % 2].registry.register(instance(80, 1)).await.expect("a store that answers");
        // The old claim ends late, while the next registration is under way.
        let closing = tokio::spawn(old.release(RemovalReason::Deregistered));
        assert!(nodes[turn % 2].stored(&key).is_some());
        if turn % 3 == 0 {
            closing.await.expect("no panic").expect("a store that answers");
        }
        old = new;
    }
    finished.store(true, Ordering::Relaxed);
    watcher.await.expect("no panic");
    assert!(!missing.load(Ordering::Relaxed), "the entry was missing for a moment");
    assert_eq!(old_node.store.list(key.as_bytes()).await.expect("the store answers").items.len(), 1);
    old.release(RemovalReason::Deregistered).await.expect("a store that answers");
    old_node.becomes(&key, None).await;
}

pub(crate) async fn a_late_release_removes_nothing_newer(stores: Stores) {
    let node = Node::start(&stores.one).await;
    race(&node, &node).await;
}

pub(crate) async fn a_late_release_at_another_node_removes_nothing_newer(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    race(&one, &two).await;
}

pub(crate) async fn the_last_set_value_describes_the_entry(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let first = node.registry.register(instance(80, 1)).await.expect("a store that answers");
    let second = node.registry.register(instance(80, 2)).await.expect("a store that answers");
    let key = first.instance().key.clone();
    node.becomes(&key, Some(2)).await;
    second.release(RemovalReason::Deregistered).await.expect("a store that answers");
    node.becomes(&key, Some(1)).await;
}

pub(crate) async fn a_manually_removed_entry_is_put_again(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let claim = node.registry.register(instance(80, 5)).await.expect("a store that answers");
    let before = node.stored(&claim.instance().key).expect("registered").revision;
    node.remove_manually(&claim.instance().key).await;
    wait_until(SOON, async || match node.stored(&claim.instance().key) {
        Some(found) if found.revision > before => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert_eq!(count(&node.registry.stats().lost), 1);
}

pub(crate) async fn entries_of_a_lost_lease_are_put_again(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let mut claims = Vec::new();
    for port in 1..=250 {
        claims.push(node.registry.register(instance(port, 5)).await.expect("a store that answers"));
    }
    let lost = node.lease_of(&claims[0].instance().key).await;
    node.store.revoke(lost).await.expect("the store answers");
    wait_until(SOON, async || {
        let listing = node.store.list(ENTRIES).await.map_err(|e| e.to_string())?;
        let renewed = listing.items.iter().filter(|item| item.lease.is_some_and(|l| l != lost)).count();
        if renewed == 250 { Ok(()) } else { Err(format!("{renewed} of 250")) }
    })
    .await;
}

pub(crate) async fn an_entry_put_again_replaces_nothing_newer(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    let old = one.registry.register(instance(80, 1)).await.expect("a store that answers");
    let key = old.instance().key.clone();
    let lease = one.lease_of(&key).await;
    let new = two.registry.register(instance(80, 2)).await.expect("a store that answers");
    // Another entry on the same lease shows when the loss has been noticed and repaired.
    let witness = one.registry.register(instance(81, 1)).await.expect("a store that answers");
    one.store.revoke(lease).await.expect("the store answers");
    wait_until(SOON, async || {
        let listing = one.store.list(witness.instance().key.as_bytes()).await.map_err(|e| e.to_string())?;
        let repaired = listing.items.iter().any(|item| item.lease != Some(lease));
        if repaired { Ok(()) } else { Err("the witness is not put again".to_owned()) }
    })
    .await;
    one.becomes(&key, Some(2)).await;
    old.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(two.stored(&key).map(|stored| stored.entry.weight), Some(2));
    new.release(RemovalReason::Deregistered).await.expect("a store that answers");
    one.becomes(&key, None).await;
}

pub(crate) async fn a_claim_puts_an_entry_again_that_another_node_removed(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    let first = one.registry.register(instance(80, 1)).await.expect("a store that answers");
    let key = first.instance().key.clone();
    let second = two.registry.register(instance(80, 2)).await.expect("a store that answers");
    one.becomes(&key, Some(2)).await;
    second.release(RemovalReason::Deregistered).await.expect("a store that answers");
    one.becomes(&key, Some(1)).await;
    two.becomes(&key, Some(1)).await;
}

pub(crate) async fn a_burst_is_written_in_group_commits(stores: Stores) {
    const BURST: u16 = 1000;
    let node = Node::start(&stores.one).await;
    let mut burst = tokio::task::JoinSet::new();
    for port in 1..=BURST {
        let registry = Arc::clone(&node.registry);
        burst.spawn(async move { registry.register(instance(port, 1)).await });
    }
    let claims: Vec<_> = burst.join_all().await.into_iter().map(|c| c.expect("a store that answers")).collect();
    assert_eq!(node.catalog.snapshot().root().entries(), usize::from(BURST));
    let commits = count(&node.registry.stats().commits);
    assert!(commits < u64::from(BURST) / 4, "{commits} commits for {BURST} registrations");
    assert_eq!(node.registry.leases(), 1, "1,000 entries fit on one lease");
    let more = node.registry.register(instance(BURST + 1, 1)).await.expect("a store that answers");
    assert_eq!(node.registry.leases(), 2);
    drop((claims, more));
    wait_until(SOON, async || match node.store.list(ENTRIES).await {
        Ok(listing) if listing.items.is_empty() => Ok(()),
        other => Err(format!("{:?} are left", other.map(|listing| listing.items.len()))),
    })
    .await;
}

pub(crate) async fn a_cancelled_registration_leaves_nothing(stores: Stores) {
    let node = Node::start(&stores.one).await;
    for step in 0..200 {
        let registration = node.registry.register(instance(80, step));
        // A client that disconnects at any moment of its registration.
        let _ = tokio::time::timeout(Duration::from_micros(u64::from(step) * 20), registration).await;
    }
    wait_until(SOON, async || {
        let left = node.store.list(ENTRIES).await.map_err(|e| e.to_string())?.items.len();
        let held = (left, node.registry.claims(), node.registry.entries());
        if held == (0, 0, 0) { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
}

pub(crate) async fn an_update_keeps_the_key(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let mut claim = node.registry.register(instance(80, 1)).await.expect("a store that answers");
    let mut entry = claim.instance().entry.clone();
    (entry.weight, entry.priority) = (u16::MAX, 3);
    claim.update(entry).await.expect("a store that answers");
    let found = node.stored(&claim.instance().key).expect("it is still there");
    assert_eq!((found.entry.weight, found.entry.priority), (u16::MAX, 3));
    let key = claim.instance().key.clone();
    claim.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(node.stored(&key), None);
}

pub(crate) async fn a_planned_stop_keeps_entries_left_to_their_lease(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    let left = one.registry.register(instance(80, 1)).await.expect("a store that answers");
    let released = one.registry.register(instance(81, 1)).await.expect("a store that answers");
    let (stays, goes) = (left.instance().key.clone(), released.instance().key.clone());
    left.leave_to_lease();
    drop(released);
    one.registry.stop(SOON).await;
    two.becomes(&goes, None).await;
    assert!(two.stored(&stays).is_some());
    let back = two.registry.register(instance(80, 1)).await.expect("a store that answers");
    back.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(two.stored(&stays), None, "the node of the new claim owns the entry");
}

pub(crate) async fn a_stopped_registry_rejects_registrations(stores: Stores) {
    let node = Node::start(&stores.one).await;
    node.registry.stop(SOON).await;
    let refused = node.registry.register(instance(80, 1)).await.map(|_| ());
    assert_eq!(refused, Err(RegisterError::Stopping));
}

pub(crate) async fn a_mirror_is_put_and_removed_with_its_entry(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let mut first = node.registry.register(instance_with_mirror(80, 1)).await.expect("a store that answers");
    let stored_mirrors = node.store.list(b"service/").await.expect("the store answers").items;
    let entry = node.stored(&first.instance().key).expect("registered");
    assert_eq!(stored_mirrors[0].revision, entry.revision, "one transaction");
    assert_eq!(stored_mirrors[0].lease, Some(node.lease_of(&first.instance().key).await), "one lease");

    let mut entry = first.instance().entry.clone();
    entry.weight = 9;
    first.update(entry).await.expect("a store that answers");
    let after = node.store.list(b"service/").await.expect("the store answers").items;
    assert_eq!(after, stored_mirrors, "an update does not write it again");

    let second = node.registry.register(instance_with_mirror(81, 1)).await.expect("a store that answers");
    let both = [mirror("service/web/127.0.0.1", "127.0.0.1:80"), mirror("service/web/127.0.0.1:81", "127.0.0.1:81")];
    assert_eq!(mirrors(&node.store).await, both, "two ports at one address");
    first.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(mirrors(&node.store).await, both[1..]);
    second.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(mirrors(&node.store).await, []);
    assert_eq!((node.registry.claims(), node.registry.entries()), (0, 0));
}

pub(crate) async fn a_mirror_stays_while_a_claim_wants_it(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let plain = node.registry.register(instance(80, 1)).await.expect("a store that answers");
    let with = node.registry.register(instance_with_mirror(80, 1)).await.expect("a store that answers");
    assert_eq!(mirrors(&node.store).await, [mirror("service/web/127.0.0.1", "127.0.0.1:80")]);
    with.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(mirrors(&node.store).await, []);
    assert!(node.stored(&plain.instance().key).is_some());
}

pub(crate) async fn mirrors_of_a_burst_at_one_address_have_a_key_each(stores: Stores) {
    const BURST: u16 = 150;
    let node = Node::start(&stores.one).await;
    let mut burst = tokio::task::JoinSet::new();
    for port in 1..=BURST {
        let registry = Arc::clone(&node.registry);
        burst.spawn(async move { registry.register(instance_with_mirror(port, 1)).await });
    }
    let claims: Vec<_> = burst.join_all().await.into_iter().map(|c| c.expect("a store that answers")).collect();
    let current = mirrors(&node.store).await;
    let values: std::collections::BTreeSet<_> = current.iter().map(|(_, value)| value).collect();
    assert_eq!((current.len(), values.len()), (usize::from(BURST), usize::from(BURST)), "each once");
    drop(claims);
    mirrors_become(&node.store, &[]).await;
}

pub(crate) async fn an_overwritten_mirror_is_not_removed(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let key = Key::from("service/web/127.0.0.1");
    let claim = node.registry.register(instance_with_mirror(80, 1)).await.expect("a store that answers");
    let put = Op::Put { key, value: "http://127.0.0.1:80".into(), lease: None };
    node.store.commit(vec![Write { guards: Vec::new(), ops: vec![put] }]).await.expect("the store answers");
    claim.release(RemovalReason::Deregistered).await.expect("a store that answers");
    let overwritten = mirror("service/web/127.0.0.1", "http://127.0.0.1:80");
    assert_eq!(mirrors(&node.store).await, std::slice::from_ref(&overwritten));

    // A new registration uses its second key, and its entry does not count as superseded.
    let claim = node.registry.register(instance_with_mirror(80, 1)).await.expect("a store that answers");
    assert!(node.stored(&claim.instance().key).is_some());
    assert_eq!(mirrors(&node.store).await, [overwritten, mirror("service/web/127.0.0.1:80", "127.0.0.1:80")]);
}

pub(crate) async fn a_mirror_is_put_again_with_its_entry(stores: Stores) {
    let node = Node::start(&stores.one).await;
    let claim = node.registry.register(instance_with_mirror(80, 1)).await.expect("a store that answers");
    let lost = node.lease_of(&claim.instance().key).await;
    node.store.revoke(lost).await.expect("the store answers");
    mirrors_become(&node.store, &[mirror("service/web/127.0.0.1", "127.0.0.1:80")]).await;
}

/// One instance at two nodes, and after a restart: readers of the mirror see it once.
pub(crate) async fn a_mirror_moves_with_its_entry_to_another_node(stores: Stores) {
    let (one, two) = (Node::start(&stores.one).await, Node::start(&stores.two).await);
    let expected = [mirror("service/web/127.0.0.1", "127.0.0.1:80")];
    let old = one.registry.register(instance_with_mirror(80, 1)).await.expect("a store that answers");
    let new = two.registry.register(instance_with_mirror(80, 2)).await.expect("a store that answers");
    assert_eq!(mirrors(&two.store).await, expected);
    let key = new.instance().key.clone();
    one.becomes(&key, Some(2)).await;
    new.release(RemovalReason::Deregistered).await.expect("a store that answers");
    // The claim at the first node is active: entry and mirror are put again.
    mirrors_become(&one.store, &expected).await;
    let new = two.registry.register(instance_with_mirror(80, 2)).await.expect("a store that answers");
    one.becomes(&key, Some(2)).await;
    old.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(mirrors(&one.store).await, expected, "it is on the other node's lease");
    new.release(RemovalReason::Deregistered).await.expect("a store that answers");
    assert_eq!(mirrors(&two.store).await, []);
}
