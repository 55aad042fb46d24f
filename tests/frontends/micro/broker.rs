//! `/broker`: messages on a topic, and their subscribers.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::SOON;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

pub type Socket = WebSocketStream<TcpStream>;

async fn try_open(daemon: &Daemon, query: &str) -> Result<Socket, Error> {
    let stream = TcpStream::connect(daemon.http).await.expect("it listens");
    client_async(format!("ws://{}/broker?{query}", daemon.http), stream).await.map(|(socket, _)| socket)
}

pub async fn open(daemon: &Daemon, query: &str) -> Socket {
    try_open(daemon, query).await.unwrap_or_else(|error| panic!("{query}: {error}"))
}

pub async fn publish(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("it is open");
}

/// Receives the next message.
async fn receive(socket: &mut Socket) -> Value {
    loop {
        match timeout(SOON, socket.next()).await.expect("a message in time") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn message(base64: &str) -> Value {
    json!({"Header": null, "Body": base64})
}

pub async fn a_message_reaches_every_subscriber_of_its_topic(site: Site) {
    let (mut a, mut b, mut other) =
        (open(&site, "topic=News").await, open(&site, "topic=News").await, open(&site, "topic=news").await);
    publish(&mut a, "hi").await;
    publish(&mut other, "other").await;
    b.send(Message::binary(vec![0, 255])).await.expect("it is open");
    // To the sender too, in one order for all, and only on this topic, whose name has a case.
    let (first, second) = (receive(&mut a).await, receive(&mut a).await);
    assert_eq!([receive(&mut b).await, receive(&mut b).await], [first.clone(), second.clone()]);
    let mut both = [first.to_string(), second.to_string()];
    both.sort();
    assert_eq!(both, [message("AP8=").to_string(), message("aGk=").to_string()]);
    assert_eq!(receive(&mut other).await, message("b3RoZXI="));
    for n in 0..100 {
        publish(&mut a, &n.to_string()).await;
    }
    for n in 0..100 {
        let text = data_encoding::BASE64.encode(n.to_string().as_bytes());
        assert_eq!(receive(&mut b).await, message(&text), "in the order of their publication");
    }
}

/// The client sends more messages than a subscription's queue holds.
pub async fn a_client_that_publishes_without_a_pause_receives_every_message(site: Site) {
    const MESSAGES: usize = 1500;
    let (mut sink, mut stream) = open(&site, "topic=t").await.split();
    let publishing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            sink.send(Message::text(n.to_string())).await.expect("it is open");
        }
        sink
    });
    for n in 0..MESSAGES {
        let text = loop {
            match timeout(SOON, stream.next()).await.expect("a message in time") {
                Some(Ok(Message::Text(text))) => break text,
                Some(Ok(_)) => {}
                other => panic!("{n}: {other:?}"),
            }
        };
        let body = data_encoding::BASE64.encode(n.to_string().as_bytes());
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), message(&body));
    }
    drop(publishing.await);
}

/// Messages of that test.
const MANY: usize = 40;

/// Receives the next message of either socket; returns which socket it was, and the message.
async fn one_of(a: &mut Socket, b: &mut Socket) -> (usize, Value) {
    tokio::select! {
        received = receive(a) => (0, received),
        received = receive(b) => (1, received),
    }
}

pub async fn one_queue_member_receives_each_message(site: Site) {
    let (mut a, mut b) = (open(&site, "topic=jobs&queue=q").await, open(&site, "topic=jobs&queue=q").await);
    let (mut alone, mut all) = (open(&site, "topic=jobs&queue=r").await, open(&site, "topic=jobs").await);
    for n in 0..MANY {
        publish(&mut all, &n.to_string()).await;
    }
    let mut seen = Vec::new();
    for _ in 0..MANY {
        let expected = receive(&mut all).await;
        assert_eq!(receive(&mut alone).await, expected);
        seen.push(expected.to_string());
    }
    let mut got = Vec::new();
    for _ in 0..MANY {
        got.push(one_of(&mut a, &mut b).await.1.to_string());
    }
    got.sort();
    seen.sort();
    assert_eq!(got, seen, "each once");
    // Of many at once one member may be the quicker one. Of one after another each gets some: the member that waited
    // longest is next.
    let mut each = [0, 0];
    for _ in 0..10 {
        publish(&mut all, "y").await;
        each[one_of(&mut a, &mut b).await.0] += 1;
    }
    assert!(each.iter().all(|count| *count > 0), "both get some: {each:?}");
    // The remaining member gets them all. It has left when its close is answered; until then one may go to either.
    a.close(None).await.expect("it closes");
    while timeout(SOON, a.next()).await.expect("an end in time").is_some_and(|received| received.is_ok()) {}
    for _ in 0..10 {
        publish(&mut all, "x").await;
    }
    for _ in 0..10 {
        assert_eq!(receive(&mut b).await, message("eA=="));
    }
}

pub async fn invalid_requests_are_refused_with_a_reason(site: Site) {
    assert_eq!(site.get("/broker").await.status, 400);
    assert!(site.get("/broker?topic=").await.body.starts_with("topic is missing"));
    assert_eq!(site.get("/broker?topic=a").await.status, 426);
    let long = format!("topic={}", "t".repeat(300));
    for query in ["", "topic=a&topic=b", "topic=%FF", long.as_str()] {
        match try_open(&site, query).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 400, "{query}"),
            other => panic!("{query}: {other:?}"),
        }
    }
    let (mut a, mut b) = (open(&site, "topic=a/../b%20c").await, open(&site, "topic=a/../b%20c").await);
    publish(&mut a, &"x".repeat(16 * 1024)).await;
    assert_eq!(receive(&mut b).await["Body"].as_str().map(str::len), Some(21_848), "the limit passes whole");
    publish(&mut a, &"x".repeat(16 * 1024 + 1)).await;
    let close = loop {
        match timeout(SOON, a.next()).await.expect("in time") {
            Some(Ok(Message::Close(Some(frame)))) => break frame,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1009, "{close:?}");
    publish(&mut b, "still here").await;
    assert_eq!(receive(&mut b).await, message("c3RpbGwgaGVyZQ=="));
}

#[multi_thread_test]
async fn daemons_on_one_etcd_share_topics() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let (mut a, mut b) = (open(&one, "topic=t").await, open(&two, "topic=t").await);
    publish(&mut a, "from one").await;
    assert_eq!(receive(&mut b).await, message("ZnJvbSBvbmU="));
    publish(&mut b, "from two").await;
    assert_eq!([receive(&mut a).await, receive(&mut a).await], [message("ZnJvbSBvbmU="), message("ZnJvbSB0d28=")]);
}
