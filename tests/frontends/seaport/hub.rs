//! One hub: peers of one daemon, of several, and of other frontends.

use crate::seaport::peer::{Hubs, Peer, comes_to, hub, hub_at, srv, web};
use serde_json::{Value, json};
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::{SOON, wait_until};
use std::collections::BTreeSet;
use std::fmt::Write as _;

#[multi_thread_test]
async fn any_peer_frees_any_service() {
    for hubs in Hubs::both().await {
        let (here, there) = (hubs.here(), hubs.there());
        let [mut owner, mut other, mut third] = hubs.peers().await;
        owner.register("a", web("a", 1)).await;
        for peer in [&mut other, &mut third] {
            peer.receives(json!(["register", "a", web("a", 1)])).await;
        }
        other.send(json!(["free", "a"])).await;
        for peer in [&mut owner, &mut third] {
            peer.receives(json!(["free", "a"])).await;
        }
        assert!(srv(here, "web").await.is_empty());
        comes_to(there, "web", &[]).await;
        other.receives_nothing().await;
        // It does not come back by itself, and does when its owner registers it again.
        owner.receives_nothing().await;
        owner.register("a", web("a", 2)).await;
        other.receives(json!(["register", "a", web("a", 2)])).await;
        // The original's clients pass on a row that frees a service; here it was freed before.
        third.receives(json!(["register", "a", web("a", 2)])).await;
        third.send(json!(["free", "unknown"])).await;
        third.receives_nothing().await;
        assert_eq!(srv(here, "web").await, [2]);
        drop(owner);
        other.receives(json!(["free", "a"])).await;
        // The claim that ended the first one is gone as well.
        wait_until(SOON, async || match here.metric("skyhound_registry_claims").await {
            0.0 => Ok(()),
            claims => Err(format!("{claims} claims")),
        })
        .await;
    }
}

#[multi_thread_test]
async fn meta_set_by_another_peer_lasts_as_long_as_the_owner() {
    for hubs in Hubs::both().await {
        let here = hubs.here();
        let [mut owner, mut other, mut third] = hubs.peers().await;
        owner.register("a", web("a", 1)).await;
        for peer in [&mut other, &mut third] {
            peer.receives(json!(["register", "a", web("a", 1)])).await;
        }
        let mut set = web("a", 1);
        set["load"] = json!(0.5);
        other.send(json!(["synced"])).await;
        other.register("a", set.clone()).await;
        for peer in [&mut owner, &mut third] {
            peer.receives(json!(["register", "a", set])).await;
        }
        drop(other);
        third.receives_nothing().await;
        assert_eq!(srv(here, "web").await, [1]);
        drop(owner);
        third.receives(json!(["free", "a"])).await;
    }
}

#[multi_thread_test]
async fn a_burst_comes_whole_and_once() {
    const MANY: u16 = 3000;
    let etcd = EtcdProcess::start().await;
    let (here, there) = (hub_at(&etcd).await, hub_at(&etcd).await);
    let ((mut one, _), (mut two, _)) = (Peer::synced(&here).await, Peer::synced(&there).await);
    let mut rows = String::new();
    for port in 1..=MANY {
        let id = format!("n{port}");
        writeln!(rows, "{}", json!(["register", id, web(&id, port)])).expect("a String takes it");
    }
    one.write(&rows).await;
    let mut seen = BTreeSet::new();
    while seen.len() < usize::from(MANY) {
        let row = two.next().await.expect("the hub goes on");
        assert_eq!(row[0], "register");
        assert!(seen.insert(row[1].to_string()), "twice: {row}");
    }
    let (_late, known) = Peer::synced(&there).await;
    assert_eq!(known.len(), usize::from(MANY));
    drop(one);
    while !seen.is_empty() {
        let row = two.next().await.expect("the hub goes on");
        assert_eq!(row[0], "free");
        assert!(seen.remove(&row[1].to_string()), "twice: {row}");
    }
}

#[multi_thread_test]
async fn instances_of_other_frontends_are_delivered() {
    let daemon = hub(&[]).await;
    let (mut peer, _) = Peer::synced(&daemon).await;
    let held = daemon.provide("service=api&port=7&host=10.0.0.9&version=1.0.0&meta.zone=eu").await;
    let row = peer.next().await.expect("the hub goes on");
    let id = row[1].as_str().expect("an id").to_owned();
    assert!(id.ends_with(".api.services.skydns.local"), "{id}");
    let meta = json!({"role": "api", "version": "1.0.0", "host": "10.0.0.9", "port": 7, "id": id, "zone": "eu"});
    assert_eq!(row, json!(["register", id, meta]));
    // It lives as long as its own peer does.
    peer.send(json!(["free", id])).await;
    assert!(peer.error(&id).await.contains("another protocol"));
    peer.register(&id, meta).await;
    peer.receives_nothing().await;
    held.close().await;
    peer.receives(json!(["free", id])).await;
    peer.send(json!(["free", id])).await;
    peer.receives_nothing().await;
}

/// The original's client sends, when it reconnects, every row that it ever received. None of them is its own.
#[multi_thread_test]
async fn a_row_passed_back_is_no_registration() {
    let daemon = hub(&[]).await;
    let ((mut owner, _), (mut relay, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    owner.register("a", web("a", 1)).await;
    let received = relay.next().await.expect("the hub goes on");
    let held = daemon.provide("service=api&port=7").await;
    let other: Value = relay.next().await.expect("the hub goes on");
    owner.receives(other.clone()).await;
    drop(relay);
    let (mut back, _) = Peer::synced(&daemon).await;
    for row in [&received, &other] {
        // As text, because the order of keys identifies a passed-back row.
        back.send(row.clone()).await;
    }
    back.send(json!(["synced"])).await;
    back.receives_nothing().await;
    drop(owner);
    back.receives(json!(["free", "a"])).await;
    held.close().await;
    back.receives(json!(["free", other[1]])).await;
    // A client that reconnects too late receives that the services are gone.
    let (mut late, known) = Peer::synced(&daemon).await;
    assert!(known.is_empty());
    for row in [&received, &other] {
        late.send(row.clone()).await;
        late.receives(json!(["free", row[1]])).await;
    }
    assert!(srv(&daemon, "web").await.is_empty());
}
