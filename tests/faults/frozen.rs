//! A daemon that stands still, as when its machine sleeps or is cut off: for longer than its entries live.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use skyhound::store::LEASE_SLACK;

use crate::keys;
use crate::support::etcd::EtcdProcess;
use crate::support::site::Site;
use crate::support::wait::{SOON, wait_until};
use crate::support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";
const TIMEOUT: Duration = Duration::from_secs(3);
/// For etcdctl to start on a busy machine and see what is so by then.
const SEEING: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
    keys::become_ports(&etcd, &[6, 7], SOON).await;
    assert!(frozen.elapsed() < TIMEOUT + LEASE_SLACK + SEEING, "after {:?}", frozen.elapsed());
    wait_until(SOON, async || {
        let ports = two.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
        if ports == [6, 7] { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    let theirs = keys::stored(&etcd)[&7].clone();
    // One of its sockets closes unheard.
    drop(here.remove(0));
    one.signal(Signal::CONT);

    let back = [2, 3, 4, 5, 6, 7];
    keys::become_ports(&etcd, &back, SOON).await;
    for daemon in [&one, &two] {
        wait_until(SOON, async || {
            let ports = daemon.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
            if ports == back { Ok(()) } else { Err(format!("{ports:?}")) }
        })
        .await;
    }
    for provider in here.iter_mut().chain([&mut there]) {
        assert_eq!(provider.heard(), None);
        assert!(provider.is_open());
    }
    assert_eq!(keys::stored(&etcd)[&7], theirs, "what is newer is not replaced");
    // They are kept alive again, for more than a term.
    let again = Instant::now();
    wait_until(SOON, async || {
        assert_eq!(keys::ports(&etcd), back);
        if again.elapsed() > TIMEOUT + LEASE_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    // The old worker leaves; the new one keeps the entry.
    moved.close().await;
    assert_eq!(keys::ports(&etcd), back);
    new.close().await;
    keys::become_ports(&etcd, &[2, 3, 4, 5, 6], SOON).await;
}

/// Its own socket in etcd's direction only: the daemon runs, answers and holds its sockets, while etcd hangs for
/// longer than a term. (Its entries are gone for a moment once etcd wakes: it counts the time that it slept.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_sleeps_for_longer_than_a_term() {
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
        let so = ports == [1, 2, 3, 4, 5] && stored == ports && woken.elapsed() > TIMEOUT + LEASE_SLACK;
        if so { Ok(()) } else { Err(format!("{ports:?} {stored:?}")) }
    })
    .await;
    let seen = watch.stop().await;
    println!("{} right, {} wrong: {:?}", seen.right, seen.wrong.len(), (seen.wrong.first(), seen.wrong.last()));
    for provider in &mut held {
        assert_eq!(provider.heard(), None);
        assert!(provider.is_open());
    }
}
