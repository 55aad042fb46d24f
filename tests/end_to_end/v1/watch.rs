//! `/v1/watch`, and being lost and coming back in all ways.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::sse::Sse;
use skyhound_test_support::wait::SOON;

const WATCH: &str = "/v1/watch?service=web";

pub async fn first_all_then_each_change(site: Site) {
    let one = site.provide("service=web&port=1").await;
    let _other = site.provide("service=api&port=9").await;
    let mut all = Sse::open(site.http, "/v1/watch", None).await;
    let mut some = Sse::open(site.http, "/v1/watch?service=db&service=WEB,none", None).await;
    let set = all.next().await;
    assert_eq!((set.ports(), set.is_reset()), (vec![1, 9], false));
    assert_eq!(set.id, set.data["position"].as_str().expect("a position"));
    assert_eq!(some.next().await.ports(), [1]);
    let _two = site.provide("service=web&port=2").await;
    one.text(r#"{"op":"update","weight":5}"#);
    for events in [&mut all, &mut some] {
        assert_eq!(events.received().await, ("put".into(), 2));
        let update = events.next().await;
        assert_eq!((update.port(), &update.data["weight"]), (("put", 1), &5.into()));
    }
    let _more = site.provide("service=api&port=8").await;
    one.close().await;
    assert_eq!(all.received().await, ("put".into(), 8));
    let (one, other) = (all.next().await, some.next().await);
    assert_eq!(one.port(), ("delete", 1));
    assert_eq!(one, other, "changes of other services are not delivered, and the position is that of all");
}

pub async fn a_resumed_stream_receives_missed_events(site: Site) {
    let one = site.provide("service=web&port=1").await;
    let mut events = Sse::open(site.http, WATCH, None).await;
    let before = events.next().await.id;
    drop(events);
    let two = site.provide("service=web&port=2").await;
    let _other = site.provide("service=api&port=9").await;
    one.close().await;
    two.close().await;
    let missed = async |mut events: Sse| [events.received().await, events.received().await, events.received().await];
    let expected = [("put".into(), 2), ("delete".into(), 1), ("delete".into(), 2)];
    assert_eq!(missed(Sse::open(site.http, WATCH, Some(&before)).await).await, expected);
    // For clients that cannot set headers; and later changes follow.
    let mut events = Sse::open(site.http, &format!("{WATCH}&last-event-id={before}"), None).await;
    let mut last = String::new();
    for _ in 0..3 {
        last = events.next().await.id;
    }
    let _three = site.provide("service=web&port=3").await;
    assert_eq!(events.received().await, ("put".into(), 3));
    // From the last of them nothing is missed but that.
    let mut events = Sse::open(site.http, WATCH, Some(&last)).await;
    assert_eq!(events.received().await, ("put".into(), 3));
}

pub async fn a_token_of_another_history_resets_the_stream(site: Site) {
    let _one = site.provide("service=web&port=1").await;
    for last in ["9007199254740991", "not ours"] {
        let set = Sse::open(site.http, WATCH, Some(last)).await.next().await;
        assert_eq!((set.ports(), set.is_reset()), (vec![1], true), "{last}");
    }
}

/// A restarted daemon. Its clients are lost during the downtime or after it; a resumed reader receives that,
/// one way or the other.
async fn after_a_restart(mut daemon: Daemon) {
    let _held = daemon.provide("service=web&port=1").await;
    let mut events = Sse::open(daemon.http, WATCH, None).await;
    let set = events.next().await;
    assert_eq!(set.ports(), [1]);
    assert!(daemon.stop().await.success());
    assert_eq!(events.read().await, None, "a planned stop ends the stream in order");
    daemon.restart().await;
    let mut events = Sse::open(daemon.http, WATCH, Some(&set.id)).await;
    let mut next = events.next().await;
    if next.name == "set" {
        assert!(next.is_reset());
        if next.ports().is_empty() {
            return;
        }
        assert_eq!(next.ports(), [1]);
        next = events.next().await;
    }
    assert_eq!(next.port(), ("expire", 1));
}

#[multi_thread_test]
async fn after_a_restart_on_disk() {
    let Site { daemon, dir: _dir, .. } = Site::disk(&["--timeout", "2"]).await;
    after_a_restart(daemon).await;
}

#[multi_thread_test]
async fn after_a_restart_at_etcd() {
    let etcd = EtcdProcess::start().await;
    after_a_restart(Site::at(&etcd, &["--timeout", "2"]).await).await;
}

/// A store in memory begins anew; its revisions must not be taken for those of the one before it.
#[multi_thread_test]
async fn after_a_restart_in_memory_nothing_is_as_it_was() {
    let mut daemon = Daemon::start(&[]).await;
    let _held = daemon.provide("service=web&port=1").await;
    let last = Sse::open(daemon.http, WATCH, None).await.next().await.id;
    daemon.kill().await;
    daemon.restart().await;
    let _more = daemon.provide("service=web&port=2").await;
    let set = Sse::open(daemon.http, WATCH, Some(&last)).await.next().await;
    assert_eq!((set.ports(), set.is_reset()), (vec![2], true));
}

/// Two daemons on one etcd say the same positions.
#[multi_thread_test]
async fn another_daemon_goes_on() {
    let etcd = EtcdProcess::start().await;
    let (mut one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let held = two.provide("service=web&port=1").await;
    let mut events = Sse::open(one.http, WATCH, None).await;
    // It may not have come over yet when the set is made.
    let set = events.next().await;
    if set.ports().is_empty() {
        assert_eq!(events.received().await, ("put".into(), 1));
    }
    let _second = two.provide("service=web&port=2").await;
    let last = events.next().await;
    assert_eq!(last.port(), ("put", 2));
    one.kill().await;
    let _third = two.provide("service=web&port=3").await;
    held.close().await;
    let mut events = Sse::open(two.http, WATCH, Some(&last.id)).await;
    assert_eq!(events.received().await, ("put".into(), 3));
    assert_eq!(events.received().await, ("delete".into(), 1));
}

/// A client that nobody here wrote.
#[multi_thread_test]
async fn curl_reads_it() {
    let daemon = Daemon::start(&[]).await;
    let url = format!("http://{}{WATCH}", daemon.http);
    let mut curl = Command::new("curl")
        .args(["--silent", "--no-buffer", "--fail", &url])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("curl is installed");
    let mut lines = BufReader::new(curl.stdout.take().expect("it was piped")).lines();
    let mut line = async || {
        let line = tokio::time::timeout(SOON, lines.next_line()).await.expect("a line in time");
        line.expect("its output can be read").expect("a line")
    };
    assert_eq!([line().await, line().await, line().await], ["retry: 1000", "", "event: set"]);
    let _held = daemon.provide("service=web&port=1").await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &String| !last.contains(r#""port":1,"#)) {
        seen.push(line().await);
    }
    let [.., event, id, data] = &seen[..] else { panic!("{seen:?}") };
    assert!(event.starts_with("id: ") && id == "event: put" && data.starts_with("data: {"), "{seen:?}");
    let instances = Command::new("curl")
        .args(["--silent", "--fail", "--get", "--data-urlencode", "version=>=1 <2"])
        .arg(format!("http://{}/v1/instances", daemon.http))
        .output()
        .await
        .expect("it runs");
    assert!(instances.status.success() && instances.stdout.ends_with(b"\"instances\":[]}\n"), "{instances:?}");
}
