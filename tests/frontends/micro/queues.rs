//! `/broker?topic=T&queue=Q`: each message to one of all sockets of a queue, on any daemon.

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
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// The messages that the members of a queue group have received, in each member's order.
#[derive(Clone, Default)]
struct QueueGroup(Arc<Mutex<Vec<Vec<usize>>>>);

impl QueueGroup {
    /// Adds a member, which reads until its socket ends.
    async fn member(&self, daemon: &Daemon) -> JoinHandle<()> {
        let mut socket = open(daemon, "topic=Jobs&queue=Q%2f1").await;
        let (group, own) = (self.clone(), self.with(|all| all.len()));
        self.with(|all| all.push(Vec::new()));
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Text(text) = message {
                    let number = number(&text);
                    group.with(|all| all[own].push(number));
                }
            }
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<Vec<usize>>) -> T) -> T {
        look(&mut self.0.lock().expect("nobody panics with it"))
    }

    /// Waits until all of these messages were received, each once and in order; returns the number for each member.
    async fn received(&self, range: Range<usize>) -> Vec<usize> {
        let of = |all: &[usize]| all.iter().copied().filter(|n| range.contains(n)).collect::<Vec<_>>();
        wait_until(RECEIVE_TIMEOUT, async || {
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

/// A publisher on the topic. As a subscriber it also receives its messages, which it reads and discards.
struct Publisher(SplitSink<Socket, Message>, JoinHandle<()>);

impl Publisher {
    async fn at(daemon: &Daemon) -> Self {
        let (sink, stream) = open(daemon, "topic=Jobs").await.split();
        Self(sink, tokio::spawn(stream.for_each(|_| std::future::ready(()))))
    }

    async fn publish(&mut self, range: Range<usize>) {
        for n in range {
            self.0.send(Message::text(n.to_string())).await.expect("it is open");
        }
    }
}

impl Drop for Publisher {
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
async fn each_message_reaches_one_member_on_all_daemons() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let group = QueueGroup::default();
    let mut publisher = Publisher::at(&one).await;
    // Directly after the handshake of the very first.
    let first = group.member(&one).await;
    publisher.publish(0..10).await;
    assert_eq!(group.received(0..10).await, [10]);
    // At the other daemon, whose feed may be behind: its member counts from its handshake on all the same.
    let second = group.member(&two).await;
    publisher.publish(10..MANY).await;
    let each = group.received(10..MANY).await;
    assert!(each.iter().all(|count| *count > MANY / 3), "{each:?}");
    // With two of three at one daemon.
    let third = group.member(&two).await;
    publisher.publish(MANY..2 * MANY).await;
    let each = group.received(MANY..2 * MANY).await;
    assert!(each.iter().all(|count| *count > MANY / 5), "{each:?}");
    // A member that leaves gets nothing more; the others get all.
    first.abort();
    let _ = first.await;
    wait_until(SOON, async || match nodes(&etcd) {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    publisher.publish(2 * MANY..2 * MANY + 200).await;
    assert_eq!(group.received(2 * MANY..2 * MANY + 200).await[0], 0);
    // Nothing came late.
    group.received(0..2 * MANY + 200).await;
    drop((second, third));
}

#[multi_thread_test]
async fn a_planned_stop_loses_nothing() {
    let etcd = EtcdProcess::start().await;
    let (mut one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let group = QueueGroup::default();
    let members = [group.member(&one).await, group.member(&two).await];
    let mut publisher = Publisher::at(&two).await;
    let publishing = tokio::spawn(async move {
        publisher.publish(0..2 * MANY).await;
        publisher
    });
    wait_until(SOON, async || match group.with(|all| all[0].len()) {
        0..10 => Err("too few"),
        _ => Ok(()),
    })
    .await;
    assert!(one.stop().await.success());
    let mut publisher = publishing.await.expect("it publishes them all");
    assert_eq!(nodes(&etcd), 1, "it left before it went");
    let each = group.received(0..2 * MANY).await;
    assert!(each[0] < MANY, "it was stopped on the way: {each:?}");
    publisher.publish(2 * MANY..2 * MANY + 50).await;
    assert_eq!(group.received(2 * MANY..2 * MANY + 50).await, [0, 50]);
    drop(members);
}

#[multi_thread_test]
async fn messages_for_a_killed_daemon_reach_others_after_its_lease() {
    let etcd = EtcdProcess::start().await;
    let short = ["--timeout", "4"];
    let (mut one, two) = (Site::at(&etcd, &short).await, Site::at(&etcd, &short).await);
    let group = QueueGroup::default();
    let _members = [group.member(&one).await, group.member(&two).await];
    let mut publisher = Publisher::at(&two).await;
    publisher.publish(0..50).await;
    group.received(0..50).await;
    one.kill().await;
    wait_until(SOON, async || match nodes(&etcd) {
        1 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    publisher.publish(50..MANY).await;
    assert_eq!(group.received(50..MANY).await, [0, MANY - 50]);
    // And its own lease lives, however long nothing happens.
    holds_for(Duration::from_secs(6), async || match nodes(&etcd) {
        1 => Ok(()),
        count => Err(format!("{count} nodes")),
    })
    .await;
}

/// Messages are delivered again from the position of each daemon.
#[multi_thread_test]
async fn an_interruption_of_the_store_brings_nothing_twice() {
    let mut etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let group = QueueGroup::default();
    let _members = [group.member(&one).await, group.member(&two).await];
    let mut publisher = Publisher::at(&two).await;
    publisher.publish(0..100).await;
    group.received(0..100).await;
    etcd.kill().await;
    etcd.restart().await;
    // Only the publisher receives the error of a failed publication: until one succeeds.
    let (mut sink, mut stream) = open(&two, "topic=Jobs").await.split();
    let mut from = 100;
    wait_until(SOON, async || {
        sink.send(Message::text(from.to_string())).await.expect("it is open");
        from += 1;
        let text = text(&mut stream).await;
        let message: Value = serde_json::from_str(&text).expect("JSON");
        if message["Header"].is_null() { Ok(()) } else { Err(text) }
    })
    .await;
    publisher.publish(from..from + 200).await;
    let each = group.received(from..from + 200).await;
    assert!(each.iter().all(|count| *count > 50), "{each:?}");
    group.with(|all| {
        let mut each: Vec<_> = all.concat();
        each.sort_unstable();
        assert!(each.is_sorted_by(|a, b| a < b), "none twice: {each:?}");
    });
}

/// On disk, memberships outlive the process; no client holds them.
#[multi_thread_test]
async fn a_restart_leaves_no_member_behind() {
    let mut site = Site::disk(&[]).await;
    let group = QueueGroup::default();
    let before = group.member(&site).await;
    site.daemon.kill().await;
    before.await.expect("its socket ends");
    site.daemon.restart().await;
    let _member = group.member(&site).await;
    let mut publisher = Publisher::at(&site).await;
    publisher.publish(0..100).await;
    assert_eq!(group.received(0..100).await, [0, 100]);
}
