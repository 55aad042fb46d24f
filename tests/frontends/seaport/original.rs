//! The original, unmodified: as a client of ours, and as a hub that peers with ours.

use crate::seaport::node::Node;
use crate::seaport::peer::{Peer, at, comes_to, hub, hub_at, srv, web};
use serde_json::{Value, json};
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::{SOON, wait_until};

fn ids(found: &Value) -> Vec<String> {
    let mut ids: Vec<_> =
        found.as_array().expect("a list").iter().map(|meta| meta["id"].as_str().expect("an id").to_owned()).collect();
    ids.sort();
    ids
}

#[multi_thread_test]
async fn a_client_registers_gets_queries_and_frees() {
    let daemon = hub(&[]).await;
    let Some(mut server) = Node::client(at(&daemon), None).await else { return };
    let Some(mut client) = Node::client(at(&daemon), None).await else { return };
    // Asked for before it is there.
    client.send(json!(["get", "web@1.2.x"])).await;
    let web = server.ask(json!(["register", "web@1.2.3", {"port": 8080, "deep": {"a": [1]}}])).await;
    let got = client.event("got").await;
    assert_eq!(
        got["found"],
        json!([{
            "role": "web", "version": "1.2.3", "port": 8080, "host": "127.0.0.1", "id": web["id"], "deep": {"a": [1]},
        }])
    );
    assert_eq!(srv(&daemon, "web").await, [8080]);

    let chosen = server.ask(json!(["register", "api@2.0.0"])).await;
    assert!(chosen["port"].as_u64().is_some_and(|port| (10_000..65_536).contains(&port)), "{chosen}");
    let plain = server.ask(json!(["register", "web", {"id": "plain", "port": 8081}])).await;
    for meta in [&chosen, &plain] {
        client.about("register", meta["id"].as_str().expect("an id")).await;
    }
    let (web, chosen) = (web["id"].as_str().expect("an id"), chosen["id"].as_str().expect("an id"));
    for (pattern, found) in [
        ("web@~1.2", vec![web]),
        ("web@>=1 <2", vec![web]),
        ("web@2", vec![]),
        ("web", vec![web, "plain"]),
        ("api@*", vec![chosen]),
    ] {
        let mut found: Vec<_> = found.into_iter().map(str::to_owned).collect();
        found.sort();
        assert_eq!(ids(&client.ask(json!(["query", pattern])).await), found, "{pattern}");
    }

    // By id, by object, by port; by its owner and by another.
    server.send(json!(["free", web])).await;
    client.about("free", web).await;
    client.send(json!(["free", {"id": "plain"}])).await;
    server.about("free", "plain").await;
    comes_to(&daemon, "web", &[]).await;
    server.send(json!(["free", chosen])).await;
    client.about("free", chosen).await;
    let by_port = server.ask(json!(["register", "web", {"port": 9001}])).await;
    client.about("register", by_port["id"].as_str().expect("an id")).await;
    server.send(json!(["free", 9001])).await;
    client.about("free", by_port["id"].as_str().expect("an id")).await;
    comes_to(&daemon, "web", &[]).await;

    // The end of its process is the end of its services.
    let last = server.ask(json!(["register", "web", {"port": 9002}])).await;
    client.about("register", last["id"].as_str().expect("an id")).await;
    server.end().await;
    client.about("free", last["id"].as_str().expect("an id")).await;
    assert!(srv(&daemon, "web").await.is_empty());
}

#[multi_thread_test]
async fn a_client_describes_what_another_registered() {
    let daemon = hub(&[]).await;
    let Some(mut server) = Node::client(at(&daemon), None).await else { return };
    let Some(mut client) = Node::client(at(&daemon), None).await else { return };
    server.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
    let mut meta = client.about("register", "w").await;
    meta["weight"] = json!(7);
    client.send(json!(["set", "w", meta])).await;
    let received = server.about("register", "w").await;
    assert_eq!(received, meta);
    client.end().await;
    let (_peer, known) = Peer::synced(&daemon).await;
    assert_eq!(known, [json!(["register", "w", meta])]);
    server.end().await;
    comes_to(&daemon, "web", &[]).await;
}

#[multi_thread_test]
async fn clients_come_back_after_a_restart() {
    let etcd = EtcdProcess::start().await;
    let mut daemon = hub_at(&etcd).await;
    let Some(mut server) = Node::client(at(&daemon), None).await else { return };
    let Some(mut client) = Node::client(at(&daemon), None).await else { return };
    server.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
    client.about("register", "w").await;
    daemon.kill().await;
    daemon.restart().await;
    for node in [&mut server, &mut client] {
        node.event("disconnect").await;
        node.event("connect").await;
    }
    // The client sends again every row that it received, and yet the service ends with its owner.
    let (mut peer, known) = Peer::synced(&daemon).await;
    assert!(known.len() <= 1, "{known:?}");
    comes_to(&daemon, "web", &[8080]).await;
    wait_until(SOON, async || match daemon.metric("skyhound_registry_claims").await {
        1.0 => Ok(()),
        claims => Err(format!("{claims} claims")),
    })
    .await;
    assert!(!client.has_reported("free", "w"), "it was never gone");
    server.end().await;
    client.about("free", "w").await;
    comes_to(&daemon, "web", &[]).await;
    peer.register("x", web("x", 1)).await;
    client.about("register", "x").await;
}

#[multi_thread_test]
async fn two_daemons_are_one_hub() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (hub_at(&etcd).await, hub_at(&etcd).await);
    let Some(mut server) = Node::client(at(&one), None).await else { return };
    let Some(mut client) = Node::client(at(&two), None).await else { return };
    server.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
    client.about("register", "w").await;
    client.send(json!(["free", "w"])).await;
    server.about("free", "w").await;
    comes_to(&one, "web", &[]).await;
    comes_to(&two, "web", &[]).await;
    server.ask(json!(["register", "web@1.2.3", {"port": 8081, "id": "w"}])).await;
    client.about("register", "w").await;
    comes_to(&two, "web", &[8081]).await;
}

#[multi_thread_test]
async fn the_original_hub_peers_with_ours() {
    let daemon = hub(&[]).await;
    let Some(mut original_hub) = Node::start(None) else { return };
    original_hub.send(json!(["listen", 0, "127.0.0.1"])).await;
    let port = original_hub.event("listening").await["port"].as_u64().expect("a port");
    let addr = format!("127.0.0.1:{port}").parse().expect("an address");
    let Some(mut client) = Node::client(addr, None).await else { return };
    client.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "there"}])).await;
    original_hub.about("register", "there").await;
    original_hub.send(json!(["peer", at(&daemon).port(), at(&daemon).ip().to_string()])).await;
    comes_to(&daemon, "web", &[8080]).await;
    // A hub registers itself, so that clients find it.
    wait_until(SOON, async || {
        let answer = daemon.dig().query("seaport.services.skydns.local", "SRV").await.map_err(|e| e.to_string())?;
        if answer.ports() == [u16::try_from(port).expect("a port")] { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // Both directions.
    let (mut here, _) = Peer::synced(&daemon).await;
    here.register("here", web("here", 1)).await;
    let received = client.about("register", "here").await;
    assert_eq!(received, web("here", 1));
    here.send(json!(["free", "here"])).await;
    client.about("free", "here").await;
    client.send(json!(["free", "there"])).await;
    here.receives(json!(["free", "there"])).await;
    comes_to(&daemon, "web", &[]).await;
    // With the hub goes all that came through it.
    client.ask(json!(["register", "web@1.2.3", {"port": 8082, "id": "last"}])).await;
    assert_eq!(here.next().await.expect("the hub goes on")[1], "last");
    original_hub.end().await;
    comes_to(&daemon, "web", &[]).await;
}
