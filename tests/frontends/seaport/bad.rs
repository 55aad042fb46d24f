//! What means nothing: its sender hears why, and nobody else notices.

use crate::seaport::peer::{Peer, at, hub, web};
use serde_json::{Value, json};
use skyhound_test_support::multi_thread_test;

#[multi_thread_test]
async fn what_means_nothing_hears_why() {
    let daemon = hub(&[]).await;
    let ((mut one, _), (mut two, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    let long = format!(r#"["free","{}"]"#, "x".repeat(200));
    for (line, id, why) in [
        ("hello", "", "not JSON"),
        ("{}", "", "not a JSON array"),
        (r#"["register"]"#, "", "an id has to be a string"),
        (r#"["register","a"]"#, "a", "takes an id and an object"),
        (r#"["register","a",{}]"#, "a", "role is missing"),
        (r#"["register","a",{"role":"web"}]"#, "a", "port"),
        (r#"["register","a",{"role":"web","port":0}]"#, "a", "port"),
        (r#"["register","a",{"role":"web","port":1,"host":"a b"}]"#, "a", "host"),
        (r#"["free",{}]"#, "", "an id has to be a string"),
        (long.as_str(), "", "the limit is 128"),
        ("\u{0}", "", "not JSON"),
    ] {
        one.write(&format!("{line}\n")).await;
        let sentence = one.error(id).await;
        assert!(sentence.contains(why), "{line}: {sentence}");
    }
    // What a newer peer may say is passed over.
    one.write("\n[\"gossip\",1]\n[\"helo\"]\n[\"synced\",2]\n").await;
    one.hears_nothing().await;
    two.hears_nothing().await;
    one.register("a", web("a", 1)).await;
    two.hears(json!(["register", "a", web("a", 1)])).await;
}

#[multi_thread_test]
async fn who_goes_on_is_cut_off_alone() {
    let daemon = hub(&[]).await;
    let (mut other, _) = Peer::synced(&daemon).await;
    let (mut one, _) = Peer::synced(&daemon).await;
    one.register("a", web("a", 1)).await;
    other.hears(json!(["register", "a", web("a", 1)])).await;
    one.write(&"?\n".repeat(17)).await;
    for _ in 0..16 {
        assert!(one.error("").await.contains("not JSON"));
    }
    assert!(one.error("").await.contains("too many lines are invalid"));
    assert_eq!(one.next().await, None);
    other.hears(json!(["free", "a"])).await;

    let (mut one, _) = Peer::synced(&daemon).await;
    one.write(&"x".repeat(40_000)).await;
    assert!(one.error("").await.contains("32768 bytes"));
    assert_eq!(one.next().await, None);
    other.hears_nothing().await;
}

#[multi_thread_test]
async fn a_peer_has_so_many_services() {
    const MOST: usize = 8192;
    const SAID: usize = 10_000;
    let daemon = hub(&[]).await;
    let (mut one, _) = Peer::synced(&daemon).await;
    let (mut other, _) = Peer::synced(&daemon).await;
    let row = |at: usize| {
        let id = format!("n{at}");
        format!("{}\n", json!(["register", id, web(&id, 1)]))
    };
    let told = tokio::spawn(async move {
        for at in 0..MOST {
            let row = other.next().await.expect("the hub goes on");
            assert_eq!(row[0], "register", "the {at}th: {row}");
        }
        other
    });
    one.write(&(0..SAID).map(row).collect::<String>()).await;
    for at in MOST..SAID {
        assert!(one.error(&format!("n{at}")).await.contains("8192 services"));
    }
    // The others are told of all that are taken, and notice nothing else.
    let mut other = told.await.expect("it hears them all");
    other.hears_nothing().await;
    assert_eq!(Peer::synced(&daemon).await.1.len(), MOST);
    // When one has gone there is room for one.
    one.say(json!(["free", "n0"])).await;
    other.hears(json!(["free", "n0"])).await;
    one.register("x", web("x", 1)).await;
    other.hears(json!(["register", "x", web("x", 1)])).await;
}

/// A peer that says nothing at all, one that is half a line, and one that only reads: none of them costs the others
/// anything.
#[multi_thread_test]
async fn who_is_slow_costs_nobody_anything() {
    let daemon = hub(&[]).await;
    let _silent = Peer::connect(at(&daemon)).await;
    let mut half = Peer::connect(at(&daemon)).await;
    half.write("[\"regis").await;
    let ((mut one, _), (mut two, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    for round in 1..=50_u16 {
        let mut meta = web("a", round);
        meta["fill"] = Value::String("x".repeat(8000));
        one.register("a", meta.clone()).await;
        two.hears(json!(["register", "a", meta])).await;
    }
}
