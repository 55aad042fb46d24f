use super::*;
use crate::catalog::follow::{COMPARE_EVERY, Follow};
use crate::catalog::{Places, history::WINDOW};
use skyhound_model::departure::Departed;
use skyhound_model::{Departure, Layout, Naming};
use skyhound_store::embedded::Embedded;
use skyhound_store::{LeaseId, Op, Revision, Store, Write};
use std::time::Duration;
use tokio::time::timeout;

/// A catalog that follows a store in memory, and its listeners.
struct Place {
    store: Arc<Embedded>,
    catalog: Arc<Catalog>,
    events: Arc<Events>,
    layout: Layout,
    places: Arc<Places>,
}

async fn place() -> Place {
    let naming = Naming::example();
    let layout = naming.layout.clone();
    let store = Arc::new(Embedded::in_memory().unwrap());
    let places = Arc::new(Places::new(naming, Some("service")));
    let catalog = Catalog::new(Arc::clone(&places));
    let follow = Follow { store: store.clone(), compare_every: COMPARE_EVERY };
    tokio::spawn(follow.run(Arc::clone(&catalog)));
    timeout(Duration::from_secs(10), catalog.ready()).await.unwrap();
    Place { events: Events::start(Arc::clone(&catalog)), store, catalog, layout, places }
}

impl Place {
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

    /// The catalog's position when both parts are where the store is. Each comes by a feed of its own.
    async fn position(&self) -> Position {
        let revision = self.store.status().await.unwrap().revision;
        let here = Position { own: revision, foreign: revision, mark: 0 };
        let arrived = async {
            while !self.catalog.snapshot().position().covers(here) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), arrived).await.expect("both parts");
        self.catalog.snapshot().position()
    }
}

async fn event(listener: &mut Listener) -> Arc<Event> {
    match timeout(Duration::from_secs(10), listener.next()).await.expect("an event") {
        Heard::Event(event) => event,
        Heard::Behind => panic!("behind"),
    }
}

/// Service, kind, and the ports of the set.
async fn heard(listener: &mut Listener) -> (String, Kind, Vec<u16>) {
    let event = event(listener).await;
    let ports = event.set.iter().flat_map(|set| set.iter().map(|stored| stored.entry.port)).collect();
    (event.change.service.to_string(), event.change.kind, ports)
}

const LEFT: Kind = Kind::Gone(Departure::Left);
const EXPIRED: Kind = Kind::Gone(Departure::Expired);

#[tokio::test]
async fn each_change_comes_once_in_order_with_the_set_after_it() {
    let place = place().await;
    place.put("web", "1", 1).await;
    let (mut listener, now) = place.events.listen(Selection::Services(vec!["WEB".into(), "web".into()]), true);
    assert_eq!(now.instances("web").count(), 1, "what was there is in the snapshot");
    place.put("web", "2", 2).await;
    place.put("other", "1", 9).await;
    // The same once more says nothing new.
    place.put("web", "2", 2).await;
    place.put("web", "1", 7).await;
    place.delete("web", "1").await;
    assert_eq!(heard(&mut listener).await, ("web".into(), Kind::Put, vec![1, 2]));
    assert_eq!(heard(&mut listener).await, ("web".into(), Kind::Put, vec![7, 2]));
    assert_eq!(heard(&mut listener).await, ("web".into(), LEFT, vec![2]));
    assert!(listener.try_next().is_none());
    drop(listener);
    assert_eq!(place.events.listeners(), 0);
}

#[tokio::test]
async fn left_and_expired_are_told_apart() {
    let place = place().await;
    let (mut listener, _) = place.events.listen(Selection::All, false);
    let lease = place.store.grant(Duration::from_secs(60)).await.unwrap();
    for id in ["a", "b", "c", "d"] {
        place.put_on("web", id, 1, Some(lease)).await;
        assert_eq!(heard(&mut listener).await.1, Kind::Put);
    }
    // By hand, with its lease still there.
    place.delete("web", "a").await;
    assert_eq!(heard(&mut listener).await.1, LEFT);
    // By a node, which says why.
    let mut marker = Departed::default();
    marker.add(&Place::key("web", "b"), Departure::Expired);
    marker.add(&Place::key("web", "c"), Departure::Left);
    let key = Departed::key(&place.layout);
    place
        .commit(vec![
            Op::Delete { key: Place::key("web", "b") },
            Op::Delete { key: Place::key("web", "c") },
            Op::Put { key, value: marker.encode().into(), lease: None },
        ])
        .await;
    let mut both = [heard(&mut listener).await.1, heard(&mut listener).await.1];
    both.sort_unstable();
    assert_eq!(both, [LEFT, EXPIRED]);
    // With its lease.
    place.store.revoke(lease).await.unwrap();
    assert_eq!(heard(&mut listener).await.1, EXPIRED);
    assert_eq!(place.catalog.snapshot().services().count(), 0, "the marker is no entry");
}

#[tokio::test]
async fn who_comes_back_hears_what_it_missed() {
    let place = place().await;
    place.put("web", "1", 1).await;
    let (mut listener, _) = place.events.listen(Selection::All, false);
    place.put("web", "2", 2).await;
    let at = event(&mut listener).await.change.at;
    drop(listener);
    place.put("web", "3", 3).await;
    place.put("api", "1", 4).await;
    place.delete("web", "1").await;
    let mut listener = place.events.resume(Selection::Services(vec!["web".into()]), at).unwrap();
    place.put("web", "4", 5).await;
    let mut ports = Vec::new();
    for _ in 0..3 {
        ports.push(event(&mut listener).await.change.instance.entry.port);
    }
    assert_eq!(ports, [3, 1, 5]);
    let ahead = Position { own: Revision(1_000_000), ..at };
    assert!(place.events.resume(Selection::All, ahead).is_none(), "of another history");
    let other = Position { mark: at.mark + 1, ..at };
    assert!(place.events.resume(Selection::All, other).is_none(), "of another history at the same revision");
}

#[tokio::test]
async fn who_does_not_read_loses_its_place_and_nobody_else_does() {
    let place = place().await;
    let (mut slow, _) = place.events.listen(Selection::All, false);
    let (mut quick, before) = place.events.listen(Selection::All, false);
    for port in 1..=u16::try_from(QUEUE_MAX).unwrap() + 1 {
        place.put("web", "1", port).await;
        assert_eq!(event(&mut quick).await.change.instance.entry.port, port);
    }
    assert!(matches!(slow.next().await, Heard::Behind));
    for port in 1..=u16::try_from(WINDOW).unwrap() {
        place.put("web", "1", port).await;
    }
    assert!(place.events.resume(Selection::All, before.position()).is_none(), "that long ago is forgotten");
}

/// What the next event says, and whether a reader who has it is at its position.
async fn told(listener: &mut Listener) -> (Kind, u16, bool) {
    let event = event(listener).await;
    (event.change.kind, event.change.instance.entry.port, !listener.is_before(event.change.at))
}

#[tokio::test]
async fn a_batch_is_heard_whole_and_its_position_is_behind_its_last_change() {
    let place = place().await;
    let (mut listener, _) = place.events.listen(Selection::Services(vec!["web".into()]), false);
    let put = |service, id, port: u16| {
        let value = format!(r#"{{"host":"10.0.0.1","port":{port}}}"#).into();
        Op::Put { key: Place::key(service, id), value, lease: None }
    };
    // The last change of the batch is not for this listener.
    place.commit(vec![put("web", "1", 1), put("web", "2", 2), put("zoo", "1", 3)]).await;
    place.put("web", "3", 4).await;
    let heard = [told(&mut listener).await, told(&mut listener).await, told(&mut listener).await];
    assert_eq!(heard, [(Kind::Put, 1, false), (Kind::Put, 2, true), (Kind::Put, 4, true)]);
}

#[tokio::test]
async fn who_was_told_before_the_first_reading_takes_the_whole_set() {
    let place = place().await;
    place.put("web", "1", 1).await;
    let early = place.position().await;
    place.delete("web", "1").await;
    place.put("web", "2", 2).await;
    let now = place.position().await;
    // Another daemon on the same store, or this one after a restart.
    let other = Catalog::new(Arc::clone(&place.places));
    let follow = Follow { store: place.store.clone(), compare_every: COMPARE_EVERY };
    tokio::spawn(follow.run(Arc::clone(&other)));
    timeout(Duration::from_secs(10), other.ready()).await.unwrap();
    let events = Events::start(Arc::clone(&other));
    assert!(events.resume(Selection::All, early).is_none(), "nobody could say that web 1 is gone");
    assert!(events.resume(Selection::All, now).is_some());
}

#[tokio::test]
async fn what_is_no_instance_any_more_is_gone() {
    let place = place().await;
    place.put("web", "1", 1).await;
    let (mut listener, _) = place.events.listen(Selection::All, false);
    let key = Place::key("web", "1");
    place.commit(vec![Op::Put { key: key.clone(), value: r#"{"text":"only"}"#.into(), lease: None }]).await;
    assert_eq!(heard(&mut listener).await, ("web".into(), LEFT, vec![]));
    let as_another = r#"{"host":"10.0.0.1","skyhound":{"service":"api"}}"#;
    place.commit(vec![Op::Put { key: key.clone(), value: as_another.into(), lease: None }]).await;
    assert_eq!(heard(&mut listener).await, ("api".into(), Kind::Put, vec![]));
    place.put("web", "1", 1).await;
    assert_eq!(heard(&mut listener).await, ("api".into(), LEFT, vec![]));
    assert_eq!(heard(&mut listener).await, ("web".into(), Kind::Put, vec![]));
}
