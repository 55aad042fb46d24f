//! A held socket: it lives, the entry lives; whatever ends it, the entry goes.

use crate::net::fixture::{Daemon, How};
use crate::net::raw::Frame;
use futures_util::{SinkExt, StreamExt};
use skyhound_test_support::wait::SOON;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

#[tokio::test]
async fn a_close_is_answered_when_the_entry_is_gone() {
    let daemon = Daemon::start().await;
    let mut socket = daemon.provide("service=foo&port=1").await.unwrap();
    socket.close(None).await.unwrap();
    while let Some(frame) = timeout(SOON, socket.next()).await.unwrap() {
        frame.unwrap();
    }
    assert_eq!(daemon.count(), 0, "without waiting");
    daemon.counted(r#"skyhound_releases_total{frontend="skyapi",reason="closed"} 1"#).await;
    daemon.counted("skyhound_websocket_connections 0").await;
}

#[tokio::test]
async fn every_way_to_go_removes_the_entry() {
    let daemon = Daemon::start().await;
    for way in 0..4 {
        let mut peer = daemon.connect().await;
        peer.provide("service=foo&port=1").await;
        daemon.holds(1, 1).await;
        match way {
            0 => drop(peer),
            1 => peer.reset(),
            2 => {
                // Half-closed: nothing can come from it any more, not even a pong.
                peer.shut().await;
                assert!(peer.ends().await);
            }
            _ => {
                peer.frame(CLOSE, &1000u16.to_be_bytes()).await;
                assert_eq!(peer.receive_past_pings().await, Frame::Close(1000, String::new()));
            }
        }
        daemon.holds(0, 0).await;
    }
}

#[tokio::test]
async fn of_two_sockets_with_one_address_the_last_to_leave_removes() {
    let daemon = Daemon::start().await;
    let mut one = daemon.connect().await;
    one.provide("service=foo&port=1").await;
    let mut two = daemon.connect().await;
    two.provide("service=foo&port=1").await;
    daemon.holds(1, 2).await;
    drop(one);
    daemon.holds(1, 1).await;
    drop(two);
    daemon.holds(0, 0).await;
}

#[tokio::test]
async fn a_peer_without_pongs_is_closed_with_a_reason() {
    let daemon = Daemon::started(How { timeout: Duration::from_secs(1), ..How::default() }).await;
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    let began = Instant::now();
    assert_eq!(peer.receive_past_pings().await, Frame::Close(1011, "no pong within 500ms".into()));
    assert!(began.elapsed() >= Duration::from_millis(500), "it had its time: {:?}", began.elapsed());
    daemon.holds(0, 0).await;
    daemon.counted(r#"skyhound_releases_total{frontend="skyapi",reason="ping_timeout"} 1"#).await;
}

#[tokio::test]
async fn any_frame_is_a_sign_of_life() {
    let daemon = Daemon::started(How { timeout: Duration::from_secs(3), ..How::default() }).await;
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    // Three pings are one timeout and more; none of the answers is to the letter but the first.
    for answer in [PONG, PING, TEXT] {
        assert_eq!(peer.receive().await, Frame::Ping);
        peer.frame(answer, b"").await;
        match answer {
            PING => assert_eq!(peer.receive().await, Frame::Pong),
            TEXT => assert!(matches!(peer.receive().await, Frame::Text(_))),
            _ => {}
        }
    }
    assert_eq!(peer.receive().await, Frame::Ping);
    daemon.holds(1, 1).await;
}

#[tokio::test]
async fn a_real_client_lives_as_long_as_it_is_polled() {
    let daemon = Daemon::started(How { timeout: Duration::from_secs(3), ..How::default() }).await;
    let mut socket = daemon.provide("service=foo&port=1").await.unwrap();
    for _ in 0..3 {
        assert!(matches!(timeout(SOON, socket.next()).await.unwrap(), Some(Ok(Message::Ping(_)))));
    }
    socket.send(Message::Ping("any".into())).await.unwrap();
    daemon.holds(1, 1).await;
}

#[tokio::test]
async fn an_update_is_visible_at_the_pong_behind_it() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    for (update, priority, weight) in [
        (r#"{"op":"update","weight":10,"priority":2}"#, 2, 10),
        (r#"{"op":"update","weight":65535}"#, 2, 65535),
        (r#"{"op":"update","priority":0}"#, 0, 65535),
    ] {
        peer.frame(TEXT, update.as_bytes()).await;
        peer.frame(PING, b"").await;
        assert_eq!(peer.receive_past_pings().await, Frame::Pong, "an accepted update is not answered");
        let entry = daemon.entries("foo").remove(0);
        assert_eq!((entry.priority, entry.weight), (priority, weight));
    }
    let before = daemon.app.catalog.snapshot().revision();
    peer.frame(TEXT, br#"{"op":"update","weight":65535}"#).await;
    peer.frame(PING, b"").await;
    assert_eq!(peer.receive_past_pings().await, Frame::Pong);
    assert_eq!(daemon.app.catalog.snapshot().revision(), before, "the same again writes nothing");
}

#[tokio::test]
async fn texts_that_mean_nothing_are_answered_and_change_nothing() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    for (text, sentence) in [
        ("hello", "ERROR: the frame is not a JSON object"),
        (r#"{"op":"jump"}"#, "ERROR: op is \"jump\", which is unknown"),
        (r#"{"op":"update","weight":65536}"#, "ERROR: weight is 65536; give a whole number from 0 to 65535"),
        (r#"{"op":"update","priority":1,"weight":"10"}"#, "ERROR: weight is \"10\""),
    ] {
        peer.frame(TEXT, text.as_bytes()).await;
        let Frame::Text(answer) = peer.receive_past_pings().await else { panic!("an answer to {text}") };
        assert!(answer.starts_with(sentence), "{answer}");
    }
    let entry = daemon.entries("foo").remove(0);
    assert_eq!((entry.priority, entry.weight), (1, 100));
    // A peer that goes on with it is not listened to for ever.
    for _ in 0..20 {
        peer.frame(TEXT, b"hello").await;
    }
    let close = loop {
        match peer.receive_past_pings().await {
            Frame::Text(_) => {}
            other => break other,
        }
    };
    assert_eq!(close, Frame::Close(1008, "too many invalid messages".into()));
    daemon.holds(0, 0).await;
}

#[tokio::test]
async fn protocol_errors_are_closed_with_their_code() {
    let daemon = Daemon::start().await;
    let large = vec![b'x'; 16 * 1024 + 1];
    for (first, payload, code, sentence) in [
        (BINARY, b"binary".as_slice(), 1003, "binary frames are not supported; send JSON in text frames"),
        (TEXT, &large, 1009, "a frame exceeds the limit of 16384 bytes"),
        (TEXT, b"\xff\xff", 1007, "a text is not UTF-8"),
        (0x83, b"", 1002, ""),
        (0xc1, b"", 1002, ""),
    ] {
        let mut peer = daemon.connect().await;
        peer.provide("service=foo&port=1").await;
        peer.frame(first, payload).await;
        let Frame::Close(there, why) = peer.receive_past_pings().await else { panic!("a close with {code}") };
        assert_eq!(there, code, "{why}");
        assert!(why.starts_with(sentence) && !why.is_empty(), "{why}");
        assert!(peer.ends().await);
        daemon.holds(0, 0).await;
    }
    // The same message in pieces is as large.
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    peer.frame(0x01, &large[..10_000]).await;
    peer.frame(0x80, &large[..10_000]).await;
    assert!(matches!(peer.receive_past_pings().await, Frame::Close(1009, _)));
    // A frame without a mask (RFC 6455 section 5.1).
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    peer.send([TEXT, 0]).await;
    assert!(matches!(peer.receive_past_pings().await, Frame::Close(1002, _)));
    daemon.counted(r#"skyhound_websocket_errors_total{code="1009"} 2"#).await;
    daemon.holds(0, 0).await;
}

#[tokio::test]
async fn a_frame_in_drips_is_waited_for() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    peer.provide("service=foo&port=1").await;
    for byte in crate::net::raw::frame(TEXT, br#"{"op":"update","weight":5}"#) {
        peer.send([byte]).await;
        tokio::task::yield_now().await;
    }
    peer.frame(PING, b"").await;
    assert_eq!(peer.receive_past_pings().await, Frame::Pong);
    assert_eq!(daemon.entries("foo")[0].weight, 5);
}
