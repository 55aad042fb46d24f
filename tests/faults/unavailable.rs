//! An unavailable etcd: stopped, frozen, wiped, or missing from the start. Live instances stay registered.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use crate::keys;
use skyhound_test_support::ask::Ask;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::{Provider, Received, handshake};
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, holds_for, wait_until};
use skyhound_test_support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";
/// The time for which etcd is unavailable.
const OUTAGE: Duration = Duration::from_secs(20);
/// The time limit from the return of etcd until everything is as it should be: the daemon asks again every
/// few seconds, and a machine under test is slow.
const RECOVERY: Duration = Duration::from_secs(30);

/// Ten instances of foo on a daemon.
async fn ten(daemon: &Daemon) -> Vec<Provider> {
    let mut held = Vec::new();
    for port in 1..=10 {
        held.push(daemon.provide(&format!("service=foo&port={port}")).await);
    }
    held
}

fn all_open(held: &mut [Provider]) {
    for (at, provider) in held.iter_mut().enumerate() {
        assert_eq!(provider.received(), None, "{at}");
        assert!(provider.is_open(), "{at}");
    }
}

/// Checks that a registration while etcd is unavailable is refused with a short `Retry-After`.
async fn refused_with_retry_after(daemon: &Daemon) {
    let asked = Instant::now();
    let refusal = daemon.try_provide("service=foo&port=99").await.expect_err("nobody can be taken").answer();
    assert_eq!(refusal.status, 503, "{refusal:?}");
    let seconds: u64 =
        refusal.header("retry-after").and_then(|after| after.parse().ok()).expect("Retry-After in seconds");
    assert!((1..=60).contains(&seconds), "{refusal:?}");
    assert!(asked.elapsed() < SOON, "after {:?}", asked.elapsed());
}

/// 20 s without etcd. `go` takes it away, `come` brings it back.
async fn outage(timeout: &str, go: impl AsyncFn(&mut EtcdProcess), come: impl AsyncFn(&mut EtcdProcess)) {
    let mut etcd = EtcdProcess::start().await;
    let daemon = Site::at(&etcd, &["--timeout", timeout]).await;
    let mut held = ten(&daemon).await;
    // One of the live instances, by both ways of asking.
    let watches = [Watch::udp(daemon.dns, FOO, 10), Watch::dig(daemon.dig(), FOO, 10)];
    let began = Instant::now();
    go(&mut etcd).await;
    // One leaves meanwhile.
    let leaving = held.remove(0);
    leaving.close().await;
    // One sends an update, and gets the error that this is not possible now.
    held[0].text(r#"{"op":"update","weight":7}"#);
    let Received::Text(error) = held[0].next().await else { panic!("no text") };
    assert!(error.starts_with("ERROR: "), "{error}");
    wait_until(OUTAGE + SOON, async || {
        refused_with_retry_after(&daemon).await;
        all_open(&mut held);
        assert_eq!(daemon.get("/healthz").await.status, 200);
        let ready = daemon.readyz().await;
        // It answers from its snapshot; so it is ready, and reports that its store is not.
        assert_eq!(
            (ready["ready"].as_bool(), ready["store"]["reachable"].as_bool()),
            (Some(true), Some(false)),
            "{ready}"
        );
        if began.elapsed() > OUTAGE { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert!(daemon.metric("skyhound_catalog_stale_seconds").await > 5.0);
    let short = daemon.dig().query(FOO, "SRV").await.expect("an answer");
    assert!(short.answer[0].ttl <= 10, "what is not certain is not cached for long: {short:?}");
    come(&mut etcd).await;

    // Every living process, and not the one that left.
    let living: Vec<u16> = (2..=10).collect();
    keys::become_ports(&etcd, &living, RECOVERY).await;
    wait_until(RECOVERY, async || {
        let ports = daemon.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
        let ready = daemon.readyz().await;
        let so = ports == living && ready["catalog"] == "current";
        if so { Ok(()) } else { Err(format!("{ports:?} {ready}")) }
    })
    .await;
    // It takes newcomers, and the old ones stay over a term and more.
    let new = daemon.provide("service=foo&port=11").await;
    let back = Instant::now();
    wait_until(RECOVERY, async || {
        let ports = keys::ports(&etcd);
        assert_eq!(ports, (2..=11).collect::<Vec<_>>());
        if back.elapsed() > Duration::from_secs(7) { Ok(()) } else { Err("not yet") }
    })
    .await;
    all_open(&mut held);
    assert_eq!(keys::stored(&etcd)[&2]["weight"], 100, "what was refused was not done later");
    for watch in watches {
        watch.stop().await.assert_no_gap();
    }
    drop(new);
    for provider in held {
        provider.close().await;
    }
    keys::become_ports(&etcd, &[], SOON).await;
}

#[multi_thread_test]
async fn etcd_stopped_for_less_than_a_lease_ttl() {
    outage("30", EtcdProcess::stop, EtcdProcess::restart).await;
}

#[multi_thread_test]
async fn etcd_stopped_for_more_than_a_lease_ttl() {
    outage("5", EtcdProcess::kill, EtcdProcess::restart).await;
}

#[multi_thread_test]
async fn etcd_frozen_for_less_than_a_lease_ttl() {
    outage("30", async |etcd| etcd.pause(), async |etcd| etcd.resume()).await;
}

/// Entries that etcd has lost are written again.
#[multi_thread_test]
async fn wiped() {
    let mut etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &["--timeout", "5"]).await, Site::at(&etcd, &["--timeout", "5"]).await);
    let mut held = ten(&one).await;
    for port in 11..=20 {
        held.push(two.provide(&format!("service=foo&port={port}")).await);
    }
    let all: Vec<u16> = (1..=20).collect();
    etcd.stop().await;
    std::fs::remove_dir_all(etcd.dir.path().join("data")).expect("etcd's data");
    etcd.restart().await;
    keys::become_ports(&etcd, &all, RECOVERY).await;
    for daemon in [&one, &two] {
        daemon.dig().tcp().comes_to_have(FOO, &all).await;
    }
    all_open(&mut held);
    // They hang on leases that are kept alive.
    let back = Instant::now();
    wait_until(RECOVERY, async || {
        assert_eq!(keys::ports(&etcd), all);
        if back.elapsed() > Duration::from_secs(7) { Ok(()) } else { Err("not yet") }
    })
    .await;
    for provider in held {
        provider.close().await;
    }
    keys::become_ports(&etcd, &[], SOON).await;
}

/// Never read is not empty.
#[multi_thread_test]
async fn etcd_unavailable_at_the_start() {
    let mut etcd = EtcdProcess::absent();
    let daemon = Site::at(&etcd, &[]).await;
    for rtype in ["SRV", "A", "TXT"] {
        for name in [FOO, "skydns.local", "nobody.skydns.local"] {
            let answer = daemon.dig().query(name, rtype).await.expect("an answer");
            assert_eq!((answer.status.as_str(), answer.answer.len()), ("SERVFAIL", 0), "{name} {rtype}");
        }
    }
    let mut asking = Ask::at(daemon.dns).await;
    assert_eq!(asking.srv(FOO).await.map(|response| response.status), Ok(ResponseCode::ServFail));
    assert_eq!(daemon.get("/healthz").await.status, 200);
    let ready = daemon.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(daemon.get("/metrics").await.status, 200);
    refused_with_retry_after(&daemon).await;

    etcd.restart().await;
    wait_until(RECOVERY, async || {
        // Not a moment of "no such name" that is only "not read yet": that comes once it was read.
        let (response, ready) = (asking.srv(FOO).await?, daemon.get("/readyz").await);
        if response.status == ResponseCode::NXDomain && ready.status == 200 {
            Ok(())
        } else {
            Err(format!("{response:?} {ready:?}"))
        }
    })
    .await;
    let mut held = daemon.provide("service=foo&port=1").await;
    assert_eq!(daemon.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1]);
    assert_eq!(held.received(), None::<Received>);
    held.close().await;
}

/// A client that received 101 is registered, and one that did not is not, even if its commit was in flight.
#[multi_thread_test]
async fn killed_in_the_middle_of_a_burst() {
    let mut etcd = EtcdProcess::start().await;
    let daemon = Site::at(&etcd, &[]).await;
    for round in 0..3_u16 {
        let http = daemon.http;
        let ports = 1 + round * 1000..=500 + round * 1000;
        let burst: Vec<_> = ports
            .map(|port| {
                tokio::spawn(async move { (port, Provider::open(http, &format!("service=foo&port={port}")).await) })
            })
            .collect();
        wait_until(SOON, async || {
            let claims = daemon.metric("skyhound_registry_claims").await;
            if claims >= f64::from(50 * (round + 1)) { Ok(()) } else { Err(format!("{claims} claims")) }
        })
        .await;
        etcd.kill().await;
        // Back before they are all refused, so that there are some of each. Meanwhile the daemon lives.
        holds_for(Duration::from_secs(u64::from(round) * 3), async || match daemon.get("/healthz").await.status {
            200 => Ok(()),
            status => Err(status),
        })
        .await;
        etcd.restart().await;
        let (mut held, mut living, mut refused) = (Vec::new(), Vec::new(), 0);
        for opening in burst {
            match opening.await.expect("no panic") {
                (port, Ok(provider)) => {
                    living.push(port);
                    held.push(provider);
                }
                (_, Err(refusal)) => {
                    assert_eq!(refusal.answer().status, 503);
                    refused += 1;
                }
            }
        }
        println!("round {round}: {} registered, {refused} refused", living.len());
        keys::become_ports(&etcd, &living, RECOVERY).await;
        all_open(&mut held);
        futures_util::future::join_all(held.into_iter().map(Provider::close)).await;
        keys::become_ports(&etcd, &[], RECOVERY).await;
    }
}

/// A client that gives up while etcd hangs is not registered when etcd wakes.
#[multi_thread_test]
async fn an_abandoned_registration_leaves_nothing() {
    let etcd = EtcdProcess::start().await;
    let daemon = Site::at(&etcd, &[]).await;
    let stays = daemon.provide("service=foo&port=1").await;
    etcd.pause();
    for port in 2..=30 {
        let mut stream = tokio::net::TcpStream::connect(daemon.http).await.expect("it listens");
        let request = handshake(daemon.http, &format!("service=foo&port={port}"));
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("it listens");
        wait_until(SOON, async || {
            let claims = daemon.metric("skyhound_registry_claims").await;
            if claims > 1.0 { Ok(()) } else { Err(format!("{claims} claims")) }
        })
        .await;
        drop(stream);
    }
    wait_until(SOON, async || {
        let claims = daemon.metric("skyhound_registry_claims").await;
        if claims <= 1.0 { Ok(()) } else { Err(format!("{claims} claims")) }
    })
    .await;
    etcd.resume();
    let new = daemon.provide("service=foo&port=31").await;
    keys::become_ports(&etcd, &[1, 31], RECOVERY).await;
    stays.close().await;
    new.close().await;
    keys::become_ports(&etcd, &[], RECOVERY).await;
}
