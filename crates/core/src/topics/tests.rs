//! Topics on a store in memory.

use super::*;
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::embedded::Embedded;
use skyhound_store::{Item, Op, Write};

const TIMEOUT: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(30);
const RETENTION: Duration = Duration::from_secs(60);

fn topics() -> (Arc<Embedded>, Arc<Topics>) {
    let store = Arc::new(Embedded::in_memory().unwrap());
    (Arc::clone(&store), Topics::new(store, "event", TTL, Some(RETENTION)))
}

async fn subscribe(topics: &Arc<Topics>, to: &[&str]) -> Subscription {
    topics.subscribe(to.iter().map(ToString::to_string)).await.unwrap()
}

async fn publish(topics: &Topics, to: &[&str], body: &str) {
    let names: Vec<_> = to.iter().map(ToString::to_string).collect();
    let to = if names.is_empty() { Recipients::All } else { Recipients::Topics(&names) };
    topics.publish(to, Bytes::copy_from_slice(body.as_bytes())).await.unwrap();
}

async fn received(subscription: &mut Subscription) -> (String, String) {
    match timeout(TIMEOUT, subscription.next()).await.expect("a message in time") {
        Received::Message(message) => {
            let topic = message.topic.as_deref().unwrap_or("*").to_owned();
            (topic, String::from_utf8(message.body.to_vec()).unwrap())
        }
        Received::Lagged => panic!("lagged"),
    }
}

fn message(topic: &str, body: &str) -> (String, String) {
    (topic.to_owned(), body.to_owned())
}

#[tokio::test]
async fn each_message_is_delivered_once_in_order_to_its_subscribers() {
    let (_, topics) = topics();
    let mut both = subscribe(&topics, &["a", "B", "a"]).await;
    let mut one = subscribe(&topics, &["c"]).await;
    publish(&topics, &["a"], "1").await;
    publish(&topics, &["a"], "2").await;
    publish(&topics, &["c", "b", "nobody"], "3").await;
    publish(&topics, &[], "4").await;
    for (topic, body) in [("a", "1"), ("a", "2"), ("b", "3"), ("*", "4")] {
        assert_eq!(received(&mut both).await, message(topic, body));
    }
    assert_eq!(received(&mut one).await, message("c", "3"));
    assert_eq!(received(&mut one).await, message("*", "4"));
    drop((both, one));
    assert!(topics.subscriptions() == 0 && topics.lock().is_empty());
}

#[tokio::test]
async fn keys_with_a_longer_prefix_are_ignored() {
    let (store, topics) = topics();
    let mut all = subscribe(&topics, &["a"]).await;
    for key in ["eventual", "event/", "event/b", "event/a/b"] {
        let ops = vec![Op::Put { key: Key::from(key), value: Bytes::from("no"), lease: None }];
        store.commit(vec![Write { guards: vec![], ops }]).await.unwrap();
    }
    let ops = vec![Op::Delete { key: Key::from("event/b") }];
    store.commit(vec![Write { guards: vec![], ops }]).await.unwrap();
    publish(&topics, &["A"], "yes").await;
    assert_eq!(received(&mut all).await, message("A", "yes"));
}

#[tokio::test]
async fn a_slow_consumer_lags_and_nobody_waits() {
    let (_, topics) = topics();
    let (mut slow, mut quick) = (subscribe(&topics, &["a"]).await, subscribe(&topics, &["a"]).await);
    for at in 0..=QUEUE_MAX {
        publish(&topics, &["a"], &at.to_string()).await;
        assert_eq!(received(&mut quick).await.1, at.to_string());
    }
    assert!(matches!(slow.next().await, Received::Lagged));
    let mut slow = subscribe(&topics, &["a"]).await;
    let long = "x".repeat(MESSAGE_MAX);
    for _ in 0..=QUEUE_BYTES / MESSAGE_MAX {
        publish(&topics, &["a"], &long).await;
        received(&mut quick).await;
    }
    assert!(matches!(slow.next().await, Received::Lagged), "by bytes");
}

#[tokio::test]
async fn an_oversized_message_is_refused() {
    let (_, topics) = topics();
    let mut all = subscribe(&topics, &["a"]).await;
    let oversized = Bytes::from(vec![b'x'; MESSAGE_MAX + 1]);
    assert_eq!(topics.publish(Recipients::All, oversized).await, Err(PublishError::TooLarge(MESSAGE_MAX + 1)));
    publish(&topics, &["b", "a"], &"x".repeat(MESSAGE_MAX)).await;
    assert_eq!(received(&mut all).await.1.len(), MESSAGE_MAX);
}

#[tokio::test]
async fn a_compacted_feed_continues_from_now() {
    let (_, topics) = topics();
    let mut all = subscribe(&topics, &["a"]).await;
    // As after a restore: the store is before the delivered revision.
    topics.position.send_replace(Some(Revision(1_000_000)));
    let mut feed = topics.open().await.unwrap();
    assert_eq!(*topics.position.borrow(), Some(Revision(0)));
    publish(&topics, &["a"], "1").await;
    assert_eq!(timeout(TIMEOUT, feed.next()).await.unwrap().unwrap().changes.len(), 1);
    assert_eq!(received(&mut all).await.1, "1");
}

/// Two nodes that both follow one store.
async fn two_nodes() -> (Arc<Embedded>, [Arc<Topics>; 2]) {
    let (store, one) = topics();
    let other = Topics::new(Arc::clone(&store) as Arc<dyn Store>, "event", TTL, None);
    for topics in [&one, &other] {
        drop(subscribe(topics, &[]).await);
    }
    (store, [one, other])
}

/// The messages that a subscription receives up to this one.
async fn received_until(subscription: &mut Subscription, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|received| received != last) {
        all.push(received(subscription).await.1);
    }
    all
}

#[tokio::test]
async fn one_member_of_a_queue_receives_each_message_in_order() {
    let (_, [one, other]) = two_nodes().await;
    let mut all = subscribe(&other, &["a"]).await;
    let (mut a, mut b) = (one.join("A", "q").await.unwrap(), other.join("a", "q").await.unwrap());
    let mut alone = one.join("a", "r").await.unwrap();
    for at in 0..100 {
        publish(&one, &["a"], &format!("{at:02}")).await;
    }
    assert_eq!(received_until(&mut all, "99").await.len(), 100);
    assert_eq!(received_until(&mut alone, "99").await.len(), 100);
    // No message is in flight: the other node has delivered the last one, and so has this one, because `alone` has it.
    let drain = |from: &mut Subscription| {
        let received = std::iter::from_fn(|| from.inbox.pop());
        let text = |received| match received {
            Received::Message(message) => String::from_utf8(message.body.to_vec()).unwrap(),
            Received::Lagged => panic!("lagged"),
        };
        received.map(text).collect::<Vec<_>>()
    };
    let (of_a, of_b) = (drain(&mut a), drain(&mut b));
    assert!(of_a.is_sorted() && of_b.is_sorted() && of_a.len().min(of_b.len()) > 20, "{of_a:?} {of_b:?}");
    let mut both = [of_a, of_b].concat();
    both.sort();
    assert_eq!(both, (0..100).map(|at| format!("{at:02}")).collect::<Vec<_>>());
    // The remaining member receives all messages, once the other node knows that the first one left.
    drop(a);
    other.wait_until(|hub, _| (1..100).all(|at| hub.members.delivers_here("a/q", Revision(at)))).await.unwrap();
    for at in 0..20 {
        publish(&one, &["a"], &at.to_string()).await;
        assert_eq!(received(&mut b).await.1, at.to_string());
    }
    // Before a shutdown, after which no member can join.
    let leaving = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.leave_queues().await }
    });
    timeout(TIMEOUT, leaving).await.unwrap().unwrap();
    assert!(other.join("a", "q").await.unwrap_err().to_string().contains("stopping"));
    one.wait_until(|hub, _| !hub.members.delivers_here("a/q", Revision(1)) && hub.members.stored_here().len() == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn waiting_messages_are_received_before_a_node_leaves() {
    let (_, topics) = topics();
    let mut member = topics.join("a", "q").await.unwrap();
    publish(&topics, &["a"], "1").await;
    topics.wait_until(|hub, _| !hub.queues_are_empty()).await.unwrap();
    let mut leaving = Box::pin(topics.leave_queues());
    assert!(timeout(Duration::from_millis(100), &mut leaving).await.is_err(), "a message waits");
    assert_eq!(received(&mut member).await.1, "1");
    timeout(TIMEOUT, leaving).await.unwrap();
}

#[tokio::test]
async fn a_lost_membership_is_written_again() {
    let (store, topics) = topics();
    let mut member = topics.join("a", "q").await.unwrap();
    let listing = async || store.list(b"event/%queues/a/q/").await.unwrap().items;
    let first = listing().await.remove(0);
    assert_eq!((first.key.to_string(), &first.value[..]), (format!("event/%queues/a/q/{}", topics.node), &b"1"[..]));
    let again = async |before: &Item| {
        let mut position = topics.position.subscribe();
        let written = async {
            loop {
                if let [now] = &listing().await[..]
                    && now.revision > before.revision
                {
                    break now.clone();
                }
                position.changed().await.unwrap();
            }
        };
        timeout(TIMEOUT, written).await.unwrap()
    };
    // Deleted by hand, then with its lease.
    let ops = vec![Op::Delete { key: first.key.clone() }];
    store.commit(vec![Write { guards: vec![], ops }]).await.unwrap();
    let second = again(&first).await;
    store.revoke(second.lease.unwrap()).await.unwrap();
    let third = again(&second).await;
    assert_ne!(third.lease, second.lease);
    topics
        .wait_until(|hub, delivered| hub.members.stored_here().len() == 1 && delivered >= Some(third.revision))
        .await
        .unwrap();
    publish(&topics, &["a"], "1").await;
    assert_eq!(received(&mut member).await.1, "1");
    drop(member);
    topics.wait_until(|hub, _| hub.members.stored_here().is_empty()).await.unwrap();
    assert_eq!(listing().await, []);
}

#[tokio::test]
async fn a_relisted_node_knows_the_members_and_delivers_nothing_twice() {
    let (_, topics) = topics();
    let mut member = topics.join("a", "q").await.unwrap();
    publish(&topics, &["a"], "1").await;
    assert_eq!(received(&mut member).await.1, "1");
    // As after a restore, or after a compaction.
    topics.position.send_replace(Some(Revision(1_000_000)));
    topics.lock().members.clear();
    let mut feed = topics.open().await.unwrap();
    assert_eq!(topics.lock().members.stored_here().len(), 1);
    publish(&topics, &["a"], "2").await;
    assert_eq!(
        timeout(TIMEOUT, feed.next()).await.unwrap().unwrap().changes.len(),
        1,
        "the first is not delivered again"
    );
    assert_eq!(received(&mut member).await.1, "2");
}

#[tokio::test]
async fn a_member_that_joins_after_a_slow_one_misses_nothing() {
    let (_, topics) = topics();
    let mut slow = topics.join("a", "q").await.unwrap();
    let mut all = subscribe(&topics, &["a"]).await;
    for at in 0..=QUEUE_MAX {
        publish(&topics, &["a"], &at.to_string()).await;
        received(&mut all).await;
    }
    assert!(matches!(slow.next().await, Received::Lagged));
    let mut quick = topics.join("a", "q").await.unwrap();
    publish(&topics, &["a"], "x").await;
    assert_eq!(received(&mut quick).await.1, "x");
    assert!(matches!(slow.next().await, Received::Lagged));
}

#[test]
fn the_number_of_queues_is_limited() {
    let mut hub = Hub::new("a");
    for at in 0..QUEUES_MAX {
        assert!(hub.join("t", &at.to_string()).is_some());
    }
    assert!(hub.join("t", "more").is_none() && hub.join("u", "0").is_none());
    assert!(hub.join("t", "0").is_some(), "another member of an existing queue");
}

#[tokio::test]
async fn the_last_message_of_a_topic_expires() {
    let (store, topics) = topics();
    let mut all = subscribe(&topics, &["a"]).await;
    let leases = async || {
        let items = store.list(b"event/").await.unwrap().items;
        items.into_iter().map(|item| item.lease.expect("a message has a lease")).collect::<Vec<_>>()
    };
    publish(&topics, &["a", "b"], "1").await;
    publish(&topics, &["a"], "2").await;
    let first = leases().await;
    assert!(first.len() == 2 && first[0] == first[1], "one lease for many messages: {first:?}");
    assert_eq!(store.lease_ttl(first[0]).await.unwrap(), Some(RETENTION));
    // The lease expires, or the store was replaced.
    store.revoke(first[0]).await.unwrap();
    publish(&topics, &["a"], "3").await;
    assert_ne!(leases().await, first[..1]);
    for text in ["1", "2", "3"] {
        assert_eq!(received(&mut all).await, message("a", text), "a removal is no message");
    }
}
