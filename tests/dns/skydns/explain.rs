//! `/explain`, `/quarantine` and `skyhound explain`.

use serde_json::Value;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use skyhound_test_support::wait::{SOON, wait_until};
use tokio::process::Command;

async fn daemon() -> (EtcdProcess, Daemon) {
    let etcd = EtcdProcess::start().await;
    for (key, value) in [
        ("a", r#"{"host":"10.0.0.1","port":80}"#),
        ("b", r#"{"text":"no host"}"#),
        ("bad", r#"{"host":"10.0.0.2","port":"eighty"}"#),
    ] {
        etcd.ctl(&["put", &format!("/skydns/local/skydns/services/web/{key}"), value]);
    }
    let daemon = Daemon::start(&["--etcd-api", &etcd.endpoint()]).await;
    (etcd, daemon)
}

#[multi_thread_test]
async fn an_answer_is_explained_entry_by_entry() {
    let (_etcd, daemon) = daemon().await;
    let explanation: Value =
        serde_json::from_str(&daemon.get("/explain?name=web.services.skydns.local&type=SRV").await.body).unwrap();
    assert_eq!(explanation["answer"]["rcode"], "No Error", "{explanation:#}");
    let entries = explanation["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{explanation:#}");
    assert_eq!(entries[0]["records"][0], "web.services.skydns.local. 300 SRV 10 100 80 a.web.services.skydns.local.");
    assert_eq!(entries[1]["omission"], "it has no host");
    assert_eq!(explanation["quarantined"][0]["key"], "/skydns/local/skydns/services/web/bad");
    let wrong = daemon.get("/explain?name=a..b").await;
    assert_eq!((wrong.status, wrong.body.trim()), (400, "\"a..b\" has an empty label"));
}

#[multi_thread_test]
async fn the_quarantine_is_listed_and_healed() {
    let (etcd, daemon) = daemon().await;
    let listed: Value = serde_json::from_str(&daemon.get("/quarantine").await.body).unwrap();
    assert_eq!(listed["count"], 1);
    assert!(listed["quarantined"][0]["reason"].as_str().unwrap().contains("eighty"), "{listed:#}");
    etcd.ctl(&["put", "/skydns/local/skydns/services/web/bad", r#"{"host":"10.0.0.2"}"#]);
    wait_until(SOON, async || {
        let listed = daemon.get("/quarantine").await.body;
        if listed.contains("\"count\":0") { Ok(()) } else { Err(listed) }
    })
    .await;
}

#[multi_thread_test]
async fn the_verb_explains_in_text() {
    let (_etcd, daemon) = daemon().await;
    let run = async |args: &[&str]| {
        let server = format!("http://{}", daemon.http);
        let output =
            Command::new(program()).arg("explain").args(args).args(["--server", &server]).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, output, _) = run(&["web.services.skydns.local", "A"]).await;
    assert_eq!(code, Some(0));
    for line in [
        "web.services.skydns.local. A: No Error",
        "  answer     web.services.skydns.local. 300 A 10.0.0.1",
        "  record     web.services.skydns.local. 300 A 10.0.0.1",
        "  omitted:   it has no host",
    ] {
        assert!(output.lines().any(|l| l == line), "{line:?} is not in:\n{output}");
    }
    let (_, json, _) = run(&["example.org", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["zone"], Value::Null);
    let (code, _, why) = run(&["web", "NOTYPE"]).await;
    assert!(code == Some(1) && why.contains("is not a record type such as SRV"), "{why}");
}
