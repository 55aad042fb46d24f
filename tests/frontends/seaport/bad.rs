//! Invalid rows: their sender receives the reason, and no other peer is affected.

use crate::seaport::peer::{Peer, at, hub, web};
use serde_json::{Value, json};
use skyhound_test_support::multi_thread_test;

#[multi_thread_test]
async fn invalid_rows_are_refused_with_a_reason() {
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
    // Unknown rows, as of a newer peer, are ignored.
    one.write("\n[\"gossip\",1]\n[\"helo\"]\n[\"synced\",2]\n").await;
    one.receives_nothing().await;
    two.receives_nothing().await;
    one.register("a", web("a", 1)).await;
    two.receives(json!(["register", "a", web("a", 1)])).await;
}

#[multi_thread_test]
async fn a_peer_that_continues_with_invalid_rows_is_closed_alone() {
    let daemon = hub(&[]).await;
    let (mut other, _) = Peer::synced(&daemon).await;
    let (mut one, _) = Peer::synced(&daemon).await;
    one.register("a", web("a", 1)).await;
    other.receives(json!(["register", "a", web("a", 1)])).await;
    one.write(&"?\n".repeat(17)).await;
    for _ in 0..16 {
        assert!(one.error("").await.contains("not JSON"));
    }
    assert!(one.error("").await.contains("too many lines are invalid"));
    assert_eq!(one.next().await, None);
    other.receives(json!(["free", "a"])).await;

    let (mut one, _) = Peer::synced(&daemon).await;
    one.write(&"x".repeat(40_000)).await;
    assert!(one.error("").await.contains("32768 bytes"));
    assert_eq!(one.next().await, None);
    other.receives_nothing().await;
}

#[multi_thread_test]
async fn services_of_a_peer_are_limited() {
    const LIMIT: usize = 8192;
    const SENT: usize = 10_000;
    let daemon = hub(&[]).await;
    let (mut one, _) = Peer::synced(&daemon).await;
    let (mut other, _) = Peer::synced(&daemon).await;
    let row = |at: usize| {
        let id = format!("n{at}");
        format!("{}\n", json!(["register", id, web(&id, 1)]))
    };
    let receiving = tokio::spawn(async move {
        for at in 0..LIMIT {
            let row = other.next().await.expect("the hub goes on");
            assert_eq!(row[0], "register", "the {at}th: {row}");
        }
        other
    });
    one.write(&(0..SENT).map(row).collect::<String>()).await;
    for at in LIMIT..SENT {
        assert!(one.error(&format!("n{at}")).await.contains("8192 services"));
    }
    // The others receive all that are accepted, and nothing else.
    let mut other = receiving.await.expect("it receives them all");
    other.receives_nothing().await;
    assert_eq!(Peer::synced(&daemon).await.1.len(), LIMIT);
    // When one has gone there is room for one.
    one.send(json!(["free", "n0"])).await;
    other.receives(json!(["free", "n0"])).await;
    one.register("x", web("x", 1)).await;
    other.receives(json!(["register", "x", web("x", 1)])).await;
}

/// A peer that sends nothing at all, one that is half a line, and one that only reads: none of them costs the others
/// anything.
#[multi_thread_test]
async fn slow_peers_do_not_delay_others() {
    let daemon = hub(&[]).await;
    let _idle = Peer::connect(at(&daemon)).await;
    let mut half = Peer::connect(at(&daemon)).await;
    half.write("[\"regis").await;
    let ((mut one, _), (mut two, _)) = (Peer::synced(&daemon).await, Peer::synced(&daemon).await);
    for round in 1..=50_u16 {
        let mut meta = web("a", round);
        meta["fill"] = Value::String("x".repeat(8000));
        one.register("a", meta.clone()).await;
        two.receives(json!(["register", "a", meta])).await;
    }
}
