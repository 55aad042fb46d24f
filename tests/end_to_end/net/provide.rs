//! `GET /provide` up to its 101.

use crate::net::fixture::{Daemon, How};
use crate::net::raw::UPGRADE;
use skyhound_model::Host;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

#[tokio::test]
async fn a_101_means_visible() {
    let daemon = Daemon::start().await;
    for port in 1..=50 {
        let mut peer = daemon.connect().await;
        peer.provide(&format!("service=foo&port={port}")).await;
        assert_eq!(daemon.entries("foo").len(), 1, "without waiting");
        assert_eq!(daemon.app.registry.claims(), 1);
        drop(peer);
        daemon.holds(0, 0).await;
    }
}

#[tokio::test]
async fn parameters_are_stored_as_sent() {
    let daemon = Daemon::start().await;
    let query =
        "service=foo&port=9999&priority=3&weight=7&prefix=blue&ttl=5&text=a+b&group=g&version=1.2.3&meta.zone=eu";
    let mut peer = daemon.connect().await;
    peer.provide(query).await;
    let entry = daemon.entries("foo").remove(0);
    assert_eq!(entry.host, Some(Host::Addr(IpAddr::V4(Ipv4Addr::LOCALHOST))), "no host is the peer's address");
    assert_eq!((entry.port, entry.priority, entry.weight, entry.ttl), (9999, 3, 7, 5));
    assert_eq!((&*entry.text, &*entry.group), ("a b", "g"));
    let details = entry.details.expect("ours");
    assert_eq!((details.version(), details.frontend()), ("1.2.3", "skyapi"));
    assert_eq!(details.meta_value("zone"), Some("eu"));
    assert!(details.id().starts_with("blue-") && details.id().len() == "blue-".len() + 20, "{}", details.id());
}

#[tokio::test]
async fn any_origin_and_early_frames_are_fine() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    let head =
        format!("GET /provide?service=foo&port=1 HTTP/1.1\r\nHost: x\r\nOrigin: http://elsewhere\r\n{UPGRADE}\r\n");
    let update = crate::net::raw::frame(0x81, br#"{"op":"update","weight":9}"#);
    let ping = crate::net::raw::frame(0x89, b"");
    // All at once: what comes behind the request is not lost between hyper and the websocket.
    peer.send([head.as_bytes(), &update, &ping].concat()).await;
    assert_eq!(peer.answer().await.status, 101);
    assert_eq!(peer.receive_past_pings().await, crate::net::raw::Frame::Pong);
    assert_eq!(daemon.entries("foo")[0].weight, 9);
}

#[tokio::test]
async fn bad_parameters_are_400_and_write_nothing() {
    let daemon = Daemon::start().await;
    let long = "x".repeat(64);
    let mut peer = daemon.connect().await;
    for (query, sentence) in [
        ("port=1", "service is missing"),
        ("service=&port=1", "service is missing"),
        ("service=foo", "port is missing"),
        ("service=foo&port=", "port is missing"),
        ("service=foo&port=0", "port is 0; give the port"),
        ("service=foo&port=65536", "port is \"65536\"; give a whole number from 0 to 65535"),
        ("service=foo&port=http", "port is \"http\"; give a whole number from 0 to 65535"),
        ("service=foo&port=1&priority=abc", "priority is \"abc\"; give a whole number from 0 to 65535"),
        ("service=foo&port=1&priority=-1", "priority is \"-1\""),
        ("service=foo&port=1&weight=70000", "weight is \"70000\""),
        ("service=foo&port=1&weight=1e3", "weight is \"1e3\""),
        ("service=foo&port=1&port=2", "port is given twice"),
        ("service=../../x&port=1", "service \"/x\" has '/'"),
        ("service=a/b&port=1", "service \"a/b\" has '/'"),
        ("service=a%2Fb&port=1", "service \"a/b\" has '/'"),
        ("service=a%00b&port=1", "service \"a\\0b\" has '\\0'"),
        ("service=*&port=1", "service is \"*\""),
        ("service=any&port=1", "service is \"any\""),
        (&format!("service={long}&port=1"), "service \"xxxx"),
        ("service=foo&port=1&category=a,,b", "category \"\" has an empty label"),
        ("service=foo&port=1&category=a%20b", "category \"a b\" has ' '"),
        ("service=foo&port=1&prefix=a.b", "prefix \"a.b-"),
        ("service=foo&port=1&host=a_b%20c", "host"),
        ("service=foo&port=1&ttl=0", "ttl is 0"),
        ("service=foo&port=1&version=one", "version is \"one\""),
        ("service=%&port=1", "service is \"%\""),
    ] {
        let answer = peer.ask(&format!("GET /provide?{query}"), UPGRADE).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert!(answer.body.starts_with(sentence), "{query}: {answer:?}");
        assert_eq!(answer.body.lines().count(), 1, "one sentence: {answer:?}");
    }
    daemon.holds(0, 0).await;
    daemon.counted(r#"skyhound_registrations_total{frontend="skyapi",outcome="invalid"} 26"#).await;
    peer.provide("service=foo&port=1").await;
    daemon.holds(1, 1).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503() {
    let daemon = Daemon::started(How { follow: false, deadline: Duration::from_millis(300), ..How::default() }).await;
    let answer = daemon.connect().await.ask("GET /provide?service=foo&port=1", UPGRADE).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert!(answer.body.starts_with("the store is unavailable"), "{answer:?}");
    assert_eq!(daemon.app.registry.claims(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_before_its_101_leaves_nothing() {
    let daemon = Daemon::started(How { follow: false, ..How::default() }).await;
    for reset in [false, true] {
        let mut peer = daemon.connect().await;
        peer.send(format!("GET /provide?service=foo&port=1 HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n")).await;
        daemon.holds(0, 1).await;
        if reset {
            peer.reset();
        } else {
            drop(peer);
        }
        daemon.holds(0, 0).await;
    }
}
