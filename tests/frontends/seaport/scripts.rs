//! The behaviour of the original's own test scripts, with its client and our hub in place of `seaport.createServer`.
//!
//! | script | behaviour | here |
//! |---|---|---|
//! | alloc | a port is chosen, kept by a client that returns with it, and free again with its client | `a_port_is_chosen_and_may_be_kept` |
//! | authorized | with an authorized key one registers | `keys::an_authorized_client_of_the_original_registers` |
//! | free | a service is freed by its description | `a_service_is_freed_by_its_description_its_port_or_its_id` |
//! | `free_cases` | a killed process is out of the hub at once | `a_killed_process_is_gone` |
//! | `free_port` | a service is freed by its port | as `free` |
//! | `free_server` | the hub's side frees a service | `the_other_side_frees_a_service` |
//! | meta | meta with a host of one's own; nothing of it is left for the next | `meta_is_that_of_the_registering_client` |
//! | `meta_service` | a client that waits for a service receives its meta | `a_waiting_client_receives_meta` |
//! | `meta_update` | another one describes a service anew, for everybody | `meta_is_changed_while_it_runs` |
//! | multi | clients go on at the other hub when theirs is gone | `hubs::clients_go_on_at_the_other_hub`, `failover` |
//! | peer | what is registered and freed at one of two hubs that peer with each other, once and no more | `hubs::two_hubs_call_each_other` |
//! | rejected | with a key that is not authorized one does not register | `keys::a_stranger_is_refused_and_counted` |
//! | service | a client that waits for a service gets a response when it registers, also by `host:port` | `a_waiting_client_receives_meta` |
//! | versions | ranges of versions | `ranges_of_versions` |

use crate::seaport::node::Node;
use crate::seaport::peer::{Hubs, Peer, at, comes_to, srv};
use serde_json::{Value, json};
use skyhound_test_support::multi_thread_test;
use std::net::SocketAddr;

async fn client(hub: SocketAddr) -> Option<Node> {
    Node::client(hub, None).await
}

fn id(meta: &Value) -> &str {
    meta["id"].as_str().expect("an id")
}

#[multi_thread_test]
async fn a_port_is_chosen_and_may_be_kept() {
    for hubs in Hubs::both().await {
        let Some(mut watcher) = client(at(hubs.there())).await else { return };
        let Some(mut first) = client(at(hubs.here())).await else { return };
        let mail = first.ask(json!(["register", "mail"])).await;
        let port = mail["port"].as_u64().filter(|port| (10_000..65_536).contains(port)).expect("a port is chosen");
        let received = watcher.about("register", id(&mail)).await;
        assert_eq!((&received["port"], &received["host"]), (&json!(port), &json!("127.0.0.1")));
        let own = first.knows("mail", 1).await;
        assert_eq!((&own[0]["port"], &own[0]["host"]), (&json!(port), &json!("127.0.0.1")));
        first.send(json!(["close"])).await;
        watcher.about("free", id(&mail)).await;
        comes_to(hubs.there(), "mail", &[]).await;

        let Some(mut second) = client(at(hubs.here())).await else { return };
        let again = second.ask(json!(["register", "mail", port])).await;
        assert_eq!(watcher.about("register", id(&again)).await["port"], json!(port));
        comes_to(hubs.there(), "mail", &[u16::try_from(port).expect("a port")]).await;
    }
}

#[multi_thread_test]
async fn a_service_is_freed_by_its_description_its_port_or_its_id() {
    for hubs in Hubs::both().await {
        let Some(mut owner) = client(at(hubs.here())).await else { return };
        let Some(mut watcher) = client(at(hubs.there())).await else { return };
        for by in ["description", "port", "id"] {
            let mail = owner.ask(json!(["register", "mail"])).await;
            let received = watcher.about("register", id(&mail)).await;
            let found = owner.knows("mail", 1).await;
            assert_eq!((&found[0]["host"], &found[0]["port"]), (&json!("127.0.0.1"), &mail["port"]));
            let what = match by {
                "description" => found[0].clone(),
                other => found[0][other].clone(),
            };
            owner.send(json!(["free", what])).await;
            assert_eq!(watcher.about("free", id(&mail)).await, received, "by its {by}");
            owner.knows("mail", 0).await;
            comes_to(hubs.there(), "mail", &[]).await;
        }
    }
}

#[multi_thread_test]
async fn the_other_side_frees_a_service() {
    for hubs in Hubs::both().await {
        let Some(mut owner) = client(at(hubs.here())).await else { return };
        let mail = owner.ask(json!(["register", "mail@3.1.4"])).await;
        comes_to(hubs.there(), "mail", &[u16::try_from(mail["port"].as_u64().expect("a port")).expect("a port")]).await;
        let (mut side, known) = Peer::synced(hubs.there()).await;
        assert_eq!(known[0][2]["host"], "127.0.0.1");
        side.send(json!(["free", mail["id"]])).await;
        let freed = owner.about("free", id(&mail)).await;
        assert_eq!((&freed["port"], &freed["host"]), (&mail["port"], &json!("127.0.0.1")));
        owner.knows("mail", 0).await;
        comes_to(hubs.here(), "mail", &[]).await;
    }
}

#[multi_thread_test]
async fn a_killed_process_is_gone() {
    for hubs in Hubs::both().await {
        let Some(mut watcher) = client(at(hubs.there())).await else { return };
        watcher.knows("", 0).await;
        let Some(mut killed) = client(at(hubs.here())).await else { return };
        let echo = killed.ask(json!(["register", "echo@0.1.0"])).await;
        watcher.about("register", id(&echo)).await;
        watcher.knows("", 1).await;
        killed.kill().await;
        watcher.about("free", id(&echo)).await;
        watcher.knows("", 0).await;
        comes_to(hubs.there(), "echo", &[]).await;
    }
}

#[multi_thread_test]
async fn meta_is_that_of_the_registering_client() {
    for hubs in Hubs::both().await {
        let Some(mut watcher) = client(at(hubs.there())).await else { return };
        let Some(mut first) = client(at(hubs.here())).await else { return };
        let mail = first.ask(json!(["register", {"role": "mail", "colour": "red", "host": "127.4.4.4"}])).await;
        let received = watcher.about("register", id(&mail)).await;
        assert_eq!((&received["colour"], &received["host"]), (&json!("red"), &json!("127.4.4.4")));
        let own = first.knows("mail", 1).await;
        assert_eq!(own[0], received, "as the client and its hub know it");
        first.send(json!(["close"])).await;
        assert_eq!(watcher.about("free", id(&mail)).await["colour"], "red");

        let Some(mut second) = client(at(hubs.here())).await else { return };
        let next = second.ask(json!(["register", "mail", {"port": mail["port"], "shape": "round"}])).await;
        let received = watcher.about("register", id(&next)).await;
        assert_eq!(
            (&received["shape"], &received["host"], &received["port"]),
            (&json!("round"), &json!("127.0.0.1"), &mail["port"])
        );
        assert!(received.get("colour").is_none(), "{received}");
    }
}

#[multi_thread_test]
async fn a_waiting_client_receives_meta() {
    for hubs in Hubs::both().await {
        let Some(mut waiting) = client(at(hubs.there())).await else { return };
        waiting.send(json!(["get", "mail"])).await;
        waiting.send(json!(["get", "chat"])).await;
        // The whole address as one text.
        let Some(mut owner) = Node::start(None) else { return };
        owner.send(json!(["connect", at(hubs.here()).to_string()])).await;
        owner.event("connect").await;
        let mail = owner.ask(json!(["register", "mail", {"colour": "red"}])).await;
        let got = waiting.event("got").await["found"].take();
        let fields =
            |field: &str| got.as_array().expect("a list").iter().map(|one| one[field].clone()).collect::<Vec<_>>();
        assert_eq!((fields("host"), fields("colour")), (vec![json!("127.0.0.1")], vec![json!("red")]));
        assert_eq!(fields("port"), [mail["port"].clone()]);
        let chat = owner.ask(json!(["register", "chat"])).await;
        assert_eq!(waiting.event("got").await["found"][0]["port"], chat["port"]);
    }
}

#[multi_thread_test]
async fn meta_is_changed_while_it_runs() {
    for hubs in Hubs::both().await {
        let Some(mut owner) = client(at(hubs.here())).await else { return };
        let Some(mut other) = client(at(hubs.there())).await else { return };
        let mail = owner.ask(json!(["register", "mail", {"colour": "red"}])).await;
        let mut meta = other.about("register", id(&mail)).await;
        assert_eq!(
            (&meta["host"], &meta["port"], &meta["colour"]),
            (&json!("127.0.0.1"), &mail["port"], &json!("red"))
        );
        meta["colour"] = json!("RED");
        other.send(json!(["set", mail["id"], meta])).await;
        assert_eq!(owner.about("register", id(&mail)).await["colour"], "RED");
        for node in [&mut owner, &mut other] {
            assert_eq!(node.knows("mail", 1).await[0]["colour"], "RED");
        }
        for daemon in [hubs.here(), hubs.there()] {
            let (_, known) = Peer::synced(daemon).await;
            assert_eq!((known.len(), &known[0][2]["colour"]), (1, &json!("RED")));
        }
    }
}

#[multi_thread_test]
async fn ranges_of_versions() {
    for hubs in Hubs::both().await {
        are_found_by_range(&hubs).await;
    }
}

async fn are_found_by_range(hubs: &Hubs) {
    let Some(mut one) = client(at(hubs.here())).await else { return };
    let Some(mut two) = client(at(hubs.there())).await else { return };
    let Some(mut asks) = client(at(hubs.here())).await else { return };
    let mut ports = Vec::new();
    for (node, version) in [(0, "2.4.6"), (0, "2.5.0"), (1, "1.9.9")] {
        let node = if node == 0 { &mut one } else { &mut two };
        let mail = node.ask(json!(["register", format!("mail@{version}")])).await;
        asks.about("register", id(&mail)).await;
        ports.push(mail["port"].clone());
    }
    for (pattern, wanted) in [("mail", &ports[..]), ("mail@2.4.x", &ports[..1]), ("mail@>2.4.0", &ports[..2])] {
        asks.send(json!(["get", pattern])).await;
        let got = asks.event("got").await["found"].take();
        let mut got: Vec<_> = got.as_array().expect("a list").iter().map(|meta| meta["port"].as_u64()).collect();
        let mut wanted: Vec<_> = wanted.iter().map(Value::as_u64).collect();
        got.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(got, wanted, "{pattern}");
    }
    assert_eq!(srv(hubs.here(), "mail").await.len(), 3);
}
