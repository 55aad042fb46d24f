//! `/broker?topic=T&queue=Q`: each message to one of all sockets of a queue, whichever daemon they are at.

use crate::micro::broker::{Socket, open};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, holds_for, wait_until};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// Messages of a test: numbers.
const MANY: usize = 1000;
/// How long they may take: each is a commit, one after another, and the machine does other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the members of a queue have heard, each what came to it in its order.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<Vec<usize>>>>);

impl Ears {
    /// One more member, who reads until its socket ends.
    async fn member(&self, daemon: &Daemon) -> JoinHandle<()> {
        let mut socket = open(daemon, "topic=Jobs&queue=Q%2f1").await;
        let (ears, own) = (self.clone(), self.with(|all| all.len()));
        self.with(|all| all.push(Vec::new()));
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Text(text) = message {
                    let number = number(&text);
                    ears.with(|all| all[own].push(number));
                }
            }
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Vec<usize>>) -> T) -> T {
        look(&mut self.0.lock().expect("nobody panics with it"))
    }

    /// What each has heard of these, when all of them have come. Each came once, and in order.
    async fn heard(&self, range: Range<usize>) -> Vec<usize> {
        let of = |all: &[usize]| all.iter().copied().filter(|n| range.contains(n)).collect::<Vec<_>>();
        wait_until(PATIENCE, async || {
            let came: usize = self.with(|all| all.iter().map(|one| of(one).len()).sum());
            if came >= range.len() { Ok(()) } else { Err(format!("{came} of {range:?}")) }
        })
        .await;
        self.with(|all| {
            let mut each: Vec<_> = all.iter().flat_map(|one| of(one)).collect();
            each.sort_unstable();
            assert_eq!(each, range.clone().collect::<Vec<_>>(), "each once");
            assert!(all.iter().all(|one| of(one).is_sorted()), "in the order of the topic: {all:?}");
            all.iter().map(|one| of(one).len()).collect()
        })
    }
}

fn number(text: &str) -> usize {
    let body: Value = serde_json::from_str(text).expect("JSON");
    let body = data_encoding::BASE64.decode(body["Body"].as_str().expect("a body").as_bytes()).expect("base64");
    String::from_utf8(body).expect("UTF-8").parse().expect("a number")
}

/// One who says things on the topic. Like all others it hears them, which is read and thrown away.
struct Voice(SplitSink<Socket, Message>, JoinHandle<()>);

impl Voice {
    async fn at(daemon: &Daemon) -> Self {
        let (sink, stream) = open(daemon, "topic=Jobs").await.split();
        Self(sink, tokio::spawn(stream.for_each(|_| std::future::ready(()))))
    }

    async fn say(&mut self, range: Range<usize>) {
        for n in range {
            self.0.send(Message::text(n.to_string())).await.expect("it is open");
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// The next text on a socket.
async fn text(stream: &mut SplitStream<Socket>) -> String {
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => return text.to_string(),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// How many daemons have members of the queue.
fn nodes(etcd: &EtcdProcess) -> usize {
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", "/skyhound/topics/%queues/%4aobs/%51%2f1/"]);
    keys.lines().filter(|line| !line.is_empty()).count()
}

#[multi_thread_test]
async fn each_message_comes_to_one_member_of_all_daemons() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let ears = Ears::default();
    let mut says = Voice::at(&one).await;
    // Directly after the handshake of the very first.
    let first = ears.member(&one).await;
    says.say(0..10).await;
    assert_eq!(ears.heard(0..10).await, [10]);
    // At the other daemon, whose feed may be behind: its member counts from its handshake on all the same.
    let second = ears.member(&two).await;
    says.say(10..MANY).await;
    let each = ears.heard(10..MANY).await;
    assert!(each.iter().all(|count| *count > MANY / 3), "{each:?}");
    // With two of three at one daemon.
    let third = ears.member(&two).await;
    says.say(MANY..2 * MANY).await;
    let each = ears.heard(MANY..2 * MANY).await;
    assert!(each.iter().all(|count| *count > MANY / 5), "{each:?}");
    // Who leaves gets nothing more; the rest get all.
    first.abort();
    let _ = first.await;
    wait_until(SOON, async || match nodes(&etcd) {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    says.say(2 * MANY..2 * MANY + 200).await;
    assert_eq!(ears.heard(2 * MANY..2 * MANY + 200).await[0], 0);
    // Nothing came late.
    ears.heard(0..2 * MANY + 200).await;
    drop((second, third));
}

#[multi_thread_test]
async fn a_planned_stop_loses_nothing() {
    let etcd = EtcdProcess::start().await;
    let (mut one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let ears = Ears::default();
    let members = [ears.member(&one).await, ears.member(&two).await];
    let mut says = Voice::at(&two).await;
    let saying = tokio::spawn(async move {
        says.say(0..2 * MANY).await;
        says
    });
    wait_until(SOON, async || match ears.with(|all| all[0].len()) {
        0..10 => Err("too few"),
        _ => Ok(()),
    })
    .await;
    assert!(one.stop().await.success());
    let mut says = saying.await.expect("it says them all");
    assert_eq!(nodes(&etcd), 1, "it left before it went");
    let each = ears.heard(0..2 * MANY).await;
    assert!(each[0] < MANY, "it was stopped on the way: {each:?}");
    says.say(2 * MANY..2 * MANY + 50).await;
    assert_eq!(ears.heard(2 * MANY..2 * MANY + 50).await, [0, 50]);
    drop(members);
}

#[multi_thread_test]
async fn what_a_killed_daemon_would_get_comes_to_others_after_its_lease() {
    let etcd = EtcdProcess::start().await;
    let short = ["--timeout", "4"];
    let (mut one, two) = (Site::at(&etcd, &short).await, Site::at(&etcd, &short).await);
    let ears = Ears::default();
    let _members = [ears.member(&one).await, ears.member(&two).await];
    let mut says = Voice::at(&two).await;
    says.say(0..50).await;
    ears.heard(0..50).await;
    one.kill().await;
    wait_until(SOON, async || match nodes(&etcd) {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    says.say(50..MANY).await;
    assert_eq!(ears.heard(50..MANY).await, [0, MANY - 50]);
    // And its own lease lives, however long nothing happens.
    holds_for(Duration::from_secs(6), async || match nodes(&etcd) {
        1 => Ok(()),
        count => Err(format!("{count} nodes")),
    })
    .await;
}

/// Messages are told again from where each daemon was.
#[multi_thread_test]
async fn an_interruption_of_the_store_brings_nothing_twice() {
    let mut etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let ears = Ears::default();
    let _members = [ears.member(&one).await, ears.member(&two).await];
    let mut says = Voice::at(&two).await;
    says.say(0..100).await;
    ears.heard(0..100).await;
    etcd.kill().await;
    etcd.restart().await;
    // A publication that fails is said to who published, and to nobody else: until one comes through.
    let (mut sink, mut stream) = open(&two, "topic=Jobs").await.split();
    let mut from = 100;
    wait_until(SOON, async || {
        sink.send(Message::text(from.to_string())).await.expect("it is open");
        from += 1;
        let text = text(&mut stream).await;
        let said: Value = serde_json::from_str(&text).expect("JSON");
        if said["Header"].is_null() { Ok(()) } else { Err(text) }
    })
    .await;
    says.say(from..from + 200).await;
    let each = ears.heard(from..from + 200).await;
    assert!(each.iter().all(|count| *count > 50), "{each:?}");
    ears.with(|all| {
        let mut each: Vec<_> = all.concat();
        each.sort_unstable();
        assert!(each.is_sorted_by(|a, b| a < b), "none twice: {each:?}");
    });
}

/// On disk, memberships outlive the process; nobody is behind them.
#[multi_thread_test]
async fn a_restart_leaves_no_member_behind() {
    let mut site = Site::disk(&[]).await;
    let ears = Ears::default();
    let before = ears.member(&site).await;
    site.daemon.kill().await;
    before.await.expect("its socket ends");
    site.daemon.restart().await;
    let _member = ears.member(&site).await;
    let mut says = Voice::at(&site).await;
    says.say(0..100).await;
    assert_eq!(ears.heard(0..100).await, [0, 100]);
}
