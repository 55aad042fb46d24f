//! A `Provider` whose daemon misbehaves.

use super::peer::{Peer, next, web};
use super::soon;
use futures_util::{SinkExt, StreamExt};
use skyhound_client::{Event, Events, Loss, Provide, ProvideError, Provider, State, Timing};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Waits for the loss that comes next.
async fn loss(events: &mut Events) -> (Loss, Duration) {
    loop {
        let event = soon(events.next()).await.expect("the provider goes on");
        if let Event::State(State::Lost { reason, retry_in, .. }) = event {
            return (reason, retry_in);
        }
    }
}

#[tokio::test]
async fn every_parameter_is_sent_and_101_registers() {
    let peer = Peer::bind().await;
    let options = Provide { text: Some("a b&c".into()), category: vec!["x".into(), "y".into()], ..web(&[&peer]) };
    let provider = Provider::start(options);
    let (_socket, target) = peer.accept().await;
    assert_eq!(target, "/provide?service=web&port=8080&category=x%2Cy&text=a%20b%26c");
    soon(provider.registered()).await.unwrap();
    assert!(matches!(provider.state(), State::Registered { server, .. } if server == peer.server()));
}

#[tokio::test]
async fn bad_parameters_are_final_with_the_daemons_message() {
    let peer = Peer::bind().await;
    let (provider, mut events) = Provider::start_with_events(web(&[&peer]));
    peer.answer("400 Bad Request", "", "port is 0; give the port that the service listens on\n").await;
    let Err(ProvideError::Refused(refusal)) = soon(provider.registered()).await else { panic!("it is refused") };
    assert_eq!((refusal.status, refusal.server), (400, peer.server()));
    assert_eq!(refusal.message, "port is 0; give the port that the service listens on");
    while soon(events.next()).await.is_some() {}
    assert!(peer.nobody_comes().await, "a refusal is final");
    soon(provider.close()).await;
}

#[tokio::test]
async fn a_refusal_of_what_was_accepted_before_is_not_final() {
    let peer = Peer::bind().await;
    let (provider, mut events) = Provider::start_with_events(web(&[&peer]));
    drop(peer.accept().await);
    loss(&mut events).await;
    peer.answer("400 Bad Request", "", "service is unknown here").await;
    let (reason, retry_in) = loss(&mut events).await;
    assert_eq!(reason.to_string(), "it answered 400: service is unknown here");
    assert!(retry_in >= web(&[]).timing.retry_max, "{retry_in:?}");
    let _held = peer.accept().await;
    soon(provider.registered()).await.unwrap();
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let peer = Peer::bind().await;
    let (provider, mut events) = Provider::start_with_events(web(&[&peer]));
    peer.answer("503 Service Unavailable", "Retry-After: 1\r\n", "the store is unavailable").await;
    let answered = Instant::now();
    let (reason, retry_in) = loss(&mut events).await;
    assert_eq!(
        reason,
        Loss::Unavailable { status: 503, message: "the store is unavailable".into(), retry_after: Some(1) }
    );
    assert!(retry_in >= Duration::from_secs(1), "{retry_in:?}");
    let _held = peer.accept().await;
    assert!(answered.elapsed() >= Duration::from_millis(990), "{:?}", answered.elapsed());
    soon(provider.registered()).await.unwrap();
}

#[tokio::test]
async fn retry_after_delays_nobody_who_has_another_server() {
    let (busy, free) = (Peer::bind().await, Peer::bind().await);
    let provider = Provider::start(web(&[&busy, &free]));
    busy.answer("503 Service Unavailable", "Retry-After: 3600\r\n", "").await;
    let (socket, _) = free.accept().await;
    soon(provider.registered()).await.unwrap();
    drop(socket);
    free.accept().await;
}

#[tokio::test]
async fn a_server_that_never_responds_is_skipped() {
    let (mute, good) = (Peer::bind().await, Peer::bind().await);
    let timing = Timing { response: Duration::from_millis(100), ..web(&[]).timing };
    let (provider, mut events) = Provider::start_with_events(Provide { timing, ..web(&[&mute, &good]) });
    let _held = mute.connected().await;
    let (reason, _) = loss(&mut events).await;
    assert_eq!(reason, Loss::NoResponse(Duration::from_millis(100)));
    let _held = good.accept().await;
    soon(provider.registered()).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_server_is_skipped() {
    let gone = Peer::bind().await;
    let good = Peer::bind().await;
    let options = web(&[&gone, &good]);
    drop(gone);
    let (provider, mut events) = Provider::start_with_events(options);
    let (reason, _) = loss(&mut events).await;
    assert!(matches!(reason, Loss::Unreachable(_)), "{reason}");
    let _held = good.accept().await;
    soon(provider.registered()).await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_reported_and_retried() {
    let peer = Peer::bind().await;
    let servers = vec![peer.url().replace("http:", "https:").parse().unwrap()];
    let (_provider, mut events) = Provider::start_with_events(Provide { servers, ..web(&[]) });
    for _ in 0..2 {
        let garbage = async { peer.connected().await.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await };
        let ((reason, _), _) = tokio::join!(loss(&mut events), garbage);
        assert!(matches!(reason, Loss::Unreachable(_)), "{reason}");
    }
}

#[tokio::test]
async fn unencodable_parameters_are_rejected_at_once() {
    let peer = Peer::bind().await;
    let provider = Provider::start(Provide { text: Some("x".repeat(70_000)), ..web(&[&peer]) });
    let error = soon(provider.registered()).await.unwrap_err().to_string();
    assert!(error.contains("text and meta make a URL of 70"), "{error}");
}

#[tokio::test]
async fn a_dead_connection_after_the_101_is_noticed() {
    let peer = Peer::bind().await;
    let timing = Timing { liveness_timeout: Duration::from_millis(150), ..web(&[]).timing };
    let (_provider, mut events) = Provider::start_with_events(Provide { timing, ..web(&[&peer]) });
    // It is not read from, so that no ping is answered.
    let (_held, _) = peer.accept().await;
    assert_eq!(loss(&mut events).await.0, Loss::Timeout(Duration::from_millis(150)));
    peer.accept().await;
}

#[tokio::test]
async fn answered_pings_keep_the_connection() {
    let peer = Peer::bind().await;
    let timing = Timing {
        ping_interval: Duration::from_millis(50),
        liveness_timeout: Duration::from_secs(2),
        ..web(&[]).timing
    };
    let provider = Provider::start(Provide { timing, ..web(&[&peer]) });
    let (mut socket, _) = peer.accept().await;
    // Longer than the longest time without a ping.
    for _ in 0..50 {
        let received = soon(socket.next()).await;
        assert!(matches!(received, Some(Ok(Message::Ping(_)))), "{received:?}");
    }
    assert!(matches!(provider.state(), State::Registered { .. }));
}

#[tokio::test]
async fn the_daemons_pings_are_answered() {
    let peer = Peer::bind().await;
    let provider = Provider::start(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    socket.send(Message::Ping("mark".into())).await.unwrap();
    loop {
        match soon(socket.next()).await {
            Some(Ok(Message::Pong(payload))) if payload == "mark" => break,
            Some(Ok(_)) => {}
            other => panic!("{other:?} and no pong"),
        }
    }
    drop(provider);
}

#[tokio::test]
async fn a_closed_connection_is_made_again() {
    let peer = Peer::bind().await;
    let (_provider, mut events) = Provider::start_with_events(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    socket.close(Some(CloseFrame { code: 1012.into(), reason: "restarting".into() })).await.unwrap();
    let (reason, _) = loss(&mut events).await;
    assert_eq!(reason.to_string(), "it closed the connection with code 1012: restarting");
    drop(socket);
    let (socket, _) = peer.accept().await;
    // And once more, without a word.
    drop(socket);
    loss(&mut events).await;
    peer.accept().await;
}

#[tokio::test]
async fn try_again_later_waits_as_long_as_can_be() {
    let peer = Peer::bind().await;
    let (_provider, mut events) = Provider::start_with_events(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    socket.close(Some(CloseFrame { code: 1013.into(), reason: "full".into() })).await.unwrap();
    let (_, retry_in) = loss(&mut events).await;
    assert!(retry_in >= web(&[]).timing.retry_max, "{retry_in:?}");
    peer.accept().await;
}

#[tokio::test]
async fn an_update_is_sent_and_outlives_the_connection() {
    let peer = Peer::bind().await;
    let provider = Provider::start(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    soon(provider.registered()).await.unwrap();
    provider.update(Some(10), Some(2));
    let update = next(&mut socket).await.unwrap();
    assert_eq!(update.to_string(), r#"{"op":"update","weight":10,"priority":2}"#);
    drop(socket);
    let (mut socket, target) = peer.accept().await;
    assert_eq!(target, "/provide?service=web&port=8080&priority=2&weight=10");
    provider.update(Some(11), None);
    let update = next(&mut socket).await.unwrap();
    assert_eq!(update.to_string(), r#"{"op":"update","weight":11,"priority":2}"#, "the new handshake is no update");
}

#[tokio::test]
async fn an_error_frame_is_reported_and_ends_nothing() {
    let peer = Peer::bind().await;
    let (provider, mut events) = Provider::start_with_events(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    socket.send(Message::text("ERROR: weight is 70000; 65535 is the most")).await.unwrap();
    let complaint = loop {
        if let Event::ErrorReport { message: sentence, .. } = soon(events.next()).await.unwrap() {
            break sentence;
        }
    };
    assert_eq!(complaint, "weight is 70000; 65535 is the most");
    assert!(matches!(provider.state(), State::Registered { .. }));
}

#[tokio::test]
async fn a_close_waits_for_the_daemons() {
    let peer = Peer::bind().await;
    let (provider, mut events) = Provider::start_with_events(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    soon(provider.registered()).await.unwrap();
    let closed = tokio::spawn(provider.close());
    let Some(Message::Close(Some(frame))) = next(&mut socket).await else { panic!("it sends a close frame") };
    assert_eq!(u16::from(frame.code), 1000);
    assert!(!closed.is_finished(), "the daemon has not closed yet");
    while next(&mut socket).await.is_some() {}
    soon(closed).await.unwrap();
    let mut last = None;
    while let Some(event) = soon(events.next()).await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::State(State::Closed)));
    assert!(peer.nobody_comes().await);
}

#[tokio::test]
async fn a_close_that_nobody_answers_has_a_deadline() {
    let peer = Peer::bind().await;
    let timing = Timing { close: Duration::from_millis(50), ..web(&[]).timing };
    let provider = Provider::start(Provide { timing, ..web(&[&peer]) });
    let _held = peer.accept().await;
    soon(provider.registered()).await.unwrap();
    let began = Instant::now();
    soon(provider.close()).await;
    // Not the 5 s that all others have.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_close_ends_an_attempt_and_a_wait() {
    let peer = Peer::bind().await;
    let provider = Provider::start(web(&[&peer]));
    let _held = peer.connected().await;
    soon(provider.close()).await;

    let timing = Timing { retry_max: Duration::from_secs(3600), ..web(&[]).timing };
    let (provider, mut events) = Provider::start_with_events(Provide { timing, ..web(&[&peer]) });
    peer.answer("503 Service Unavailable", "Retry-After: 3600\r\n", "").await;
    loss(&mut events).await;
    soon(provider.close()).await;
}

#[tokio::test]
async fn a_drop_breaks_the_socket_at_once() {
    let peer = Peer::bind().await;
    let provider = Provider::start(web(&[&peer]));
    let (mut socket, _) = peer.accept().await;
    soon(provider.registered()).await.unwrap();
    drop(provider);
    assert_eq!(next(&mut socket).await, None, "no close frame, just the end");
    assert!(peer.nobody_comes().await);
}
