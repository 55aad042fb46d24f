//! Hubs that exchange services (`--seaport-peer`): of ours, of the original, and both.

use crate::seaport::keys::Files;
use crate::seaport::node::Node;
use crate::seaport::peer::{ADVERTISED, LISTEN, Peer, at, comes_to, hub, srv, web};
use serde_json::{Value, json};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A hub of the original, and its address.
async fn start_original(options: Option<&std::path::Path>) -> Option<(Node, SocketAddr)> {
    let mut original_hub = Node::start(options)?;
    original_hub.send(json!(["listen", 0, "127.0.0.1"])).await;
    let port = original_hub.event("listening").await["port"].as_u64().expect("a port");
    Some((original_hub, SocketAddr::new([127, 0, 0, 1].into(), port.try_into().expect("a port"))))
}

async fn calls(hubs: &[SocketAddr]) -> Daemon {
    let hubs: Vec<_> = hubs.iter().map(ToString::to_string).collect();
    hub(&["--seaport-peer", &hubs.join(",")]).await
}

/// Waits until so many of the hubs that a daemon calls have answered.
async fn connected(daemon: &Daemon, wanted: usize) {
    let line = format!("skyhound_seaport_hubs_connected {wanted}\n");
    wait_until(SOON, async || {
        let metrics = daemon.get("/metrics").await.body;
        if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
    })
    .await;
}

#[multi_thread_test]
async fn an_original_hub_that_is_called() {
    let Some((mut original_hub, addr)) = start_original(None).await else { return };
    let Some(mut client) = Node::client(addr, None).await else { return };
    client.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "there"}])).await;
    original_hub.about("register", "there").await;
    let daemon = calls(&[addr]).await;
    comes_to(&daemon, "web", &[8080]).await;
    // Both directions: changes, and instances of another frontend.
    let (mut here, known) = Peer::synced(&daemon).await;
    assert_eq!(known[0][1], "there");
    here.register("here", web("here", 1)).await;
    assert_eq!(client.about("register", "here").await, web("here", 1));
    let held = daemon.provide("service=api&port=7").await;
    let api = loop {
        let event = client.event("register").await;
        if event["meta"]["role"] == "api" {
            break event["meta"]["id"].as_str().expect("an id").to_owned();
        }
    };
    assert_eq!(here.next().await.expect("the hub goes on")[1], json!(api));
    held.close().await;
    client.about("free", &api).await;
    here.receives(json!(["free", api])).await;
    // Freed by its owner, and by others on both sides.
    here.send(json!(["free", "here"])).await;
    client.about("free", "here").await;
    here.register("again", web("again", 2)).await;
    client.about("register", "again").await;
    client.send(json!(["free", "again"])).await;
    here.receives(json!(["free", "again"])).await;
    here.send(json!(["free", "there"])).await;
    client.about("free", "there").await;
    comes_to(&daemon, "web", &[]).await;
    // With the hub goes all that came from it, and when it is back, so is all that comes back to it.
    client.ask(json!(["register", "web@1.2.3", {"port": 8082, "id": "last"}])).await;
    assert_eq!(here.next().await.expect("the hub goes on")[1], "last");
    connected(&daemon, 1).await;
    original_hub.kill().await;
    here.receives(json!(["free", "last"])).await;
    connected(&daemon, 0).await;
    let Some(mut original_hub) = Node::start(None) else { return };
    original_hub.send(json!(["listen", addr.port(), "127.0.0.1"])).await;
    assert_eq!(here.next().await.expect("the hub goes on")[1], "last");
    comes_to(&daemon, "web", &[8082]).await;
    connected(&daemon, 1).await;
    here.receives_nothing().await;
}

/// Through us from one original hub to another, as it would be through one of them.
#[multi_thread_test]
async fn between_two_original_hubs() {
    let Some((_one, first)) = start_original(None).await else { return };
    let Some((_two, second)) = start_original(None).await else { return };
    let daemon = calls(&[first, second]).await;
    connected(&daemon, 2).await;
    let Some(mut here) = Node::client(first, None).await else { return };
    let Some(mut there) = Node::client(second, None).await else { return };
    here.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
    there.about("register", "w").await;
    comes_to(&daemon, "web", &[8080]).await;
    here.send(json!(["free", "w"])).await;
    there.about("free", "w").await;
    comes_to(&daemon, "web", &[]).await;
}

/// As in the original's script `peer`: each calls the other, and every peer receives each change once.
#[multi_thread_test]
async fn two_hubs_call_each_other() {
    let mut one = hub(&[]).await;
    let two = calls(&[at(&one)]).await;
    one.stop().await;
    one = again_with(one, &["--seaport-peer", &at(&two).to_string()]).await;
    both_ways(&one, &two, at(&two)).await;
}

#[multi_thread_test]
async fn an_original_hub_and_ours_call_each_other() {
    let Some((mut original_hub, addr)) = start_original(None).await else { return };
    let daemon = calls(&[addr]).await;
    original_hub.send(json!(["peer", at(&daemon).port(), at(&daemon).ip().to_string()])).await;
    both_ways(&daemon, &daemon, addr).await;
}

/// The same daemon with more arguments.
async fn again_with(daemon: Daemon, args: &[&str]) -> Daemon {
    let own = at(&daemon).to_string();
    let listen = ["--seaport-listen", &own, "--seaport-advertise", "off"];
    Daemon::start_on(daemon.http, daemon.dns, &[&listen[..], args].concat()).await
}

async fn both_ways(one: &Daemon, calls: &Daemon, two: SocketAddr) {
    connected(calls, 1).await;
    connected(one, 1).await;
    let Some(mut here) = Node::client(at(one), None).await else { return };
    let Some(mut there) = Node::client(two, None).await else { return };
    here.knows("web", 0).await;
    there.knows("web", 0).await;
    for round in 1..=3 {
        let id = format!("w{round}");
        here.ask(json!(["register", "web@0.0.1", {"id": id, "port": 9000 + round}])).await;
        let meta = there.about("register", &id).await;
        assert_eq!((here.knows("web", 1).await.len(), there.knows("web", 1).await), (1, vec![meta.clone()]));
        // By its owner, with the other side's meta.
        here.send(json!(["free", meta])).await;
        there.about("free", &id).await;
        here.knows("web", 0).await;
        there.knows("web", 0).await;
        comes_to(one, "web", &[]).await;
    }
    // And from the other side.
    there.ask(json!(["register", "chat", {"id": "c", "port": 1}])).await;
    here.about("register", "c").await;
    here.send(json!(["free", "c"])).await;
    there.about("free", "c").await;
    // All that would have gone round has done so by the time that this has.
    there.ask(json!(["register", "chat", {"id": "last", "port": 2}])).await;
    here.about("register", "last").await;
    for id in ["w1", "w2", "w3", "c"] {
        for node in [&here, &there] {
            assert_eq!((node.times("register", id), node.times("free", id) <= 1), (0, true), "{id} is sent again");
        }
    }
    there.end().await;
    here.about("free", "last").await;
    comes_to(one, "chat", &[]).await;
}

/// As in the original's script `multi`, in a row of two hubs without a common store.
#[multi_thread_test]
async fn clients_go_on_at_the_other_hub() {
    let mut first = hub(&[]).await;
    let second = Daemon::start(&[&ADVERTISED[..], &["--seaport-peer", &at(&first).to_string()]].concat()).await;
    let Some(mut client) = Node::client(at(&first), None).await else { return };
    // The other hub advertises its address.
    assert_eq!(client.knows("seaport", 1).await[0]["port"], at(&second).port());
    let mail = client.ask(json!(["register", "mail"])).await;
    let port = |meta: &Value| u16::try_from(meta["port"].as_u64().expect("a port")).expect("a port");
    for daemon in [&first, &second] {
        comes_to(daemon, "mail", &[port(&mail)]).await;
    }
    first.kill().await;
    client.event("disconnect").await;
    let chat = client.ask(json!(["register", "chat"])).await;
    comes_to(&second, "chat", &[port(&chat)]).await;
    comes_to(&second, "mail", &[port(&mail)]).await;
    // It knows its own service twice, once as received: it always does after a loss.
    assert_eq!(client.ask(json!(["query", "chat"])).await[0]["port"], chat["port"]);
}

/// Three hubs of ours, each with each: services of one hub are not passed on by the next, so that it goes with its hub.
#[multi_thread_test]
async fn nothing_lives_on_between_hubs() {
    let mut one = hub(&[]).await;
    let two = calls(&[at(&one)]).await;
    let three = calls(&[at(&one), at(&two)]).await;
    connected(&three, 2).await;
    connected(&two, 1).await;
    let (mut peer, _) = Peer::synced(&one).await;
    peer.register("a", web("a", 1)).await;
    for daemon in [&two, &three] {
        comes_to(daemon, "web", &[1]).await;
    }
    // A service that any peer frees is gone everywhere.
    let (mut other, _) = Peer::synced(&three).await;
    other.send(json!(["free", "a"])).await;
    peer.receives(json!(["free", "a"])).await;
    for daemon in [&one, &two, &three] {
        comes_to(daemon, "web", &[]).await;
    }
    peer.register("a", web("a", 2)).await;
    for daemon in [&two, &three] {
        comes_to(daemon, "web", &[2]).await;
    }
    one.kill().await;
    for daemon in [&two, &three] {
        comes_to(daemon, "web", &[]).await;
        connected(daemon, usize::from(daemon.http == three.http)).await;
    }
    // A while later, too: each of them calls the first one again by now.
    let (mut late, known) = Peer::synced(&two).await;
    assert!(known.is_empty(), "{known:?}");
    late.register("b", web("b", 3)).await;
    comes_to(&three, "web", &[3]).await;
    assert_eq!(srv(&two, "web").await, [3]);
}

#[multi_thread_test]
async fn a_hub_with_keys_is_called_with_keys() {
    let files = Files::new();
    let (own, list) = (files.path("hub"), files.path("list"));
    // The original authorizes every client with a key; here, by the list, only `known`.
    for (key, taken) in [("known", true), ("stranger", false)] {
        let Some((_original_hub, addr)) = start_original(Some(&files.path(key))).await else { return };
        let args = [own.to_str(), list.to_str()].map(|path| path.expect("UTF-8"));
        let keys = ["--seaport-key", args[0], "--seaport-key", args[1], "--seaport-peer", &addr.to_string()];
        let daemon = Daemon::start(&[&LISTEN[..], &keys].concat()).await;
        let Some(mut client) = Node::client(addr, Some(&files.path("known"))).await else { return };
        client.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
        if taken {
            comes_to(&daemon, "web", &[8080]).await;
            let _held = daemon.provide("service=api&port=7").await;
            client.knows("api", 1).await;
        } else {
            wait_until(SOON, async || match daemon.log() {
                log if log.contains("the other hub's key is not authorized here") => Ok(()),
                log => Err(log),
            })
            .await;
            assert!(srv(&daemon, "web").await.is_empty());
        }
    }
}

#[multi_thread_test]
async fn a_daemon_on_the_same_store_is_no_other_hub() {
    let etcd = EtcdProcess::start().await;
    let one = Site::at(&etcd, &ADVERTISED).await;
    let two = Site::at(&etcd, &[&LISTEN[..], &["--seaport-peer", &at(&one).to_string()]].concat()).await;
    wait_until(SOON, async || match two.log() {
        log if log.contains("all daemons on one store are one hub") => Ok(()),
        log => Err(log),
    })
    .await;
    connected(&two, 0).await;
}

/// An original hub as far as a test needs one: the rows that it receives and sends.
struct Fake {
    lines: tokio::io::Lines<BufReader<tokio::net::tcp::OwnedReadHalf>>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

impl Fake {
    async fn called(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(SOON, listener.accept()).await.expect("it is called").expect("a connection");
        Self::of(stream).await
    }

    async fn of(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let mut fake = Self { lines: BufReader::new(reader).lines(), writer };
        fake.send(json!(["helo", "127.0.0.1"])).await;
        fake.send(json!(["synced"])).await;
        fake
    }

    async fn send(&mut self, row: Value) {
        self.writer.write_all(format!("{row}\n").as_bytes()).await.expect("it reads");
    }

    /// The next row that registers or frees.
    async fn next(&mut self) -> Value {
        loop {
            let line = timeout(SOON, self.lines.next_line()).await.expect("a row in time").expect("text");
            let row: Value = serde_json::from_str(&line.expect("it goes on")).expect("a row is JSON");
            if row[0] == "register" || row[0] == "free" {
                return row;
            }
        }
    }
}

/// An original hub frees the services of a lost connection, also when the next connection registers them as well. No
/// owner requested that.
#[multi_thread_test]
async fn rows_of_a_lost_connection_are_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let daemon = calls(&[listener.local_addr().expect("an address")]).await;
    let (mut peer, _) = Peer::synced(&daemon).await;
    peer.register("a", web("a", 1)).await;
    let mut before = Fake::called(&listener).await;
    assert_eq!(before.next().await, json!(["register", "a", web("a", 1)]));
    // A reset, which does not reveal what the other side knows.
    let stream = before.writer.reunite(before.lines.into_inner().into_inner()).expect("two halves of one");
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("it can be reset");
    drop(stream);
    let mut after = Fake::called(&listener).await;
    assert_eq!(after.next().await, json!(["register", "a", web("a", 1)]));
    after.send(json!(["free", "a"])).await;
    assert_eq!(after.next().await, json!(["register", "a", web("a", 1)]));
    peer.receives_nothing().await;
    assert_eq!(srv(&daemon, "web").await, [1]);
}

/// As text: a row that comes back is recognized by the order of its keys.
fn order(row: &Value) -> Vec<&str> {
    row[2].as_object().expect("meta").keys().map(String::as_str).collect()
}

#[multi_thread_test]
async fn rows_of_a_hub_are_not_sent_back_to_it() {
    let listeners = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await];
    let [one, two] = listeners.map(|listener| listener.expect("a free port"));
    let daemon = calls(&[&one, &two].map(|listener| listener.local_addr().expect("an address"))).await;
    let (mut one, mut two) = (Fake::called(&one).await, Fake::called(&two).await);
    // One that a client there registered, and one that another hub of ours had sent to it.
    one.send(json!(["register", "a", web("a", 1)])).await;
    let meta = json!({"host": "h", "id": "b", "role": "web", "port": 2});
    one.send(json!(["register", "b", meta])).await;
    comes_to(&daemon, "web", &[1, 2]).await;
    let row = two.next().await;
    assert_eq!(row, json!(["register", "a", web("a", 1)]));
    assert_eq!(order(&row), ["id", "version", "host", "role", "port"], "from another hub");
    let (mut peer, _) = Peer::synced(&daemon).await;
    peer.register("c", web("c", 3)).await;
    for hub in [&mut one, &mut two] {
        let row = hub.next().await;
        assert_eq!(row, json!(["register", "c", web("c", 3)]), "and nothing before it");
        assert_eq!(order(&row), ["host", "version", "id", "role", "port"], "from here");
    }
    // A row that it received comes back, as it does by way of another daemon: that holds nothing.
    two.send(row).await;
    peer.send(json!(["free", "c"])).await;
    for hub in [&mut one, &mut two] {
        assert_eq!(hub.next().await, json!(["free", "c"]));
    }
    one.send(json!(["free", "a"])).await;
    assert_eq!(two.next().await, json!(["free", "a"]));
    comes_to(&daemon, "web", &[2]).await;
}

/// On a store with several daemons another one may have sent a row to a hub that this one has not read yet.
#[multi_thread_test]
async fn rows_that_may_be_our_own_are_deferred() {
    let etcd = EtcdProcess::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("an address").to_string();
    let daemon = Site::at(&etcd, &[&LISTEN[..], &["--seaport-peer", &addr]].concat()).await;
    let mut original_hub = Fake::called(&listener).await;
    let relayed = |id: &str, port: u16| json!(["register", id, {"host": "h", "id": id, "role": "web", "port": port}]);
    original_hub.send(relayed("a", 1)).await;
    original_hub.send(relayed("b", 2)).await;
    original_hub.send(json!(["register", "c", web("c", 3)])).await;
    comes_to(&daemon, "web", &[3]).await;
    original_hub.send(json!(["free", "b"])).await;
    let (mut owner, _) = Peer::synced(&daemon).await;
    owner.register("d", web("d", 4)).await;
    assert_eq!(original_hub.next().await, json!(["register", "d", web("d", 4)]));
    comes_to(&daemon, "web", &[1, 3, 4]).await;
}

/// Rows of another daemon's connection are not sent back either, on a store with several.
#[multi_thread_test]
async fn several_daemons_call_one_hub() {
    let etcd = EtcdProcess::start().await;
    let Some((_original_hub, addr)) = start_original(None).await else { return };
    let addr = addr.to_string();
    let args = [&LISTEN[..], &["--seaport-peer", &addr]].concat();
    let (mut one, two) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    connected(&one, 1).await;
    connected(&two, 1).await;
    let Some(mut client) = Node::client(addr.parse().expect("an address"), None).await else { return };
    client.ask(json!(["register", "chat", {"port": 2, "id": "there"}])).await;
    for daemon in [&one, &two] {
        comes_to(daemon, "chat", &[2]).await;
    }
    let (mut owner, _) = Peer::synced(&two).await;
    owner.register("here", web("here", 1)).await;
    client.about("register", "here").await;
    // With the first one's connection the hub frees its services, and receives them again from the second.
    assert!(one.stop().await.success());
    wait_until(SOON, async || match client.ask(json!(["query", "web"])).await {
        found if found.as_array().is_some_and(|found| found.len() == 1) && client.times("free", "here") <= 1 => Ok(()),
        found => Err(found),
    })
    .await;
    assert_eq!((srv(&two, "web").await, srv(&two, "chat").await), (vec![1], vec![2]));
    assert!(!client.has_reported("free", "there"), "its own is not freed");
    drop(owner);
    comes_to(&two, "web", &[]).await;
    client.knows("web", 0).await;
}
