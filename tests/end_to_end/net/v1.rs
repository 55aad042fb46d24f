//! Streams and their readers, byte by byte; and the description of plain HTTP against the routes there are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skyhound::ops;
use skyhound_core::catalog::history::WINDOW;
use skyhound_dns::DnsSettings;
use skyhound_frontends::v1;
use skyhound_model::Key;
use skyhound_net::Limits;
use skyhound_store::{Op, Write};
use tokio::net::TcpSocket;

use crate::net::fixture::{Daemon, How};
use skyhound_test_support::http;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::sse::Sse;
use skyhound_test_support::wait::{SOON, wait_until};

const WATCH: &str = "/v1/watch?service=web";

fn put(service: &str, id: u32, port: u32, text: &str) -> Op {
    let key = Key::from(format!("/skydns/local/skydns/services/{service}/{id}"));
    Op::Put { key, value: format!(r#"{{"host":"10.0.0.1","port":{port},"text":"{text}"}}"#).into(), lease: None }
}

async fn commit(daemon: &Daemon, ops: Vec<Op>) {
    let commit = daemon.store.commit(vec![Write { guards: vec![], ops }]).await.expect("it is written");
    daemon.app.catalog.reached(commit.revision).await;
}

/// The connection ends in the middle of a batch: a reader that resumes after its last event receives the others.
#[tokio::test]
async fn an_interrupted_batch_is_resumed() {
    let daemon = Daemon::start().await;
    let mut events = Sse::open(daemon.addr, WATCH, None).await;
    let begin = events.next().await.id;
    commit(&daemon, vec![put("web", 1, 1, ""), put("web", 2, 2, ""), put("web", 3, 3, ""), put("zoo", 1, 9, "")]).await;
    let batch = [events.next().await, events.next().await, events.next().await];
    assert_eq!(batch.each_ref().map(|event| event.port().1), [1, 2, 3]);
    assert_eq!((&batch[0].id, &batch[1].id), (&begin, &begin), "in the middle nobody is further than before");
    assert_ne!(batch[2].id, begin, "deliveries of the batch to others do not count");
    drop(events);
    for cut in 0..2 {
        let mut events = Sse::open(daemon.addr, WATCH, Some(&batch[cut].id)).await;
        assert_eq!([events.next().await, events.next().await, events.next().await], batch);
    }
    commit(&daemon, vec![put("web", 4, 4, "")]).await;
    let mut events = Sse::open(daemon.addr, WATCH, Some(&batch[2].id)).await;
    assert_eq!(events.received().await, ("put".into(), 4));
}

#[tokio::test]
async fn a_compacted_resume_token_resets_the_stream() {
    let daemon = Daemon::start().await;
    commit(&daemon, vec![put("web", 1, 1, "")]).await;
    let early = Sse::open(daemon.addr, WATCH, None).await.next().await.id;
    commit(&daemon, vec![put("web", 2, 1, "")]).await;
    let late = Sse::open(daemon.addr, WATCH, None).await.next().await.id;
    for port in 1..=u32::try_from(WINDOW).expect("a few thousand") {
        commit(&daemon, vec![put("api", 1, port, "")]).await;
    }
    let set = Sse::open(daemon.addr, WATCH, Some(&early)).await.next().await;
    assert_eq!((set.ports(), set.is_reset()), (vec![1, 1], true));
    // Of the window nothing is for this reader.
    let mut events = Sse::open(daemon.addr, WATCH, Some(&late)).await;
    commit(&daemon, vec![put("web", 3, 3, "")]).await;
    assert_eq!(events.received().await, ("put".into(), 3));
}

#[multi_thread_test]
async fn only_a_slow_consumer_is_closed() {
    let limits = Limits { body_send_timeout: Duration::from_millis(500), ..Limits::default() };
    let daemon = Daemon::started(How { limits, ..How::default() }).await;
    let mut reads = Sse::open(daemon.addr, WATCH, None).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("the system knows SO_RCVBUF");
    let mut slow = Sse::open_with(socket, daemon.addr, WATCH, None).await;
    assert!(reads.next().await.ports().is_empty() && slow.next().await.ports().is_empty());
    daemon.counted("skyhound_watchers 2").await;
    let text = "x".repeat(50_000);
    let mut port = 0;
    // More than the kernel takes for a peer that does not read (4 MiB and a little).
    while port < 400 {
        port += 1;
        commit(&daemon, vec![put("web", 1, port, &text)]).await;
        assert_eq!(reads.received().await, ("put".into(), port.into()));
    }
    daemon.counted(r#"skyhound_slow_consumers_total{frontend="v1",reason="send_timeout"} 1"#).await;
    daemon.counted("skyhound_watchers 1").await;
    slow.over().await;
    commit(&daemon, vec![put("web", 1, port + 1, "")]).await;
    assert_eq!(reads.received().await, ("put".into(), u64::from(port) + 1));
}

/// The same while a list is made.
#[multi_thread_test]
async fn a_list_that_is_not_read_is_given_up() {
    let limits = Limits { body_send_timeout: Duration::from_millis(500), ..Limits::default() };
    let daemon = Daemon::started(How { limits, ..How::default() }).await;
    let text = "x".repeat(50_000);
    for id in 1..=400 {
        commit(&daemon, vec![put("web", id, id, &text)]).await;
    }
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("the system knows SO_RCVBUF");
    let mut stream = socket.connect(daemon.addr).await.expect("it listens");
    let ask = b"GET /v1/instances HTTP/1.1\r\nHost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, ask).await.expect("it reads");
    // It has to have begun to be over.
    tokio::time::timeout(SOON, stream.readable()).await.expect("an answer begins").expect("a connection");
    wait_until(SOON, async || match daemon.http.drain().in_use() {
        0 => Ok(()),
        taken => Err(format!("{taken} connections")),
    })
    .await;
    // Cut off in the middle: nobody can take it for the whole list.
    let error = http::read(&mut stream).await.expect_err("half an answer");
    assert!(matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset), "{error}");
}

#[multi_thread_test]
async fn a_stop_ends_every_stream() {
    let limits = Limits { body_send_timeout: SOON * 2, ..Limits::default() };
    let mut daemon = Daemon::started(How { limits, ..How::default() }).await;
    let mut reads = Sse::open(daemon.addr, WATCH, None).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("the system knows SO_RCVBUF");
    let _slow = Sse::open_with(socket, daemon.addr, WATCH, None).await;
    let text = "x".repeat(50_000);
    assert!(reads.next().await.ports().is_empty());
    for port in 1..=300_u32 {
        commit(&daemon, vec![put("web", 1, port, &text)]).await;
        assert_eq!(reads.received().await, ("put".into(), port.into()));
    }
    let server = std::mem::replace(&mut daemon.http, crate::net::fixture::idle());
    assert_eq!(server.shutdown(SOON).await, 0, "also the one that reads nothing went");
    assert_eq!(reads.read().await, None, "in order");
}

#[tokio::test]
async fn an_unread_catalog_is_not_an_empty_set() {
    let daemon = Daemon::started(How { follow: false, ..How::default() }).await;
    for path in ["/v1/services", "/v1/instances", "/v1/watch", "/v1/watch?last-event-id=7.0"] {
        let answer = http::get(daemon.addr, path).await.expect("an answer");
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.header("retry-after").is_some() && answer.body.contains("has not read its store"), "{path}");
    }
}

/// Every route of plain HTTP and of the operator's is described, and nothing else.
#[tokio::test]
async fn the_routes_are_those_of_the_description() {
    let daemon = Daemon::start().await;
    let description: Value = serde_json::from_str(v1::OPENAPI).expect("it is JSON");
    let zone = daemon.app.naming.root.clone();
    let explain = ops::explain::routes(&Arc::clone(&daemon.app.catalog), DnsSettings::new(vec![zone]));
    let routes = v1::routes(&daemon.app).into_iter().chain(ops::routes(&daemon.app)).chain(explain);
    let there: BTreeSet<_> =
        routes.map(|route| format!("{} {}", route.method().as_str().to_lowercase(), route.path())).collect();
    let mut described = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().expect("an object") {
        for method in methods.as_object().expect("an object").keys() {
            described.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(there, described);
}
