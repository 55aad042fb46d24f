//! Restarts of the daemon. Its clients live, and no DNS client may notice.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::LATE;
use crate::keys;
use crate::process::Process;
use skyhound_store::LEASE_EXPIRY_SLACK;
use skyhound_test_support::coredns::CoreDns;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until, wait_until_due};
use skyhound_test_support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";

#[multi_thread_test]
async fn entries_of_a_killed_daemon_expire_within_the_timeout() {
    let etcd = EtcdProcess::start().await;
    let mut daemon = Site::at(&etcd, &["--timeout", "3"]).await;
    let other = Site::at(&etcd, &["--timeout", "3"]).await;
    let held = daemon.provide("service=foo&port=1").await;
    let _bar = other.provide("service=bar&port=2").await;
    // Long enough for the lease to have been kept alive, so that it is not the first term that runs out.
    wait_until(SOON, async || match daemon.readyz().await["store"]["reachable"].as_bool() {
        Some(true) if held.pings() >= 2 => Ok(()),
        _ => Err(format!("{} pings", held.pings())),
    })
    .await;
    let killed = Instant::now();
    daemon.kill().await;
    keys::become_ports_in_time(&etcd, &[2], killed + Duration::from_secs(3) + LEASE_EXPIRY_SLACK + LATE).await;
    other.dig().comes_to_deny(FOO).await;
    assert_eq!(other.dig().query("bar.services.skydns.local", "SRV").await.expect("an answer").ports(), [2]);
}

/// Ends a daemon in one of the ways there are, and starts it again.
async fn restart(daemon: &mut Daemon, how: Signal) {
    if how == Signal::TERM {
        assert!(daemon.stop().await.success());
    } else {
        daemon.kill().await;
    }
    daemon.restart().await;
}

/// Many processes at one daemon, questions to another daemon and to CoreDNS: not one answer without the record.
#[multi_thread_test]
async fn a_restart_of_one_daemon_is_not_seen_in_dns() {
    let etcd = EtcdProcess::start().await;
    let args = ["--timeout", "6"];
    let mut here = Site::at(&etcd, &args).await;
    let there = Site::at(&etcd, &args).await;
    let coredns = CoreDns::start(&etcd.endpoint(), &["skydns.local"]).await;
    let process = Process::start(here.http, "service=foo&port=1");
    // They all come back at once.
    let crowd: Vec<_> = (2..=200).map(|port| Process::start(here.http, &format!("service=bar&port={port}"))).collect();
    let all: Vec<u16> = (1..=200).collect();
    process.registered(1).await;
    keys::become_ports(&etcd, &all, SOON).await;
    there.dig().comes_to_have(FOO, &[1]).await;
    let mut watches = vec![Watch::udp(there.dns, FOO, 1), Watch::dig(there.dig(), FOO, 1)];
    watches.extend(coredns.as_ref().map(|coredns| Watch::dig(coredns.dig(), FOO, 1)));
    for (turn, how) in [Signal::TERM, Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let old = keys::leases(&etcd);
        restart(&mut here, how).await;
        for process in crowd.iter().chain([&process]) {
            process.registered(turn + 2).await;
        }
        // The lease of the daemon that was runs out, and takes nothing along. (The other daemon has none.)
        wait_until(SOON, async || {
            let leases = keys::leases(&etcd);
            if old.iter().any(|lease| leases.contains(lease)) { Err(format!("{leases:?}")) } else { Ok(()) }
        })
        .await;
        assert_eq!(keys::ports(&etcd), all);
        let bars = there.dig().tcp().query("bar.services.skydns.local", "SRV").await.expect("an answer");
        assert_eq!(bars.ports(), all[1..]);
    }
    for watch in watches {
        watch.stop().await.assert_no_gap();
    }
}

/// Two workers on one host and port, each at a daemon of its own: while one of them lives, the entry does,
/// whichever daemon dies with the lease that it hangs on.
#[multi_thread_test]
async fn a_worker_at_another_daemon_keeps_the_entry() {
    let etcd = EtcdProcess::start().await;
    let args = ["--timeout", "3"];
    let (mut one, two) = (Site::at(&etcd, &args).await, Site::at(&etcd, &args).await);
    let mut stays = two.provide("service=foo&port=1").await;
    let _goes = one.provide("service=foo&port=1").await;
    let hung_on = keys::leases(&etcd);
    one.kill().await;
    wait_until(SOON, async || {
        let left = keys::leases(&etcd);
        if left.len() < hung_on.len() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    keys::become_ports(&etcd, &[1], SOON).await;
    two.dig().comes_to_have(FOO, &[1]).await;
    assert_eq!(stays.received(), None);
    stays.close().await;
    keys::become_ports(&etcd, &[], SOON).await;
}

/// There is no other daemon to ask: without this one there is no answer. But there is never a wrong one.
#[multi_thread_test]
async fn a_restart_on_disk_gives_no_wrong_answer() {
    let mut site = Site::disk(&["--timeout", "5"]).await;
    let process = Process::start(site.daemon.http, "service=foo&port=1");
    process.registered(1).await;
    let watches = [Watch::udp(site.dns, FOO, 1), Watch::dig(site.dig(), FOO, 1)];
    for (turn, how) in [Signal::TERM, Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        restart(&mut site.daemon, how).await;
        // From its first answer on, before the process is back.
        assert_eq!(site.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1], "turn {turn}");
        process.registered(turn + 2).await;
    }
    // Over another lease TTL: the leases that the last restart renewed expire, and remove nothing else.
    let back = Instant::now();
    wait_until(SOON, async || {
        assert_eq!(site.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1]);
        if back.elapsed() > Duration::from_secs(5) + LEASE_EXPIRY_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    for watch in watches {
        let seen = watch.stop().await;
        seen.assert_never_wrong();
        assert!(!seen.unanswered.is_empty(), "it never stopped answering?");
    }
}

/// No client comes back: after a restart an entry lives for one full lease TTL, and not longer.
#[multi_thread_test]
async fn entries_without_their_client_expire_after_one_lease_ttl() {
    for how in [Signal::TERM, Signal::KILL] {
        let mut site = Site::disk(&["--timeout", "3"]).await;
        let held = site.provide("service=foo&port=1").await;
        restart(&mut site.daemon, how).await;
        let due = Instant::now() + Duration::from_secs(3) + LEASE_EXPIRY_SLACK + LATE;
        assert_eq!(site.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1], "{how:?}");
        wait_until_due(due, async || {
            let answer = site.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?;
            if answer.status == "NXDOMAIN" { Ok(()) } else { Err(format!("{how:?}: {answer:?}")) }
        })
        .await;
        drop(held);
    }
}
