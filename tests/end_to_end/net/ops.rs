//! Health, metrics, version.

use crate::net::fixture::{Daemon, How};
use serde_json::Value;

#[tokio::test]
async fn readyz_reports_the_source_of_answers() {
    let daemon = Daemon::start().await;
    let mut peer = daemon.connect().await;
    let mut held = daemon.connect().await;
    held.provide("service=foo&port=1").await;
    let answer = peer.ask("GET /readyz", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&body["ready"], &body["catalog"], &body["stale_seconds"]),
        (&true.into(), &"current".into(), &0.into())
    );
    assert_eq!((&body["entries"], &body["claims"], &body["quarantined"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!((&body["store"]["reachable"], &body["store"]["kind"]), (&true.into(), &"memory".into()));
}

#[tokio::test]
async fn a_catalog_that_was_never_read_is_alive_but_not_ready() {
    let daemon = Daemon::started(How { follow: false, ..How::default() }).await;
    let mut peer = daemon.connect().await;
    assert_eq!(peer.ask("GET /healthz", "").await.status, 200);
    let answer = peer.ask("GET /readyz", "").await;
    assert_eq!(answer.status, 503);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&body["ready"], &body["catalog"]), (&false.into(), &"never_loaded".into()));
    assert_eq!(body["stale_seconds"], Value::Null);
}

#[tokio::test]
async fn metrics_cover_the_components_and_the_process() {
    let daemon = Daemon::start().await;
    let mut held = daemon.connect().await;
    held.provide("service=foo&port=1").await;
    let mut peer = daemon.connect().await;
    peer.ask("GET /nowhere", "").await;
    // As Prometheus asks.
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let answer = peer.ask("GET /metrics", accept).await;
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    let lines: Vec<_> = answer.body.lines().collect();
    for line in [
        r#"skyhound_registrations_total{frontend="skyapi",outcome="ok"} 1"#,
        r#"skyhound_http_requests_total{route="/provide",status="101"} 1"#,
        r#"skyhound_http_requests_total{route="none",status="404"} 1"#,
        "skyhound_http_connections 2",
        "skyhound_websocket_connections 1",
        "skyhound_catalog_entries 1",
        "skyhound_registry_claims 1",
        r#"skyhound_registry_writes_total{operation="put"} 1"#,
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{}", answer.body);
    }
    for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_start_time_seconds "] {
        let value = lines.iter().find_map(|line| line.strip_prefix(name)).expect(name);
        assert!(value.parse::<f64>().unwrap() > 0.0, "{name}{value}");
    }
    assert_eq!(lines.last(), Some(&"# EOF"));
}

#[tokio::test]
async fn metrics_default_to_the_prometheus_text_format() {
    let daemon = Daemon::start().await;
    let answer = daemon.connect().await.ask("GET /metrics", "Accept: */*\r\n").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines: Vec<_> = answer.body.lines().collect();
    // As `promtool check metrics` wants it: each sample has a help and a type of its own name.
    for sample in lines.iter().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().unwrap_or_default();
        for head in [format!("# HELP {name} "), format!("# TYPE {name} ")] {
            assert!(lines.iter().any(|line| line.starts_with(&head)), "{head} is not in\n{}", answer.body);
        }
    }
    assert!(lines.len() > 20 && !lines.contains(&"# EOF"));
}

#[tokio::test]
async fn version_names_the_program() {
    let daemon = Daemon::start().await;
    let answer = daemon.connect().await.ask("GET /version", "").await;
    assert_eq!(answer.body, format!("{{\"app\":\"skyhound\",\"version\":\"{}\"}}\n", env!("CARGO_PKG_VERSION")));
}
