//! A subscriber that does not read.

use crate::hound_dog::subscriber::{change, event, open, publish, receive, sorted};
use futures_util::StreamExt;
use serde_json::{Value, json};
use skyhound_core::events::QUEUE_MAX;
use skyhound_core::topics::{MESSAGE_MAX, QUEUE_BYTES};
use skyhound_test_support::http;
use skyhound_test_support::provider::handshake_for;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Monitors `engine`, reads up to the 101 and nothing more; its window is small.
async fn open_unread(site: &Site) -> (TcpStream, Vec<u8>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    let mut stream = socket.connect(site.http).await.expect("it listens");
    let handshake = handshake_for(site.http, "/etcd/monitor?monitor=engine");
    stream.write_all(handshake.as_bytes()).await.expect("it listens");
    let (answer, early) = http::read(&mut stream).await.expect("an answer");
    assert_eq!(answer.status, 101);
    (stream, early)
}

/// Waits until one slow consumer was closed for this reason.
async fn closed_as_slow_consumer(site: &Site, why: &str) {
    let line = format!(r#"skyhound_slow_consumers_total{{frontend="hound-dog",reason="{why}"}} 1"#);
    wait_until(SOON, async || {
        let text = site.get("/metrics").await.body;
        let there: Vec<_> = text.lines().filter(|there| there.starts_with("skyhound_slow_consumers")).collect();
        if there.contains(&line.as_str()) { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;
}

/// Reads to the end; returns the number of messages, and the close.
async fn rest((stream, early): (TcpStream, Vec<u8>)) -> (usize, Option<(u16, String)>) {
    let mut socket = WebSocketStream::from_partially_read(stream, early, Role::Client, None).await;
    let mut messages = 0;
    while let Some(Ok(message)) = tokio::time::timeout(SOON, socket.next()).await.expect("an end in time") {
        match message {
            Message::Text(_) => messages += 1,
            Message::Close(frame) => {
                return (messages, frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
            }
            _ => {}
        }
    }
    (messages, None)
}

pub async fn a_lagged_subscriber_is_closed_and_delays_nobody(site: Site) {
    let slow = open_unread(&site).await;
    let mut quick = open(site.http, "monitor?monitor=engine").await;
    let body = "x".repeat(MESSAGE_MAX - 1000);
    // Its queue, the message that is being sent, and the kernel's buffers.
    let many = 2 * QUEUE_BYTES / MESSAGE_MAX + 4;
    for _ in 0..many {
        publish(site.http, &json!({ "event_type": "long", "event_body": body, "services": ["engine"] })).await;
        assert_eq!(receive(&mut quick).await["body"]["event_body"].as_str().map(str::len), Some(body.len()));
    }
    let (messages, close) = rest(slow).await;
    assert!(messages < many, "{messages}");
    closed_as_slow_consumer(&site, "lagged").await;
    let (code, reason) = close.expect("a close");
    assert_eq!(code, 1013);
    assert!(reason.starts_with("slow consumer: too many messages were not read"), "{reason}");
    publish(site.http, &json!({ "event_type": "after", "broadcast": true })).await;
    assert_eq!(receive(&mut quick).await, event("*", "after", ""));
}

/// A subscriber that missed more changes than its queue holds receives the current set.
pub async fn a_subscriber_that_missed_changes_receives_the_current_set(site: Site) {
    let slow = open_unread(&site).await;
    let mut quick = open(site.http, "monitor?monitor=engine").await;
    let body = "x".repeat(QUEUE_BYTES / 5);
    for _ in 0..4 {
        publish(site.http, &json!({ "event_type": "long", "event_body": body, "services": ["engine"] })).await;
        receive(&mut quick).await;
    }
    let many = QUEUE_MAX + 10;
    let one = site.provide("service=engine&host=10.0.0.1&port=1").await;
    for weight in 0..many {
        one.text(format!(r#"{{"op":"update","weight":{weight}}}"#));
    }
    for _ in 0..=many {
        assert_eq!(receive(&mut quick).await, change("engine", "PUT", &[("10.0.0.1", 1)]));
    }
    let _two = site.provide("service=engine&host=10.0.0.2&port=2").await;
    let both = change("engine", "PUT", &[("10.0.0.1", 1), ("10.0.0.2", 2)]);
    assert_eq!(sorted(receive(&mut quick).await), both);
    let mut socket = WebSocketStream::from_partially_read(slow.0, slow.1, Role::Client, None).await;
    let mut changes = 0;
    loop {
        let message = tokio::time::timeout(SOON, socket.next()).await.expect("a message in time");
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_))) => continue,
            other => panic!("{other:?} after {changes} changes"),
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        changes += usize::from(!message["body"]["key_event"].is_null());
        if sorted(message) == both {
            break;
        }
    }
    assert!(changes < many / 2, "{changes} of them");
}

pub async fn a_subscriber_that_reads_nothing_is_closed_after_the_send_timeout(site: Site) {
    let slow = open_unread(&site).await;
    let mut quick = open(site.http, "monitor?monitor=engine").await;
    // Less than its queue holds, more than the kernel's buffers take.
    let body = "x".repeat(QUEUE_BYTES / 5);
    for _ in 0..5 {
        publish(site.http, &json!({ "event_type": "long", "event_body": body, "services": ["engine"] })).await;
        receive(&mut quick).await;
    }
    closed_as_slow_consumer(&site, "send_timeout").await;
    // It has a moment to read the message that was being sent, and then the close.
    let (_, close) = rest(slow).await;
    let (code, reason) = close.expect("a close");
    assert_eq!(code, 1013);
    assert!(reason.starts_with("slow consumer: nothing was read within the send timeout"), "{reason}");
    assert!(quick.is_open());
}
