//! A daemon or an etcd that stands still, or the network between them: for longer than entries live.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use skyhound_store::LEASE_EXPIRY_SLACK;

use crate::LATE;
use crate::keys;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;
use skyhound_test_support::wire::Wire;

const FOO: &str = "foo.services.skydns.local";
const TIMEOUT: Duration = Duration::from_secs(3);

#[multi_thread_test]
async fn its_entries_vanish_and_come_back() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &["--timeout", "3"]).await, Site::at(&etcd, &["--timeout", "3"]).await);
    let mut here = Vec::new();
    for port in 1..=5 {
        here.push(one.provide(&format!("service=foo&port={port}")).await);
    }
    let mut there = two.provide("service=foo&port=6").await;
    // The same host and port at both: two workers, or one that is on its way from one to the other.
    let moved = one.provide("service=foo&port=7").await;
    let new = two.provide("service=foo&port=7").await;
    keys::become_ports(&etcd, &[1, 2, 3, 4, 5, 6, 7], SOON).await;

    one.signal(Signal::STOP);
    let frozen = Instant::now();
    keys::become_ports_in_time(&etcd, &[6, 7], frozen + TIMEOUT + LEASE_EXPIRY_SLACK + LATE).await;
    two.dig().comes_to_have(FOO, &[6, 7]).await;
    let newer = keys::stored(&etcd)[&7].clone();
    // One of its sockets closes unheard.
    drop(here.remove(0));
    one.signal(Signal::CONT);

    let back = [2, 3, 4, 5, 6, 7];
    keys::become_ports(&etcd, &back, SOON).await;
    for daemon in [&one, &two] {
        daemon.dig().comes_to_have(FOO, &back).await;
    }
    for provider in here.iter_mut().chain([&mut there]) {
        assert_eq!(provider.received(), None);
        assert!(provider.is_open());
    }
    assert_eq!(keys::stored(&etcd)[&7], newer, "what is newer is not replaced");
    // They are kept alive again, for more than a term.
    let again = Instant::now();
    wait_until(SOON, async || {
        assert_eq!(keys::ports(&etcd), back);
        if again.elapsed() > TIMEOUT + LEASE_EXPIRY_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    // The old worker leaves; the new one keeps the entry.
    moved.close().await;
    assert_eq!(keys::ports(&etcd), back);
    new.close().await;
    keys::become_ports(&etcd, &[2, 3, 4, 5, 6], SOON).await;
}

/// A partition between one daemon and etcd; the daemon's clients still reach it.
#[multi_thread_test]
async fn a_daemon_partitioned_from_etcd() {
    let etcd = EtcdProcess::start().await;
    let to = etcd.endpoint().trim_start_matches("http://").parse().expect("an address");
    let wire = Wire::to(to).await;
    let one = Daemon::start(&["--etcd-api", &format!("http://{}", wire.addr), "--timeout", "3"]).await;
    let two = Site::at(&etcd, &["--timeout", "3"]).await;
    let mut here = Vec::new();
    for port in 1..=5 {
        here.push(one.provide(&format!("service=foo&port={port}")).await);
    }
    let _there = two.provide("service=foo&port=6").await;
    keys::become_ports(&etcd, &[1, 2, 3, 4, 5, 6], SOON).await;
    one.dig().comes_to_have(FOO, &[1, 2, 3, 4, 5, 6]).await;

    wire.cut();
    let cut = Instant::now();
    keys::become_ports_in_time(&etcd, &[6], cut + TIMEOUT + LEASE_EXPIRY_SLACK + LATE).await;
    two.dig().comes_to_have(FOO, &[6]).await;
    // Here they are known to live; what became of the others is not known, and that is no reason to say that
    // they are gone.
    one.dig().comes_to_have(FOO, &[1, 2, 3, 4, 5, 6]).await;
    let refusal = one.try_provide("service=foo&port=8").await.expect_err("nobody can be taken").answer();
    assert_eq!(refusal.status, 503, "{refusal:?}");
    // One leaves; one goes over to the other daemon, and its old socket is still open; one is new there.
    here.remove(0).close().await;
    let over = two.provide("service=foo&port=2").await;
    let _new = two.provide("service=foo&port=7").await;
    let newer = keys::stored(&etcd)[&2].clone();
    let lease = lease_of(&etcd, 2);

    wire.heal();
    let all = [2, 3, 4, 5, 6, 7];
    keys::become_ports(&etcd, &all, SOON * 3).await;
    one.dig().comes_to_have(FOO, &all).await;
    two.dig().comes_to_have(FOO, &all).await;
    assert_eq!((&keys::stored(&etcd)[&2], lease_of(&etcd, 2)), (&newer, lease), "what is newer is not replaced");
    for provider in &mut here {
        assert_eq!(provider.received(), None);
        assert!(provider.is_open());
    }
    // The old socket of the one that went over closes late.
    here.remove(0).close().await;
    let healed = Instant::now();
    wait_until(SOON, async || {
        assert_eq!(keys::ports(&etcd), all);
        if healed.elapsed() > TIMEOUT + LEASE_EXPIRY_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    over.close().await;
    keys::become_ports(&etcd, &all[1..], SOON).await;
}

/// The lease that the instance with this port hangs on.
fn lease_of(etcd: &EtcdProcess, port: u16) -> serde_json::Value {
    let id = skyhound_model::instance::skyapi_id("foo", &["services".into()], "127.0.0.1", port);
    let printed = etcd.ctl(&["get", "--write-out=json", &format!("/skydns/local/skydns/services/foo/{id}")]);
    let got: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    got["kvs"][0]["lease"].clone()
}

/// The daemon runs, answers and holds its sockets, while etcd hangs for
/// longer than a lease TTL. (Its entries are gone for a moment once etcd wakes: it counts the time that it slept.)
#[multi_thread_test]
async fn etcd_frozen_for_longer_than_a_lease_ttl() {
    let etcd = EtcdProcess::start().await;
    let daemon = Site::at(&etcd, &["--timeout", "3"]).await;
    let mut held = Vec::new();
    for port in 1..=5 {
        held.push(daemon.provide(&format!("service=foo&port={port}")).await);
    }
    etcd.pause();
    let paused = Instant::now();
    wait_until(SOON, async || {
        assert_eq!(daemon.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1, 2, 3, 4, 5]);
        if paused.elapsed() > TIMEOUT * 2 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let watch = Watch::udp(daemon.dns, FOO, 5);
    etcd.resume();
    let woken = Instant::now();
    wait_until(SOON * 2, async || {
        let ports = daemon.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
        let stored = keys::ports(&etcd);
        let so = ports == [1, 2, 3, 4, 5] && stored == ports && woken.elapsed() > TIMEOUT + LEASE_EXPIRY_SLACK;
        if so { Ok(()) } else { Err(format!("{ports:?} {stored:?}")) }
    })
    .await;
    let seen = watch.stop().await;
    assert!(seen.gap() < LATE, "gone for {:?}", seen.gap());
    for provider in &mut held {
        assert_eq!(provider.received(), None);
        assert!(provider.is_open());
    }
}
