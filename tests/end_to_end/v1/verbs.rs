//! `skyhound services`, `instances` and `watch` against daemons that come and go.

use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::{Provider, Received};
use skyhound_test_support::site::Site;
use skyhound_test_support::verb;
use skyhound_test_support::wait::{SOON, wait_until};

fn skyhound(daemon: &Daemon, args: &[&str]) -> Command {
    let mut command = verb::skyhound(args);
    command.env("SKYHOUND_SERVER", format!("http://{}", daemon.http));
    command
}

async fn run(daemon: &Daemon, args: &[&str]) -> Output {
    verb::run(skyhound(daemon, args)).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A running `skyhound watch`.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(daemon: &Daemon, args: &[&str]) -> Self {
        let mut command = skyhound(daemon, &[&["watch"], args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await.expect("a line in time");
        line.expect("its output can be read").expect("a line, and not the end")
    }

    /// The next line of `--json`: event, reason, port.
    async fn next_event(&mut self) -> (String, String, u64) {
        let line = self.line().await;
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let word = |field: &str| event[field].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
        (word("event"), word("why"), event["instance"]["port"].as_u64().expect("a port"))
    }

    async fn ended(&mut self) -> Option<i32> {
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").expect("an exit status").code()
    }
}

fn expected_event(event: &str, why: &str, port: u64) -> (String, String, u64) {
    (event.into(), why.into(), port)
}

#[multi_thread_test]
async fn services_and_instances_are_listed() {
    let mut daemon = Daemon::start(&[]).await;
    for args in [&["services"][..], &["instances", "web"]] {
        let none = run(&daemon, args).await;
        assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0), "{none:?}");
    }
    let _one = daemon.provide("service=web&host=10.0.0.1&port=1&version=1.2.3&meta.a=b").await;
    let _two = daemon.provide("service=web&host=::1&port=2&version=2.0.0&category=eu").await;
    let services = run(&daemon, &["services"]).await;
    assert_eq!((services.status.code(), text(&services.stdout).as_str()), (Some(0), "     2 web\n"));
    let services = run(&daemon, &["services", "--json"]).await;
    assert_eq!(text(&services.stdout), "{\"name\":\"web\",\"instances\":2}\n");
    let found = text(&run(&daemon, &["instances", "web", "--version", "^2"]).await.stdout);
    assert!(found.starts_with("[::1]:2 ") && found.contains(" 2.0.0 ") && found.lines().count() == 1, "{found}");
    let found = run(&daemon, &["instances", "WEB", "none", "--category", "services", "--json"]).await;
    let found: Value = serde_json::from_slice(&found.stdout).expect("one line of JSON");
    assert_eq!((&found["host"], &found["meta"]["a"]), (&"10.0.0.1".into(), &"b".into()));

    let wrong = run(&daemon, &["instances", "web", "--version", "new"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("version is \"new\""), "{wrong:?}");
    daemon.kill().await;
    let nobody = run(&daemon, &["services"]).await;
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}

#[multi_thread_test]
async fn watch_prints_what_changes() {
    let daemon = Daemon::start(&[]).await;
    let held = daemon.provide("service=web&host=10.0.0.1&port=1").await;
    let mut watching = Watching::start(&daemon, &["web"]);
    let first = watching.line().await;
    assert!(first.ends_with("Z + web 10.0.0.1:1 new"), "{first:?}");
    let _other = daemon.provide("service=api&port=9").await;
    held.text(r#"{"op":"update","weight":5}"#);
    assert!(watching.line().await.ends_with(" + web 10.0.0.1:1 changed"));
    held.close().await;
    assert!(watching.line().await.ends_with(" - web 10.0.0.1:1 left"));
    let pid = Pid::from_raw(watching.child.id().expect("it runs").cast_signed()).expect("a process id");
    kill_process(pid, Signal::TERM).expect("it can be signalled");
    assert_eq!(watching.ended().await, Some(0));
}

/// Restarts of the daemon, planned and not: each change is printed once.
#[multi_thread_test]
async fn watch_repeats_no_event_across_restarts() {
    let Site { mut daemon, dir: _dir, .. } = Site::disk(&[]).await;
    let _one = daemon.provide("service=web&host=10.0.0.1&port=1").await;
    let mut watching = Watching::start(&daemon, &["web", "--json"]);
    assert_eq!(watching.next_event().await, expected_event("put", "new", 1));
    for (turn, how) in [Signal::TERM, Signal::KILL].into_iter().enumerate() {
        daemon.signal(how);
        daemon.ended().await;
        daemon.restart().await;
        watched(&daemon).await;
        let port = turn as u64 + 2;
        let held = daemon.provide(&format!("service=web&host=10.0.0.1&port={port}")).await;
        // The next line is of this one, and not once more of what stood there all the time.
        assert_eq!(watching.next_event().await, expected_event("put", "new", port));
        held.close().await;
        assert_eq!(watching.next_event().await, expected_event("delete", "left", port));
    }
}

/// Waits until somebody watches.
async fn watched(daemon: &Daemon) {
    wait_until(SOON, async || match daemon.metric("skyhound_watchers").await {
        watchers if watchers >= 1.0 => Ok(()),
        watchers => Err(format!("{watchers} watchers")),
    })
    .await;
}

/// Changes during a restart of the only daemon that it asks are printed when that is back.
#[multi_thread_test]
async fn watch_prints_missed_events() {
    let etcd = EtcdProcess::start().await;
    let (mut daemon, other) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let (stays, goes) = (other.provide("service=web&port=1").await, other.provide("service=web&port=2").await);
    let mut watching = Watching::start(&daemon, &["--json"]);
    let mut first = [watching.next_event().await, watching.next_event().await];
    first.sort_unstable();
    assert_eq!(first, [expected_event("put", "new", 1), expected_event("put", "new", 2)]);
    assert!(daemon.stop().await.success());
    goes.close().await;
    stays.text(r#"{"op":"update","weight":5}"#);
    let _comes = other.provide("service=web&port=3").await;
    daemon.restart().await;
    assert_eq!(watching.next_event().await, expected_event("delete", "missing", 2));
    let mut both = [watching.next_event().await, watching.next_event().await];
    both.sort_unstable();
    assert_eq!(both, [expected_event("put", "changed", 1), expected_event("put", "new", 3)]);
    stays.close().await;
    assert_eq!(watching.next_event().await, expected_event("delete", "left", 1));
}

#[multi_thread_test]
async fn watch_ends_quietly_when_nobody_reads_it() {
    let daemon = Daemon::start(&[]).await;
    let mut command = skyhound(&daemon, &["watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    watched(&daemon).await;
    let _held = daemon.provide("service=web&port=1").await;
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends").expect("it ran");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[multi_thread_test]
async fn an_event_reaches_its_subscribers() {
    let mut daemon = Daemon::start(&[]).await;
    let open = async |target: &str| Provider::open_for(daemon.http, target).await.expect("it listens");
    let (mut web, mut api) = (open("/etcd/monitor?monitor=web").await, open("/etcd/monitor?monitor=api").await);
    let output = run(&daemon, &["event", "config", "7", "--service", "web"]).await;
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0), "{output:?}");
    let all = run(&daemon, &["event", "end", "--broadcast"]).await;
    assert_eq!(all.status.code(), Some(0), "{all:?}");
    let body_of = async |subscriber: &mut Provider| match subscriber.next().await {
        Received::Text(text) => serde_json::from_str::<Value>(&text).expect("JSON")["body"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(body_of(&mut web).await, serde_json::json!({ "event_type": "config", "event_body": "7" }));
    for subscriber in [&mut web, &mut api] {
        assert_eq!(body_of(subscriber).await, serde_json::json!({ "event_type": "end", "event_body": "" }));
    }
    let refused = run(&daemon, &["event", "", "--broadcast"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("event_type is missing"), "{refused:?}");
    assert_eq!(run(&daemon, &["event", "x"]).await.status.code(), Some(2), "to whom?");
    daemon.kill().await;
    assert_eq!(run(&daemon, &["event", "x", "--broadcast"]).await.status.code(), Some(2));
}
