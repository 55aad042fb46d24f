//! A service lives as long as its connection, for peers and for other clients.

use crate::seaport::peer::{LISTEN, Peer, comes_to, hub, hub_at, srv, web};
use serde_json::json;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::holds_for;
use std::time::Duration;

#[multi_thread_test]
async fn a_service_lives_as_long_as_its_connection() {
    for site in [Site::memory(&LISTEN).await, Site::disk(&LISTEN).await, Site::etcd(&LISTEN).await] {
        let (mut one, known) = Peer::synced(&site).await;
        assert!(known.is_empty());
        let (mut two, _) = Peer::synced(&site).await;
        let sent = json!({"role": "web", "version": "1.2.3", "port": 8080, "id": "AB", "deep": {"a": [1, null]}});
        one.register("AB", sent.clone()).await;
        let mut delivered = sent;
        // The address that the hub sees.
        delivered["host"] = "127.0.0.1".into();
        two.receives(json!(["register", "AB", delivered])).await;
        assert_eq!(srv(&site, "web").await, [8080], "DNS answers before the row is sent");
        one.receives_nothing().await;
        let (_three, known) = Peer::synced(&site).await;
        assert_eq!(known, [json!(["register", "AB", delivered])]);
        drop(one);
        two.receives(json!(["free", "AB"])).await;
        assert!(srv(&site, "web").await.is_empty());
    }
}

#[multi_thread_test]
async fn the_same_id_again_replaces_its_meta() {
    let daemon = hub(&[]).await;
    let ((mut one, _), (mut two, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    one.register("a", web("a", 1)).await;
    two.receives(json!(["register", "a", web("a", 1)])).await;
    one.register("a", web("a", 2)).await;
    two.receives(json!(["register", "a", web("a", 2)])).await;
    assert_eq!(srv(&daemon, "web").await, [2]);
    // With another role it has another key, and is the same service to its peers.
    let mut moved = web("a", 2);
    moved["role"] = "api".into();
    one.register("a", moved.clone()).await;
    two.receives(json!(["free", "a"])).await;
    two.receives(json!(["register", "a", moved])).await;
    assert!(srv(&daemon, "web").await.is_empty());
    one.send(json!(["free", "a"])).await;
    two.receives(json!(["free", "a"])).await;
    one.receives_nothing().await;
    one.register("a", web("a", 3)).await;
    two.receives(json!(["register", "a", web("a", 3)])).await;
}

#[multi_thread_test]
async fn a_role_that_no_name_can_hold_is_found_by_peers() {
    let daemon = hub(&[]).await;
    let ((mut one, _), (mut two, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    let odd = json!({"role": "my role/v2", "version": "two", "host": "h", "port": "80", "id": "a b"});
    one.register("a b", odd.clone()).await;
    two.receives(json!(["register", "a b", odd])).await;
    two.send(json!(["free", "a b"])).await;
    one.receives(json!(["free", "a b"])).await;
    two.receives_nothing().await;
}

#[multi_thread_test]
async fn an_id_lives_as_long_as_anybody_holds_it() {
    let daemon = hub(&[]).await;
    let (mut other, _) = Peer::synced(&daemon).await;
    let (mut before, _) = Peer::synced(&daemon).await;
    before.register("a", web("a", 1)).await;
    other.receives(json!(["register", "a", web("a", 1)])).await;
    // It comes back before its old connection is known to be dead.
    let (mut after, _) = Peer::synced(&daemon).await;
    after.register("a", web("a", 1)).await;
    after.receives_nothing().await;
    drop(before);
    after.register("b", web("b", 2)).await;
    other.receives(json!(["register", "b", web("b", 2)])).await;
    assert_eq!(srv(&daemon, "web").await, [1, 2]);
    drop(after);
    for _ in 0..2 {
        assert_eq!(other.next().await.expect("the hub goes on")[0], "free");
    }
}

#[multi_thread_test]
async fn a_peer_that_stops_its_heartbeats_expires() {
    let daemon = hub(&["--seaport-heartbeat", "1"]).await;
    let ((mut active, _), (mut quiet, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    active.register("active", web("active", 1)).await;
    quiet.register("quiet", web("quiet", 2)).await;
    comes_to(&daemon, "web", &[1, 2]).await;
    holds_for(Duration::from_secs(5), async || {
        active.send(json!(["heartbeat"])).await;
        let there = srv(&daemon, "web").await;
        if there == [1, 2] { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
    comes_to(&daemon, "web", &[2]).await;
    assert_eq!(active.next().await, Some(json!(["register", "quiet", web("quiet", 2)])));
    assert_eq!(active.next().await, None, "the hub closed");
    assert!(daemon.metric("skyhound_releases_total").await >= 1.0);
}

#[multi_thread_test]
async fn a_planned_stop_leaves_services_to_their_lease() {
    let etcd = EtcdProcess::start().await;
    let (mut one, two) = (hub_at(&etcd).await, hub_at(&etcd).await);
    let (mut peer, _) = Peer::synced(&one).await;
    peer.register("a", web("a", 1)).await;
    comes_to(&two, "web", &[1]).await;
    assert!(one.stop().await.success());
    assert_eq!(peer.next().await, None);
    assert_eq!(srv(&two, "web").await, [1]);
    let (mut back, known) = Peer::synced(&two).await;
    assert_eq!(known, [json!(["register", "a", web("a", 1)])]);
    back.register("a", web("a", 1)).await;
    back.receives_nothing().await;
    back.send(json!(["free", "a"])).await;
    comes_to(&two, "web", &[]).await;
}
