//! etcd's users lose their rights, and get them back, while the daemon runs.

use std::time::{Duration, Instant};

use crate::keys;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";
const TERM: Duration = Duration::from_secs(3);
const ROOT: Option<&str> = Some("root:root");

/// The ports that stand in etcd.
fn ports(etcd: &EtcdProcess) -> Vec<u16> {
    keys::stored_as(ROOT, etcd).into_keys().collect()
}

async fn answers(daemon: &Daemon, wanted: &[u16]) {
    wait_until(SOON, async || {
        let ports = daemon.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
        if ports == wanted { Ok(()) } else { Err(format!("{ports:?} instead of {wanted:?}")) }
    })
    .await;
}

/// New instances are refused with the reason; present ones stay for more than a lease TTL; then all is as before.
/// `lenient`: an etcd that lets it be written all the same is none of our affair.
async fn without(etcd: &EtcdProcess, daemon: &Daemon, lenient: bool, reason: &str, [take, give_back]: [&[&str]; 2]) {
    let held = [daemon.provide("service=foo&port=1").await, daemon.provide("service=foo&port=2").await];
    answers(daemon, &[1, 2]).await;
    let watch = Watch::udp(daemon.dns, FOO, 1);
    let root = |line: &str| etcd.ctl_as(ROOT, &line.split(' ').collect::<Vec<_>>());
    for line in take {
        root(line);
    }
    let taken = Instant::now();
    match daemon.try_provide("service=foo&port=3").await {
        Err(refusal) => {
            let refusal = refusal.answer();
            assert_eq!(refusal.status, 503, "{refusal:?}");
            assert!(refusal.body.contains(reason) && refusal.header("retry-after").is_some(), "{refusal:?}");
        }
        Ok(taken) => {
            assert!(lenient, "it may not write");
            taken.close().await;
        }
    }
    let [stays, leaves] = held;
    drop(leaves);
    wait_until(SOON, async || if taken.elapsed() > TERM * 2 { Ok(()) } else { Err("not yet") }).await;
    assert!(stays.is_open());
    for line in give_back {
        root(line);
    }
    wait_until(SOON * 2, async || {
        let ports = ports(etcd);
        if ports == [1] { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    answers(daemon, &[1]).await;
    let new = daemon.provide("service=foo&port=4").await;
    answers(daemon, &[1, 4]).await;
    let seen = watch.stop().await;
    println!("{reason}: not in DNS for {:?}", seen.gap());
    assert!(seen.unanswered.is_empty() && seen.gap() < Duration::from_secs(2), "{:?} {:?}", seen.gap(), seen.wrong);
    new.close().await;
    stays.close().await;
    wait_until(SOON, async || if ports(etcd).is_empty() { Ok(()) } else { Err("some are left") }).await;
}

#[multi_thread_test]
async fn permissions_that_are_revoked_and_restored() {
    let etcd = EtcdProcess::options().arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let args = ["--timeout", "3", "--etcd-username", "sky", "--etcd-password", "hound"];
    let daemon = Site::at(&etcd, &args).await;
    // etcd 3.4 does not look for rights within the transactions that a transaction is made of.
    let rights: [&[&str]; 2] =
        [&["role revoke-permission sky --prefix /"], &["role grant-permission sky --prefix readwrite /"]];
    without(&etcd, &daemon, true, "permission denied", rights).await;
    // As with a new password, which etcdctl would want to be typed.
    let password: [&[&str]; 2] = [
        &["user delete sky", "user add sky:other", "user grant-role sky sky"],
        &["user delete sky", "user add sky:hound", "user grant-role sky sky"],
    ];
    without(&etcd, &daemon, false, "authentication failed", password).await;
}
