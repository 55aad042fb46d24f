//! etcd comes back from a backup: what was registered since is not there, what left since is.

use std::time::{Duration, Instant};

use skyhound_store::LEASE_EXPIRY_SLACK;

use crate::heartbeats::{heartbeat, register};
use crate::keys;
use crate::lease::other_keys;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use skyhound_test_support::sse::Sse;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::wire::Wire;

const FOO: &str = "foo.services.skydns.local";
const LEASE_TTL: Duration = Duration::from_secs(6);
/// A number of changes above that after the backup.
const PAST: usize = 60;

async fn dog(daemon: &Daemon, port: u16) -> Provider {
    let path = format!("/etcd/register?service=foo&ip=10.0.0.{port}&port={port}");
    Provider::open_for(daemon.http, &path).await.expect("it may register")
}

/// With `past`, other people's changes have led the new history beyond the old one before a daemon sees it.
async fn restored(past: bool) {
    let mut etcd = EtcdProcess::start().await;
    let wire = Wire::to(etcd.endpoint().trim_start_matches("http://").parse().expect("an address")).await;
    let args = ["--etcd-api", &format!("http://{}", wire.addr), "--timeout", "6"];
    let (one, two) = (Daemon::start(&args).await, Daemon::start(&args).await);
    let leaves = one.provide("service=foo&port=1").await;
    let mut changes = one.provide("service=foo&port=2").await;
    let mut stays = two.provide("service=foo&port=3").await;
    let (dog_leaves, dog_stays) = (dog(&one, 4).await, dog(&one, 5).await);
    let id = register(&one, "foo", 6).await;
    keys::become_ports(&etcd, &[1, 2, 3, 4, 5, 6], SOON).await;
    etcd.save("backup");
    let dog_comes = dog(&two, 7).await;
    let late_id = register(&two, "foo", 8).await;
    changes.text(r#"{"op":"update","weight":7}"#);
    leaves.close().await;
    dog_leaves.close().await;
    let living = [2, 3, 5, 6, 7, 8];
    wait_until(SOON, async || {
        let stored = keys::stored(&etcd);
        let so = stored.keys().copied().eq(living) && stored[&2]["weight"] == 7;
        if so { Ok(()) } else { Err(format!("{stored:?}")) }
    })
    .await;
    let expected = other_keys(&etcd);
    assert_eq!(expected.len(), 4, "{expected:?}");

    wire.cut();
    etcd.stop().await;
    etcd.restore("backup");
    etcd.restart().await;
    assert_eq!(keys::ports(&etcd), [1, 2, 3, 4, 5, 6]);
    if past {
        for n in 0..PAST {
            etcd.ctl(&["put", "elsewhere", &n.to_string()]);
        }
    }
    wire.heal();

    let ids = async || assert!(heartbeat(&one, &id).await && heartbeat(&two, &late_id).await);
    wait_until(SOON * 3, async || {
        ids().await;
        let (stored, other_keys) = (keys::stored(&etcd), other_keys(&etcd));
        let so = stored.keys().copied().eq(living) && stored[&2]["weight"] == 7 && other_keys == expected;
        if so { Ok(()) } else { Err(format!("{stored:?} {other_keys:?}")) }
    })
    .await;
    // For more than a lease TTL: it hangs on leases that are kept alive, and nothing of old comes up again.
    let back = Instant::now();
    wait_until(SOON * 2, async || {
        ids().await;
        assert_eq!(keys::ports(&etcd), living);
        if back.elapsed() > LEASE_TTL + LEASE_EXPIRY_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!(other_keys(&etcd), expected);
    for daemon in [&one, &two] {
        let answer = daemon.dig().query(FOO, "SRV").await.expect("an answer");
        assert_eq!(answer.ports(), living);
    }
    assert!([&mut changes, &mut stays].iter_mut().all(|provider| provider.received().is_none() && provider.is_open()));
    assert!(dog_stays.is_open() && dog_comes.is_open());
    // A client that leaves now leaves nothing behind.
    dog_stays.close().await;
    changes.close().await;
    keys::become_ports(&etcd, &[3, 6, 7, 8], SOON).await;
    assert_eq!(other_keys(&etcd).len(), 3);
}

#[multi_thread_test]
async fn a_restored_etcd_matches_the_live_instances() {
    restored(false).await;
}

#[multi_thread_test]
async fn a_restored_etcd_with_newer_history_matches_the_live_instances() {
    restored(true).await;
}

/// Stores an entry without a lease.
fn put(etcd: &EtcdProcess, port: u16) {
    let value = format!(r#"{{"host":"10.0.0.1","port":{port}}}"#);
    etcd.ctl(&["put", &format!("/skydns/local/skydns/services/foo/{port}"), &value]);
}

fn remove(etcd: &EtcdProcess, port: u16) {
    etcd.ctl(&["del", &format!("/skydns/local/skydns/services/foo/{port}")]);
}

/// Returns the ports that a reader knows after it has resumed at a position with these ports known.
async fn comes_back(daemon: &Daemon, at: &str, knew: &[u64], waits_for: u64) -> Vec<u64> {
    let mut known: std::collections::BTreeSet<u64> = knew.iter().copied().collect();
    let mut events = Sse::open(daemon.http, "/v1/watch?service=foo", Some(at)).await;
    while !known.contains(&waits_for) {
        let event = events.next().await;
        if event.name == "set" {
            known = event.ports().into_iter().collect();
            continue;
        }
        match event.port() {
            ("put", port) => known.insert(port),
            (_, port) => known.remove(&port),
        };
    }
    known.into_iter().collect()
}

/// A reader of a history that was replaced does not receive the rest of another one.
#[multi_thread_test]
async fn a_resume_token_of_another_history_is_reset() {
    let mut etcd = EtcdProcess::start().await;
    let (stays, mut goes) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    put(&etcd, 1);
    put(&etcd, 2);
    etcd.save("backup");
    put(&etcd, 3);
    remove(&etcd, 1);
    let wait_for = async |daemon: &Daemon, ports: &[u64]| {
        wait_until(SOON, async || {
            let set = Sse::open(daemon.http, "/v1/watch?service=foo", None).await.next().await;
            if set.ports() == ports { Ok(set.id) } else { Err(format!("{set:?}")) }
        })
        .await
    };
    let at = wait_for(&stays, &[2, 3]).await;
    assert_eq!(wait_for(&goes, &[2, 3]).await, at, "both daemons say the same");

    goes.stop().await;
    etcd.stop().await;
    etcd.restore("backup");
    etcd.restart().await;
    goes.restart().await;
    // They have read the new history where the old one had gone further.
    for daemon in [&stays, &goes] {
        let now = wait_until(SOON, async || {
            let set = Sse::open(daemon.http, "/v1/watch?service=foo", None).await.next().await;
            if set.ports() == [1, 2] { Ok(set.id) } else { Err(format!("{set:?}")) }
        })
        .await;
        assert_ne!(now, at);
    }
    // And now it has gone further than that.
    for n in 0..PAST {
        etcd.ctl(&["put", "/skydns/local/elsewhere", &format!(r#"{{"text":"{n}"}}"#)]);
    }
    put(&etcd, 4);
    for daemon in [&stays, &goes] {
        let now = wait_for(daemon, &[1, 2, 4]).await;
        assert_eq!(comes_back(daemon, &at, &[2, 3], 4).await, [1, 2, 4]);
        // In this history they go on.
        let mut events = Sse::open(daemon.http, "/v1/watch?service=foo", Some(&now)).await;
        put(&etcd, 5);
        assert_eq!(events.received().await, ("put".into(), 5));
        remove(&etcd, 5);
        assert_eq!(events.received().await, ("delete".into(), 5));
    }
}
