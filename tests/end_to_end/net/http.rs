//! Requests that are no good: a status and a sentence, and the next one is served.

use crate::net::fixture::{Daemon, How};
use crate::net::raw::UPGRADE;
use skyhound_net::metrics::Metrics;
use skyhound_net::{HttpServer, HttpSettings, Limits, Route, Routes, http, route};
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One connection for all of them: none of these ends it.
#[tokio::test]
async fn unknown_paths_are_404_with_the_known_ones() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    let answer = peer.ask("GET /nowhere", "").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.starts_with("unknown path /nowhere; this server has: "), "{answer:?}");
    assert!(answer.body.contains(" GET /healthz, "), "{answer:?}");
    let answer = peer.ask("POST /provide?service=foo&port=1", "Content-Length: 0\r\n").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{answer:?}");
    let answer = peer.ask("GET /provide?service=foo&port=1", "").await;
    assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")), "{answer:?}");
    let answer = peer.ask("HEAD /version", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_ne!(answer.header("content-length"), Some("0"));
    assert_eq!(peer.ask("HEAD /provide?service=foo&port=1", UPGRADE).await.status, 405);
    assert_eq!(peer.ask("GET /healthz", "").await.body, "ok\n");
    daemon.holds(0, 0).await;
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    for (was, is, status, sentence) in [
        ("Version: 13", "Version: 8", 426, "Sec-WebSocket-Version must be 13"),
        ("Upgrade: websocket", "Upgrade: h2c", 426, "this path is a WebSocket"),
        ("Connection: Upgrade", "Connection: keep-alive", 426, "this path is a WebSocket"),
        ("dGhl", "d", 400, "Sec-WebSocket-Key must be 16 random bytes"),
        ("Sec-WebSocket-Key", "X", 400, "Sec-WebSocket-Key must be 16 random bytes"),
    ] {
        let answer = peer.ask("GET /provide?service=foo&port=1", &UPGRADE.replace(was, is)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.starts_with(sentence), "{answer:?}");
    }
    let body = format!("{UPGRADE}Content-Length: 2\r\n");
    let answer = peer.ask("GET /provide?service=foo&port=1", &body).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "a WebSocket handshake must not have a body\n"));
    daemon.holds(0, 0).await;
}

#[tokio::test]
async fn large_heads_are_431() {
    let limits = Limits { head_bytes: 4096, headers: 10, ..Limits::default() };
    let daemon = Daemon::started(How { limits, ..How::default() }).await;
    for (headers, sentence) in [
        (format!("X: {}\r\n", "x".repeat(5000)), "the request's head has 50"),
        ("X: x\r\n".repeat(10), "the request has 11 headers; the limit is 10"),
        // Over twice the limit nobody looks any more, and hyper has no sentence.
        ("X: x\r\n".repeat(1000), ""),
        (format!("X: {}\r\n", "x".repeat(500_000)), ""),
    ] {
        let mut peer = daemon.connect().await;
        peer.push(format!("GET /version HTTP/1.1\r\nHost: x\r\n{headers}\r\n")).await;
        let answer = peer.answer().await;
        assert_eq!(answer.status, 431, "{answer:?}");
        assert!(answer.body.starts_with(sentence), "{answer:?}");
    }
    let line = format!("GET /version?{}", "x".repeat(5000));
    assert_eq!(daemon.connect().await.ask(&line, "").await.status, 431);
    assert_eq!(daemon.connect().await.ask("GET /version", "").await.status, 200);
}

#[tokio::test]
async fn slow_heads_are_408_and_idle_connections_are_let_go() {
    let limits = Limits { head_timeout: Duration::from_secs(1), ..Limits::default() };
    let daemon = Daemon::started(How { limits, ..How::default() }).await;
    let mut slow = daemon.connect().await;
    slow.send("GET /version HTTP/1.1\r\nHo").await;
    let answer = slow.answer().await;
    assert_eq!(answer.status, 408);
    assert_eq!(answer.body, "the request's head did not arrive within 1s\n");
    assert!(slow.ends().await);
    let mut idle = daemon.connect().await;
    assert!(idle.ends().await, "no request, so no response");
    let mut once = daemon.connect().await;
    assert_eq!(once.ask("GET /version", "").await.status, 200);
    assert!(once.ends().await);
}

#[tokio::test]
async fn invalid_http_is_400() {
    let daemon = Daemon::start().await;
    for bytes in ["\u{16}\u{3}\u{1}\0\0\r\n\r\n", "hello\r\n\r\n", "GET /version HTTP/1.1\r\nHo st: x\r\n\r\n"] {
        let mut peer = daemon.connect().await;
        peer.send(bytes).await;
        assert_eq!(peer.answer().await.status, 400, "{bytes:?}");
        assert!(peer.ends().await);
    }
}

#[tokio::test]
async fn requests_one_behind_the_other_are_answered_in_order() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    peer.send("GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(peer.answer().await.body.starts_with("{\"app\""));
    assert_eq!(peer.answer().await.body, "ok\n");
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_until_one_ends() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let daemon = Daemon::started(How { limits, ..How::default() }).await;
    let mut one = daemon.connect().await;
    assert_eq!(one.ask("GET /healthz", "").await.status, 200);
    let held = daemon.provide("service=foo&port=1").await.expect("a second connection");
    let mut over = daemon.connect().await;
    over.push("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = over.answer().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "this daemon holds 2 connections, which is its limit\n");
    assert!(answer.header("retry-after").is_some_and(|after| (1..=5).contains(&after.parse::<u16>().unwrap())));
    // The held socket gives its place back when it ends, though hyper has long forgotten it.
    drop(held);
    wait_until(SOON, async || {
        let answer = daemon.connect().await.ask("GET /healthz", "").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

/// The helper that routes with bodies use.
#[tokio::test]
async fn bodies_have_a_limit_and_a_deadline() {
    let limits = Limits { body_bytes: 8, body_timeout: Duration::from_millis(300), ..Limits::default() };
    let echo = Route::post("/echo", move |request, _| async move {
        let body = http::read_body(request, &limits).await?;
        Ok(route::reply(hyper::StatusCode::OK, "text/plain", body))
    });
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (settings, metrics) = (HttpSettings { limits, ..HttpSettings::default() }, Arc::new(Metrics::new()));
    let server = HttpServer::bind(&[any], &settings, Routes::default().with([echo]), &metrics).unwrap();
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(server.local_addrs()[0]).await.unwrap();
        crate::net::raw::Raw::new(stream)
    };
    for (request, status, body) in [
        ("Content-Length: 3\r\n\r\nabc", 200, "abc"),
        ("Content-Length: 9\r\n\r\nabcdefghi", 413, "the request's body exceeds the limit of 8 bytes\n"),
        (
            "Transfer-Encoding: chunked\r\n\r\n9\r\nabcdefghi\r\n0\r\n\r\n",
            413,
            "the request's body exceeds the limit of 8 bytes",
        ),
        ("Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "the request's body cannot be read: "),
        ("Content-Length: 3\r\n\r\na", 408, "the request's body did not arrive within 300ms\n"),
    ] {
        let mut peer = connect().await;
        peer.send(format!("POST /echo HTTP/1.1\r\nHost: x\r\n{request}")).await;
        let answer = peer.answer().await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.starts_with(body), "{answer:?}");
    }
}

#[tokio::test]
async fn addresses_that_are_taken_are_named() {
    let bind = |addrs: &[SocketAddr]| {
        HttpServer::bind(addrs, &HttpSettings::default(), Routes::default(), &Arc::new(Metrics::new()))
    };
    let server = bind(&[SocketAddr::from(([127, 0, 0, 1], 0)), "[::1]:0".parse().unwrap()]).unwrap();
    let [v4, v6] = server.local_addrs() else { panic!("two were asked for") };
    assert!(v4.port() != 0 && v6.is_ipv6() && v6.port() != 0);
    let error = bind(&[*v4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen for HTTP on {v4}; stop the process that listens there (`ss -lunpt 'sport = :{}'` names it), \
             or choose another port",
            v4.port()
        )
    );
}
