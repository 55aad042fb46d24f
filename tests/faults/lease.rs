//! The leases that carry everything go while etcd stays: revoked by hand, or run out while the daemon stood still.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::heartbeats::{heartbeat, register};
use crate::keys;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";

/// The keys that are no entries: those for hound-dog's peers, and the records of ids.
pub fn other_keys(etcd: &EtcdProcess) -> Vec<String> {
    let below = |prefix| etcd.ctl(&["get", "--prefix", prefix, "--keys-only"]);
    let keys = below("service/") + &below("/skyhound/ids/");
    keys.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[multi_thread_test]
async fn revoked_by_hand_they_are_replaced_at_once() {
    let etcd = EtcdProcess::start().await;
    let args = ["--timeout", "60"];
    let (one, two) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    let mut held = Vec::new();
    for port in 1..=5 {
        held.push(one.provide(&format!("service=foo&port={port}")).await);
    }
    let id = register(&one, "foo", 6).await;
    // Each with a second key for hound-dog's peers.
    let mut dogs = Vec::new();
    for port in 7..=8 {
        let path = format!("/etcd/register?service=foo&ip=10.0.0.2&port={port}");
        dogs.push(Provider::open_for(one.http, &path).await.expect("it may register"));
    }
    held.remove(0).close().await;
    let living = [2, 3, 4, 5, 6, 7, 8];
    keys::become_ports(&etcd, &living, SOON).await;
    let (before, leases) = (other_keys(&etcd), keys::leases(&etcd));
    assert!(before.len() == 3 && leases.len() >= 2, "{before:?} {leases:?}");
    let watch = Watch::udp(two.dns, FOO, 5);

    let revoked = Instant::now();
    for lease in &leases {
        etcd.ctl(&["lease", "revoke", lease]);
    }
    // Before the leases are kept alive next, which would show that they are gone: that is every 20 s.
    keys::become_ports(&etcd, &living, SOON).await;
    assert!(revoked.elapsed() < Duration::from_secs(10), "after {:?}", revoked.elapsed());
    // No feed covers the records of ids; it takes that.
    wait_until(SOON * 2, async || {
        let now = other_keys(&etcd);
        if now == before { Ok(()) } else { Err(format!("{now:?} instead of {before:?}")) }
    })
    .await;
    println!("all was back after {:?}", revoked.elapsed());
    assert!(keys::leases(&etcd).iter().all(|lease| !leases.contains(lease)));
    let seen = watch.stop().await;
    println!("not in DNS for {:?}", seen.gap());
    assert!(seen.gap() < Duration::from_secs(2), "not in DNS for {:?}", seen.gap());
    assert!(held.iter_mut().all(|provider| provider.received().is_none() && provider.is_open()));
    assert!(dogs.iter().all(Provider::is_open));
    assert!(heartbeat(&two, &id).await, "the id is known at any daemon");
}

/// Time in which the daemon could receive nothing does not count as missed heartbeats.
#[multi_thread_test]
async fn heartbeats_missed_by_a_frozen_daemon_expire_nothing() {
    let etcd = EtcdProcess::start().await;
    let args = ["--timeout", "3"];
    let (one, two) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    let (stays, moves) = (register(&one, "foo", 1).await, register(&one, "foo", 2).await);
    let _dies = register(&one, "foo", 3).await;
    keys::become_ports(&etcd, &[1, 2, 3], SOON).await;

    one.signal(Signal::STOP);
    keys::become_ports(&etcd, &[], SOON).await;
    assert!(heartbeat(&two, &moves).await);
    keys::become_ports(&etcd, &[2], SOON).await;
    one.signal(Signal::CONT);
    assert_eq!(one.get("/healthz").await.status, 200);
    let woken = Instant::now();
    // Its entries come back, and the live clients send heartbeats now.
    keys::become_ports(&etcd, &[1, 2, 3], SOON).await;
    wait_until(SOON, async || {
        assert!(heartbeat(&one, &stays).await && heartbeat(&two, &moves).await);
        let ports = keys::ports(&etcd);
        if ports == [1, 2] { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    println!("the dead one was gone {:?} after", woken.elapsed());
    for daemon in [&one, &two] {
        let answer = daemon.dig().query(FOO, "SRV").await.expect("an answer");
        assert_eq!(answer.ports(), [1, 2]);
    }
}
