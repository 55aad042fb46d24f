//! Several daemons on one store are one hub: clients when one of them, or the store, is unavailable.

use crate::seaport::node::Node;
use crate::seaport::peer::{ADVERTISED, LISTEN, Peer, at, comes_to, hub_at, srv, web};
use serde_json::json;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;
use std::time::{Duration, Instant};

/// The duration of etcd's outage.
const OUTAGE: Duration = Duration::from_secs(20);
/// The time for which a lease may outlive its daemon, and recovery from an outage may take.
const LATE: Duration = Duration::from_secs(40);

#[multi_thread_test]
async fn clients_of_a_killed_daemon_go_on_at_another() {
    let etcd = EtcdProcess::start().await;
    // Longer than a client may take through a list of three hubs, two of which are the dead one.
    let args = [&ADVERTISED[..], &["--timeout", "10"]].concat();
    let (mut one, two) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    let Some(mut server) = Node::client(at(&one), None).await else { return };
    let Some(mut client) = Node::client(at(&one), None).await else { return };
    let hubs = client.knows("seaport", 2).await;
    for daemon in [&one, &two] {
        assert!(hubs.iter().any(|hub| hub["host"] == at(daemon).ip().to_string() && hub["port"] == 9090), "{hubs:?}");
    }
    server.knows("seaport", 2).await;
    server.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
    client.about("register", "w").await;
    client.send(json!(["get", "chat"])).await;
    comes_to(&two, "web", &[8080]).await;
    comes_to(&two, "seaport", &[9090, 9090]).await;
    let watch = Watch::udp(two.dns, "web.services.skydns.local", 8080);

    one.kill().await;
    let (mut chat, _) = Peer::synced(&two).await;
    chat.register("c", json!({"role": "chat", "port": 2, "id": "c"})).await;
    assert_eq!(client.event("got").await["found"][0]["id"], "c");
    // When the leases of the killed one have run out, the service is there by the other one alone.
    wait_until(LATE, async || match srv(&two, "seaport").await {
        ports if ports == [9090] => Ok(()),
        ports => Err(format!("{ports:?}")),
    })
    .await;
    watch.stop().await.assert_no_gap();
    assert_eq!(srv(&two, "web").await, [8080]);
    server.end().await;
    client.about("free", "w").await;
    comes_to(&two, "web", &[]).await;
}

#[multi_thread_test]
async fn a_hub_is_registered_as_long_as_it_listens() {
    let etcd = EtcdProcess::start().await;
    let mut one = Site::at(&etcd, &ADVERTISED).await;
    let two = hub_at(&etcd).await;
    let (mut peer, known) = Peer::synced(&two).await;
    let row = match known.as_slice() {
        [row] => row.clone(),
        _ => peer.next().await.expect("the hub goes on"),
    };
    let (id, meta) = (row[1].clone(), &row[2]);
    assert_eq!((&meta["role"], &meta["version"]), (&json!("seaport"), &json!("2.0.9")), "{row}");
    assert_eq!((&meta["host"], &meta["port"]), (&json!(at(&one).ip().to_string()), &json!(at(&one).port())), "{row}");
    // No peer may free it.
    peer.send(json!(["free", id])).await;
    assert!(peer.error(id.as_str().expect("an id")).await.contains("another protocol"));
    comes_to(&two, "seaport", &[9090]).await;
    // At a planned stop it goes at once, unlike other services.
    assert!(one.stop().await.success());
    peer.receives(json!(["free", id])).await;
    comes_to(&two, "seaport", &[]).await;
}

#[multi_thread_test]
async fn a_hub_is_registered_at_its_advertised_address() {
    let etcd = EtcdProcess::start().await;
    let everywhere = Site::at(&etcd, &["--seaport-listen", "0.0.0.0:0"]).await;
    let hosts = async |daemon: &Daemon| {
        let answer = daemon.dig().query("seaport.services.skydns.local", "A").await.expect("an answer");
        answer.data("A").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(everywhere.log().contains("set its address with --seaport-advertise"), "{}", everywhere.log());
    assert!(srv(&everywhere, "seaport").await.is_empty());
    let named = ["--seaport-listen", "0.0.0.0:0", "--seaport-advertise", "192.0.2.1:9999"];
    let named = Site::at(&etcd, &named).await;
    comes_to(&named, "seaport", &[9999]).await;
    assert_eq!(hosts(&named).await, ["192.0.2.1"]);
    // Alone on its store, and without other hubs, nobody could come from elsewhere.
    let alone = Daemon::start(&ADVERTISED).await;
    assert!(Peer::synced(&alone).await.1.is_empty());
    let alone = Daemon::start(&[&ADVERTISED[..], &["--seaport-advertise", "192.0.2.2"]].concat()).await;
    comes_to(&alone, "seaport", &[9090]).await;
    assert_eq!(hosts(&alone).await, ["192.0.2.2"]);
}

/// No living service is lost, and none that ended meanwhile comes back.
#[multi_thread_test]
async fn an_outage_of_etcd_loses_and_revives_nothing() {
    let mut etcd = EtcdProcess::start().await;
    let args = [&LISTEN[..], &["--timeout", "10"]].concat();
    let (one, two) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    let Some(mut here) = Node::client(at(&one), None).await else { return };
    let Some(mut there) = Node::client(at(&two), None).await else { return };
    let Some(mut leaving) = Node::client(at(&one), None).await else { return };
    for (node, id, port) in [(&mut here, "here", 1), (&mut there, "there", 2), (&mut leaving, "leaving", 3)] {
        node.ask(json!(["register", "web@1.2.3", {"port": port, "id": id}])).await;
    }
    here.ask(json!(["register", "web@1.2.3", {"port": 4, "id": "freed"}])).await;
    for daemon in [&one, &two] {
        comes_to(daemon, "web", &[1, 2, 3, 4]).await;
    }
    here.knows("web", 4).await;
    let began = Instant::now();
    etcd.kill().await;
    leaving.kill().await;
    here.send(json!(["free", "freed"])).await;
    here.ask(json!(["register", "web@1.2.3", {"port": 5, "id": "late"}])).await;
    wait_until(OUTAGE + SOON, async || {
        // The living are answered all the time.
        for daemon in [&one, &two] {
            let ports = srv(daemon, "web").await;
            assert!([1, 2].iter().all(|port| ports.contains(port)), "{ports:?}");
        }
        if began.elapsed() > OUTAGE { Ok(()) } else { Err("not yet") }
    })
    .await;
    etcd.restart().await;
    for daemon in [&one, &two] {
        wait_until(LATE, async || match srv(daemon, "web").await {
            ports if ports == [1, 2, 5] => Ok(()),
            ports => Err(format!("{ports:?}")),
        })
        .await;
    }
    there.about("register", "late").await;
    there.about("free", "freed").await;
    there.about("free", "leaving").await;
    for (node, others) in [(&here, ["there"]), (&there, ["here"])] {
        assert!(others.iter().all(|id| !node.has_reported("free", id)), "the living were never gone");
    }
    let mut ids: Vec<_> = there.knows("web", 3).await.into_iter().map(|meta| meta["id"].clone()).collect();
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, ["here", "late", "there"]);
    // And it goes on.
    let (mut new, _) = Peer::synced(&one).await;
    new.register("new", web("new", 6)).await;
    there.about("register", "new").await;
    here.end().await;
    for id in ["here", "late"] {
        there.about("free", id).await;
    }
    comes_to(&two, "web", &[2, 6]).await;
}
