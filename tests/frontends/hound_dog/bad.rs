//! Invalid requests: the response names the problem, and nothing is written.

use crate::hound_dog::subscriber::try_open;
use skyhound_test_support::http;
use skyhound_test_support::site::Site;
use std::fmt::Write as _;

pub async fn invalid_requests_are_refused_with_a_reason(site: Site) {
    let before = site.revision().await;
    let mut wrong = String::new();
    let long = "x".repeat(256);
    for (target, names) in [
        ("register", "service"),
        ("register?service=a&ip=10.0.0.1", "port"),
        ("register?service=a&port=1", "ip"),
        ("register?ip=10.0.0.1&port=1", "service"),
        ("register?service=a&ip=&port=1", "ip"),
        ("register?service=a&ip=10.0.0.1&port=0", "port"),
        ("register?service=a&ip=10.0.0.1&port=65536", "port"),
        ("register?service=a&ip=10.0.0.1&port=http", "port"),
        ("register?service=a&ip=10.0.0.1&port=1&port=2", "port"),
        ("register?service=a&ip=a%20b&port=1", "ip"),
        ("register?service=a&ip=a..b&port=1", "ip"),
        ("register?service=a&ip=http://10.0.0.1&port=1", "ip"),
        ("register?service=a/b&ip=10.0.0.1&port=1", "service"),
        ("register?service=..&ip=10.0.0.1&port=1", "service"),
        ("register?service=a&ip=10.0.0.1&port=1&monitor=a,,b", "monitor"),
        ("monitor", "monitor"),
        ("monitor?monitor=", "monitor"),
        ("monitor?monitor=,", "monitor"),
        ("monitor?monitor=a&monitor=b", "monitor"),
        ("monitor?monitor=a%2fb", "monitor"),
        (&format!("monitor?monitor={long}"), "monitor"),
    ] {
        match try_open(site.http, target).await {
            Ok(_) => drop(writeln!(wrong, "{target}: was accepted")),
            Err(refusal) => {
                let answer = refusal.answer();
                if answer.status != 400 || !answer.body.contains(names) || answer.body.lines().count() != 1 {
                    let _ = writeln!(wrong, "{target}: {} {:?} does not name {names}", answer.status, answer.body);
                }
            }
        }
    }
    for (body, names) in [
        ("", "not JSON"),
        ("{\"event_type\":", "not JSON"),
        ("\u{fffd}", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "event_type"),
        (r#"{"event_type":"","services":["a"]}"#, "event_type"),
        (r#"{"event_type":1,"services":["a"]}"#, "event_type"),
        (r#"{"event_type":"t","event_body":[],"services":["a"]}"#, "event_body"),
        (r#"{"event_type":"t"}"#, "services"),
        (r#"{"event_type":"t","services":[]}"#, "services"),
        (r#"{"event_type":"t","services":"a"}"#, "services"),
        (r#"{"event_type":"t","services":[1]}"#, "services"),
        (r#"{"event_type":"t","services":["a/../b"]}"#, "services"),
        (r#"{"event_type":"t","services":["a"],"broadcast":"true"}"#, "broadcast"),
    ] {
        let answer = site.post_bytes("/etcd/event", body.as_bytes()).await;
        if answer.status != 400 || !answer.body.contains(names) || answer.body.lines().count() != 1 {
            let _ = writeln!(wrong, "{body}: {} {:?} does not name {names}", answer.status, answer.body);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for (request, status) in [
        ("GET /etcd/event", 405),
        ("POST /etcd/services", 405),
        ("POST /etcd/register?service=a&ip=10.0.0.1&port=1", 405),
        ("GET /etcd/register?service=a&ip=10.0.0.1&port=1", 426),
        ("GET /etcd/monitor?monitor=a", 426),
        ("GET /etcd/services/%zz", 400),
        ("GET /etcd/nothing", 404),
    ] {
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let answer = http::send(site.http, head.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
    assert_eq!(site.revision().await, before, "something was written");
}
