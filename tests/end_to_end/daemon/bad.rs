//! Invalid requests of a peer: it gets the reason, nothing is written, and nobody else notices.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use skyhound_test_support::http;
use skyhound_test_support::provider::{Received, handshake};
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::SOON;

const FOO: &str = "foo.services.skydns.local";

/// Checks that the daemon still accepts valid registrations.
async fn goes_on(site: &Site) {
    assert_eq!(site.get("/healthz").await.status, 200);
    let held = site.provide("service=foo&port=1").await;
    let answer = site.dig().query(FOO, "SRV").await.expect("an answer");
    assert_eq!(answer.ports(), [1]);
    held.close().await;
}

pub async fn invalid_registrations_are_rejected_with_a_reason(site: Site) {
    let label = "x".repeat(64);
    let long = ["y".repeat(60).as_str(); 4].join(".");
    let prefix = "p".repeat(43);
    let table = [
        ("", "port"),
        ("port=1", "service"),
        ("service=&port=1", "service"),
        ("service=foo", "port"),
        ("service=foo&port=", "port"),
        ("service=foo&port=0", "port"),
        ("service=foo&port=-1", "port"),
        ("service=foo&port=65536", "port"),
        ("service=foo&port=99999999999999999999", "port"),
        ("service=foo&port=http", "port"),
        ("service=foo&port=1.5", "port"),
        ("service=foo&port=%2B1", "port"),
        ("service=foo&port=+1", "port"),
        ("service=foo&port=0x50", "port"),
        ("service=foo&port=1&port=2", "port"),
        ("service=foo&port=1&priority=-1", "priority"),
        ("service=foo&port=1&priority=65536", "priority"),
        ("service=foo&port=1&priority=high", "priority"),
        ("service=foo&port=1&weight=-1", "weight"),
        ("service=foo&port=1&weight=65536", "weight"),
        ("service=foo&port=1&weight=1e3", "weight"),
        ("service=..&port=1", "service"),
        ("service=../../x&port=1", "service"),
        ("service=%2e%2e%2f%2e%2e%2fx&port=1", "service"),
        ("service=a/b&port=1", "service"),
        ("service=a..b&port=1", "service"),
        ("service=.a&port=1", "service"),
        ("service=*&port=1", "service"),
        ("service=any&port=1", "service"),
        ("service=a%00b&port=1", "service"),
        ("service=a+b&port=1", "service"),
        ("service=%ff&port=1", "service"),
        ("service=%zz&port=1", "service"),
        (&format!("service={label}&port=1"), "service"),
        (&format!("service={long}&port=1"), "255"),
        ("service=foo&port=1&category=..", "category"),
        ("service=foo&port=1&category=a/b", "category"),
        ("service=foo&port=1&category=a,,b", "category"),
        ("service=foo&port=1&category=,", "category"),
        ("service=foo&port=1&category=a,*", "category"),
        (&format!("service=foo&port=1&category={label}"), "category"),
        (&format!("service=foo&port=1&category={long}"), "255"),
        ("service=foo&port=1&host=a/b", "host"),
        ("service=foo&port=1&host=a+b", "host"),
        ("service=foo&port=1&host=a..b", "host"),
        ("service=foo&port=1&prefix=a/b", "prefix"),
        ("service=foo&port=1&prefix=..", "prefix"),
        (&format!("service=foo&port=1&prefix={prefix}"), "prefix"),
        ("service=foo&port=1&ttl=0", "ttl"),
        ("service=foo&port=1&ttl=-1", "ttl"),
        ("service=foo&port=1&version=one", "version"),
    ];
    let before = site.revision().await;
    let mut wrong = String::new();
    for (query, names) in table {
        match site.try_provide(query).await {
            Ok(_) => drop(writeln!(wrong, "{query}: was taken")),
            Err(refusal) => {
                let answer = refusal.answer();
                let is_a_sentence = answer.body.trim_end().lines().count() == 1 && answer.body.len() < 500;
                if answer.status != 400 || !answer.body.contains(names) || !is_a_sentence {
                    let _ = writeln!(wrong, "{query}: {} {:?} does not name {names}", answer.status, answer.body);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(site.revision().await, before, "something was written");
    let none = site.dig().query("skydns.local", "SRV").await.expect("an answer");
    assert!(none.answer.is_empty(), "{none:?}");
    goes_on(&site).await;
}

pub async fn invalid_handshakes_are_rejected_with_a_reason(site: Site) {
    let before = site.revision().await;
    let right = handshake(site.http, "service=foo&port=1");
    let large = format!("X-Large: {}\r\n\r\n", "x".repeat(20_000));
    let many = (0..100).fold(String::new(), |all, n| all + &format!("X-{n}: x\r\n")) + "\r\n";
    let with = |more: &str| right.replacen("\r\n\r\n", &format!("\r\n{more}"), 1);
    let target = format!("/provide?service=foo&port=1&text={}", "x".repeat(20_000));
    let table = [
        (right.replacen("GET", "POST", 1), 405, "GET"),
        (right.replacen("GET", "DELETE", 1), 405, "GET"),
        ("GET /provide?service=foo&port=1 HTTP/1.1\r\nHost: x\r\n\r\n".into(), 426, "websocket"),
        (right.replacen("Upgrade: websocket", "Upgrade: h2c", 1), 426, "websocket"),
        (right.replacen("Version: 13", "Version: 12", 1), 426, "13"),
        (right.replacen("dGhlIHNhbXBsZSBub25jZQ==", "short", 1), 400, "Sec-WebSocket-Key"),
        (right.replacen("/provide?", "/provider?", 1), 404, "/provide"),
        (with(&large), 431, "16384"),
        (with(&many), 431, "64"),
        (right.replacen("/provide?service=foo&port=1", &target, 1), 431, "16384"),
    ];
    for (request, status, names) in table {
        let first = request.lines().next().unwrap_or_default().chars().take(80).collect::<String>();
        let answer = http::send(site.http, request.as_bytes()).await.unwrap_or_else(|e| panic!("{first}: {e}"));
        assert_eq!(answer.status, status, "{first}: {answer:?}");
        assert!(answer.body.contains(names), "{first}: {answer:?}");
        if status == 405 {
            assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{answer:?}");
        }
    }
    // Beyond what is read at all, and no HTTP: an answer or an end, and soon.
    for bytes in
        [with(&format!("X-Large: {}\r\n\r\n", "x".repeat(1 << 20))).into_bytes(), vec![0x16, 3, 1, 0, 200, 1, 0]]
    {
        if let Ok(answer) = http::send(site.http, &bytes).await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    assert_eq!(site.revision().await, before, "something was written");
    goes_on(&site).await;
}

/// A client's frame with this first byte, masked with zeros, its length in two bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short frame");
    let mut bytes = vec![first, 0xfe];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

pub async fn meaningless_frames_are_rejected_with_a_reason(site: Site) {
    let table: [(&str, Vec<u8>, u16, &str); 6] = [
        ("binary", frame(0x82, b"x"), 1003, "binary"),
        ("over the limit", frame(0x81, &b"x".repeat(20_000)), 1009, "16384"),
        ("not UTF-8", frame(0x81, &[0xff, 0xfe]), 1007, "UTF-8"),
        ("not masked", vec![0x81, 1, b'x'], 1002, ""),
        ("a reserved bit", frame(0xc1, b"x"), 1002, ""),
        ("an opcode that is none", frame(0x83, b"x"), 1002, ""),
    ];
    for (what, bytes, code, names) in table {
        let mut held = site.provide("service=foo&port=1").await;
        held.bytes(bytes);
        let received = held.next().await;
        let Received::Closed(Some((actual, reason))) = &received else { panic!("{what}: {received:?}") };
        assert!(*actual == code && reason.contains(names) && !reason.is_empty(), "{what}: {received:?}");
        held.ended().await;
        site.dig().comes_to_deny(FOO).await;
    }
    // Texts that mean nothing are answered, up to a point.
    let mut held = site.provide("service=foo&port=1").await;
    for _ in 0..100 {
        held.text("?");
    }
    let mut errors = 0;
    let last = loop {
        match held.next().await {
            Received::Text(text) if text.starts_with("ERROR: ") => errors += 1,
            other => break other,
        }
    };
    assert!((10..100).contains(&errors), "{errors}");
    assert!(matches!(&last, Received::Closed(Some((1008, reason))) if !reason.is_empty()), "{last:?}");
    site.dig().comes_to_deny(FOO).await;
    // A frame that comes together with the handshake is received.
    let mut early = handshake(site.http, "service=foo&port=1").into_bytes();
    early.extend(frame(0x81, b"?"));
    let mut stream = tokio::net::TcpStream::connect(site.http).await.expect("it listens");
    stream.write_all(&early).await.expect("it listens");
    let (answer, mut rest) = http::read(&mut stream).await.expect("an answer");
    assert_eq!(answer.status, 101);
    while !String::from_utf8_lossy(&rest).contains("ERROR: ") {
        let read = tokio::time::timeout(SOON, stream.read_buf(&mut rest)).await.expect("in time");
        assert_ne!(read.expect("it stays open"), 0);
    }
    drop(stream);
    site.dig().comes_to_deny(FOO).await;
    // Half a frame is none: the peer is still there, until it goes.
    let held = site.provide("service=foo&port=1").await;
    held.bytes([0x81]);
    drop(held);
    site.dig().comes_to_deny(FOO).await;
    goes_on(&site).await;
}
