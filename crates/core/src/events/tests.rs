use super::*;
use crate::catalog::follow::{COMPARE_EVERY, Follow};
use crate::catalog::{ChangeKind, Keyspace, Revisions, history::WINDOW};
use skyhound_model::removal::Tombstone;
use skyhound_model::{Key, Layout, Naming, RemovalReason};
use skyhound_store::embedded::Embedded;
use skyhound_store::{LeaseId, Op, Revision, Store, Write};
use std::time::Duration;
use tokio::time::timeout;

/// A catalog that follows a store in memory, and its subscribers.
struct Fixture {
    store: Arc<Embedded>,
    catalog: Arc<Catalog>,
    events: Arc<Events>,
    layout: Layout,
    keyspace: Arc<Keyspace>,
}

async fn fixture() -> Fixture {
    let naming = Naming::example();
    let layout = naming.layout.clone();
    let store = Arc::new(Embedded::in_memory().unwrap());
    let keyspace = Arc::new(Keyspace::new(naming, Some("service")));
    let catalog = Catalog::new(Arc::clone(&keyspace));
    let follow = Follow { store: store.clone(), compare_every: COMPARE_EVERY };
    tokio::spawn(follow.run(Arc::clone(&catalog)));
    timeout(Duration::from_secs(10), catalog.ready()).await.unwrap();
    Fixture { events: Events::start(Arc::clone(&catalog)), store, catalog, layout, keyspace }
}

impl Fixture {
    fn key(service: &str, id: &str) -> Key {
        Key::from(format!("/skydns/local/skydns/services/{service}/{id}"))
    }

    async fn commit(&self, ops: Vec<Op>) -> Revision {
        let revision = self.store.commit(vec![Write { guards: vec![], ops }]).await.unwrap().revision;
        timeout(Duration::from_secs(10), self.catalog.reached(revision)).await.unwrap();
        revision
    }

    async fn put(&self, service: &str, id: &str, port: u16) {
        self.put_on(service, id, port, None).await;
    }

    async fn put_on(&self, service: &str, id: &str, port: u16, lease: Option<LeaseId>) {
        let value = format!(r#"{{"host":"10.0.0.1","port":{port}}}"#).into();
        self.commit(vec![Op::Put { key: Self::key(service, id), value, lease }]).await;
    }

    async fn delete(&self, service: &str, id: &str) {
        self.commit(vec![Op::Delete { key: Self::key(service, id) }]).await;
    }

    /// The catalog's position once both parts have reached the store's revision, each by a feed of its own.
    async fn position(&self) -> Position {
        let revision = self.store.status().await.unwrap().revision;
        let here = Position { revisions: Revisions { primary: revision, mirror: revision }, digest: 0 };
        let arrived = async {
            while !self.catalog.snapshot().position().covers(here) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), arrived).await.expect("both parts");
        self.catalog.snapshot().position()
    }
}

async fn event(subscription: &mut EventSubscription) -> Arc<Event> {
    match timeout(Duration::from_secs(10), subscription.next()).await.expect("an event") {
        Notification::Event(event) => event,
        Notification::Lagged => panic!("lagged"),
    }
}

/// The service, the kind, and the ports of the set.
async fn received(subscription: &mut EventSubscription) -> (String, ChangeKind, Vec<u16>) {
    let event = event(subscription).await;
    let ports = event.set.iter().flat_map(|set| set.iter().map(|stored| stored.entry.port)).collect();
    (event.change.service.to_string(), event.change.kind, ports)
}

const DEREGISTERED: ChangeKind = ChangeKind::Removed(RemovalReason::Deregistered);
const EXPIRED: ChangeKind = ChangeKind::Removed(RemovalReason::Expired);

#[tokio::test]
async fn each_change_comes_once_in_order_with_the_set_after_it() {
    let fixture = fixture().await;
    fixture.put("web", "1", 1).await;
    let (mut subscription, now) = fixture.events.subscribe(Selection::Services(vec!["WEB".into(), "web".into()]), true);
    assert_eq!(now.instances("web").count(), 1, "the instances before the subscription are in the snapshot");
    fixture.put("web", "2", 2).await;
    fixture.put("other", "1", 9).await;
    // The same value again is no change.
    fixture.put("web", "2", 2).await;
    fixture.put("web", "1", 7).await;
    fixture.delete("web", "1").await;
    assert_eq!(received(&mut subscription).await, ("web".into(), ChangeKind::Put, vec![1, 2]));
    assert_eq!(received(&mut subscription).await, ("web".into(), ChangeKind::Put, vec![7, 2]));
    assert_eq!(received(&mut subscription).await, ("web".into(), DEREGISTERED, vec![2]));
    assert!(subscription.try_next().is_none());
    drop(subscription);
    assert_eq!(fixture.events.subscriptions(), 0);
}

#[tokio::test]
async fn deregistered_and_expired_are_distinguished() {
    let fixture = fixture().await;
    let (mut subscription, _) = fixture.events.subscribe(Selection::All, false);
    let lease = fixture.store.grant(Duration::from_secs(60)).await.unwrap();
    for id in ["a", "b", "c", "d"] {
        fixture.put_on("web", id, 1, Some(lease)).await;
        assert_eq!(received(&mut subscription).await.1, ChangeKind::Put);
    }
    // Deleted by hand while its lease is alive.
    fixture.delete("web", "a").await;
    assert_eq!(received(&mut subscription).await.1, DEREGISTERED);
    // Deleted by a node, with a tombstone.
    let mut tombstone = Tombstone::default();
    tombstone.add(&Fixture::key("web", "b"), RemovalReason::Expired);
    tombstone.add(&Fixture::key("web", "c"), RemovalReason::Deregistered);
    let key = Tombstone::key(&fixture.layout);
    fixture
        .commit(vec![
            Op::Delete { key: Fixture::key("web", "b") },
            Op::Delete { key: Fixture::key("web", "c") },
            Op::Put { key, value: tombstone.encode().into(), lease: None },
        ])
        .await;
    let mut both = [received(&mut subscription).await.1, received(&mut subscription).await.1];
    both.sort_unstable();
    assert_eq!(both, [DEREGISTERED, EXPIRED]);
    // Deleted with its lease.
    fixture.store.revoke(lease).await.unwrap();
    assert_eq!(received(&mut subscription).await.1, EXPIRED);
    assert_eq!(fixture.catalog.snapshot().services().count(), 0, "the tombstone is no entry");
}

#[tokio::test]
async fn a_resumed_subscription_receives_what_it_missed() {
    let fixture = fixture().await;
    fixture.put("web", "1", 1).await;
    let (mut subscription, _) = fixture.events.subscribe(Selection::All, false);
    fixture.put("web", "2", 2).await;
    let at = event(&mut subscription).await.change.at;
    drop(subscription);
    fixture.put("web", "3", 3).await;
    fixture.put("api", "1", 4).await;
    fixture.delete("web", "1").await;
    let mut subscription = fixture.events.resume(Selection::Services(vec!["web".into()]), at).unwrap();
    fixture.put("web", "4", 5).await;
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push(event(&mut subscription).await.change.instance.entry.port);
    }
    assert_eq!(ports, [3, 1, 5]);
    let ahead = Position { revisions: Revisions { primary: Revision(1_000_000), ..at.revisions }, ..at };
    assert!(fixture.events.resume(Selection::All, ahead).is_none(), "of another history");
    let other = Position { digest: at.digest + 1, ..at };
    assert!(fixture.events.resume(Selection::All, other).is_none(), "of another history at the same revision");
}

#[tokio::test]
async fn a_slow_consumer_lags_alone() {
    let fixture = fixture().await;
    let (mut slow, _) = fixture.events.subscribe(Selection::All, false);
    let (mut quick, before) = fixture.events.subscribe(Selection::All, false);
    for port in 1..=u16::try_from(QUEUE_MAX).unwrap() + 1 {
        fixture.put("web", "1", port).await;
        assert_eq!(event(&mut quick).await.change.instance.entry.port, port);
    }
    assert!(matches!(slow.next().await, Notification::Lagged));
    for port in 1..=u16::try_from(WINDOW).unwrap() {
        fixture.put("web", "1", port).await;
    }
    assert!(fixture.events.resume(Selection::All, before.position()).is_none(), "the position is before the window");
}

/// The kind and the port of the next event, and true if a reader of it has reached its position.
async fn received_at(subscription: &mut EventSubscription) -> (ChangeKind, u16, bool) {
    let event = event(subscription).await;
    (event.change.kind, event.change.instance.entry.port, !subscription.has_more_at(event.change.at))
}

#[tokio::test]
async fn a_batch_is_delivered_whole_before_its_position() {
    let fixture = fixture().await;
    let (mut subscription, _) = fixture.events.subscribe(Selection::Services(vec!["web".into()]), false);
    let put = |service, id, port: u16| {
        let value = format!(r#"{{"host":"10.0.0.1","port":{port}}}"#).into();
        Op::Put { key: Fixture::key(service, id), value, lease: None }
    };
    // The last change of the batch is not for this subscriber.
    fixture.commit(vec![put("web", "1", 1), put("web", "2", 2), put("zoo", "1", 3)]).await;
    fixture.put("web", "3", 4).await;
    let received = [
        received_at(&mut subscription).await,
        received_at(&mut subscription).await,
        received_at(&mut subscription).await,
    ];
    assert_eq!(received, [(ChangeKind::Put, 1, false), (ChangeKind::Put, 2, true), (ChangeKind::Put, 4, true)]);
}

#[tokio::test]
async fn a_position_before_the_first_listing_is_not_resumed() {
    let fixture = fixture().await;
    fixture.put("web", "1", 1).await;
    let early = fixture.position().await;
    fixture.delete("web", "1").await;
    fixture.put("web", "2", 2).await;
    let now = fixture.position().await;
    // Another daemon on the same store, or this one after a restart.
    let other = Catalog::new(Arc::clone(&fixture.keyspace));
    let follow = Follow { store: fixture.store.clone(), compare_every: COMPARE_EVERY };
    tokio::spawn(follow.run(Arc::clone(&other)));
    timeout(Duration::from_secs(10), other.ready()).await.unwrap();
    let events = Events::start(Arc::clone(&other));
    assert!(events.resume(Selection::All, early).is_none(), "no daemon could deliver the removal of web 1");
    assert!(events.resume(Selection::All, now).is_some());
}

#[tokio::test]
async fn an_entry_that_is_no_instance_any_more_is_removed() {
    let fixture = fixture().await;
    fixture.put("web", "1", 1).await;
    let (mut subscription, _) = fixture.events.subscribe(Selection::All, false);
    let key = Fixture::key("web", "1");
    fixture.commit(vec![Op::Put { key: key.clone(), value: r#"{"text":"only"}"#.into(), lease: None }]).await;
    assert_eq!(received(&mut subscription).await, ("web".into(), DEREGISTERED, vec![]));
    let as_another = r#"{"host":"10.0.0.1","skyhound":{"service":"api"}}"#;
    fixture.commit(vec![Op::Put { key: key.clone(), value: as_another.into(), lease: None }]).await;
    assert_eq!(received(&mut subscription).await, ("api".into(), ChangeKind::Put, vec![]));
    fixture.put("web", "1", 1).await;
    assert_eq!(received(&mut subscription).await, ("api".into(), DEREGISTERED, vec![]));
    assert_eq!(received(&mut subscription).await, ("web".into(), ChangeKind::Put, vec![]));
}
