//! etcd has used up its quota: it raises the alarm NOSPACE and grants no lease until it is compacted, defragmented
//! and the alarm disarmed.

use std::time::{Duration, Instant};

use serde_json::json;
use skyhound_store::LEASE_EXPIRY_SLACK;

use crate::keys;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";
const TERM: Duration = Duration::from_secs(3);
/// Small enough to be filled in a moment.
const QUOTA: &str = "--quota-backend-bytes=3000000";

/// Puts things that are no entries until etcd takes no more.
fn fill(etcd: &EtcdProcess) {
    let piece = "x".repeat(100_000);
    for at in 0..100 {
        if !etcd.try_ctl(&["put", &format!("filler/{at}"), &piece]).status.success() {
            assert!(etcd.ctl(&["alarm", "list"]).contains("NOSPACE"));
            return;
        }
    }
    panic!("there is no end to its space");
}

/// The recovery that etcd's own documentation describes.
fn make_space(etcd: &EtcdProcess) {
    etcd.ctl(&["del", "--prefix", "filler/"]);
    let now: serde_json::Value = serde_json::from_str(&etcd.ctl(&["get", "none", "--write-out=json"])).expect("JSON");
    etcd.ctl(&["compact", &now["header"]["revision"].to_string()]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
}

/// The alarms that `/readyz` shows.
async fn alarms(daemon: &Daemon) -> usize {
    let ready = daemon.readyz().await;
    assert_eq!((&ready["ready"], &ready["store"]["reachable"]), (&true.into(), &true.into()), "{ready}");
    let alarms = ready["store"]["alarms"].as_array().expect("a list");
    assert!(alarms.iter().all(|alarm| alarm.as_str().is_some_and(|text| text.contains("NOSPACE"))), "{ready}");
    alarms.len()
}

/// The error arrives at once, with its reason.
async fn refused(daemon: &Daemon) {
    let asked = Instant::now();
    let refusal = daemon.try_provide("service=foo&port=99").await.expect_err("there is no lease for it").answer();
    assert!(asked.elapsed() < skyhound_core::registry::REGISTER_DEADLINE, "after {:?}", asked.elapsed());
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(refusal.body.contains("NOSPACE") && refusal.header("retry-after").is_some(), "{refusal:?}");
}

#[multi_thread_test]
async fn a_full_etcd_preserves_instances_and_recovers() {
    let etcd = EtcdProcess::options().arg(QUOTA).start().await;
    let args = ["--timeout", "3"];
    let (one, new) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    let mut held = Vec::new();
    for port in 1..=5 {
        held.push(one.provide(&format!("service=foo&port={port}")).await);
    }
    keys::become_ports(&etcd, &[1, 2, 3, 4, 5], SOON).await;
    assert_eq!(alarms(&one).await, 0);
    let watches = [Watch::udp(one.dns, FOO, 5), Watch::udp(new.dns, FOO, 5)];

    fill(&etcd);
    let full = Instant::now();
    wait_until(SOON, async || if alarms(&one).await == 1 { Ok(()) } else { Err("no alarm is shown") }).await;
    // This daemon has no lease yet.
    refused(&new).await;
    let node = json!({ "id": "one", "address": "10.0.0.1", "port": 98 });
    let response = new.post("/registry?ttl=60", &json!({ "name": "bar", "nodes": [node] })).await;
    assert_eq!(response.status, 503, "{response:?}");
    // Here there is room on one.
    let late = one.provide("service=foo&port=6").await;
    keys::become_ports(&etcd, &[1, 2, 3, 4, 5, 6], SOON).await;
    // Leases are kept alive.
    wait_until(SOON, async || {
        assert_eq!(keys::ports(&etcd), [1, 2, 3, 4, 5, 6]);
        if full.elapsed() > TERM * 2 { Ok(()) } else { Err("not yet") }
    })
    .await;
    late.close().await;
    held.remove(0).close().await;
    keys::become_ports(&etcd, &[2, 3, 4, 5], SOON).await;
    // A lease that goes now has no successor, until there is space.
    let lease = keys::leases(&etcd).pop().expect("a lease");
    etcd.ctl(&["lease", "revoke", &lease]);
    keys::become_ports(&etcd, &[], SOON).await;
    refused(&one).await;
    assert_eq!(one.get("/healthz").await.status, 200);

    make_space(&etcd);
    keys::become_ports(&etcd, &[2, 3, 4, 5], SOON).await;
    let newcomer = new.provide("service=foo&port=7").await;
    for daemon in [&one, &new] {
        wait_until(SOON, async || {
            let ports = daemon.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
            if ports == [2, 3, 4, 5, 7] { Ok(()) } else { Err(format!("{ports:?}")) }
        })
        .await;
        assert_eq!(alarms(daemon).await, 0);
    }
    let healed = Instant::now();
    wait_until(SOON, async || {
        assert_eq!(keys::ports(&etcd), [2, 3, 4, 5, 7]);
        if healed.elapsed() > TERM + LEASE_EXPIRY_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    for provider in held.iter_mut().chain([&mut { newcomer }]) {
        assert_eq!(provider.received(), None);
        assert!(provider.is_open());
    }
    let warned = one.log().matches("NOSPACE").count();
    assert!((1..=5).contains(&warned), "{warned} lines about it:\n{}", one.log());
    for watch in watches {
        let seen = watch.stop().await;
        assert!(seen.unanswered.is_empty(), "DNS answers all the while: {:?}", seen.unanswered);
    }
}
