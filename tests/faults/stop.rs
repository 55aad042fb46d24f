//! A planned stop.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use skyhound_store::LEASE_EXPIRY_SLACK;

use crate::LATE;
use crate::heartbeats::{heartbeat, register};
use crate::keys;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::{Provider, Received};
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const FOO: &str = "foo.services.skydns.local";
/// More than a process takes to end on a busy machine, and less than anything lasts that a stop could wait for by
/// mistake: its deadline by default is 10 s.
const PROMPT: Duration = Duration::from_secs(8);

async fn closed_as_going_away(mut provider: Provider) {
    let received = provider.next().await;
    assert!(matches!(&received, Received::Closed(Some((1001, reason))) if !reason.is_empty()), "{received:?}");
    provider.ended().await;
}

#[multi_thread_test]
async fn entries_stay_for_their_lease() {
    const TIMEOUT: Duration = Duration::from_secs(6);
    let mut site = Site::etcd(&["--timeout", "6"]).await;
    let mut held = Vec::new();
    for port in 1..=20 {
        held.push(site.provide(&format!("service=foo&port={port}")).await);
    }
    let stopping = Instant::now();
    let (status, ()) = tokio::join!(site.daemon.stop(), async {
        for provider in held {
            closed_as_going_away(provider).await;
        }
    });
    assert_eq!(status.code(), Some(0));
    assert!(stopping.elapsed() < PROMPT, "after {:?}", stopping.elapsed());
    let etcd = site.etcd.as_ref().expect("the store is etcd");
    assert_eq!(keys::ports(etcd), (1..=20).collect::<Vec<_>>());
    keys::become_ports_in_time(etcd, &[], stopping + TIMEOUT + LEASE_EXPIRY_SLACK + LATE).await;
}

/// The purpose of the lease: a client that receives the close registers elsewhere, and nobody sees a gap.
#[multi_thread_test]
async fn clients_move_to_another_daemon() {
    let etcd = EtcdProcess::start().await;
    let (mut one, two) = (Site::at(&etcd, &["--timeout", "6"]).await, Site::at(&etcd, &["--timeout", "6"]).await);
    let mut clients = Vec::new();
    for port in 1..=20 {
        clients.push((port, one.provide(&format!("service=foo&port={port}")).await));
    }
    wait_until(SOON, async || {
        let ports = two.dig().tcp().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
        if ports.len() == 20 { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    let id = skyhound_model::instance::skyapi_id("foo", &["services".into()], "127.0.0.1", 20);
    let watch = Watch::udp(two.dns, &format!("{id}.{FOO}"), 20);
    let leases = keys::leases(&etcd);
    let (status, clients) = tokio::join!(one.stop(), async {
        let mut back = Vec::new();
        for (port, provider) in clients {
            closed_as_going_away(provider).await;
            back.push(two.provide(&format!("service=foo&port={port}")).await);
        }
        back
    });
    assert_eq!(status.code(), Some(0));
    // The first daemon's lease runs out, and takes nothing along.
    wait_until(SOON, async || {
        let left = keys::leases(&etcd);
        if leases.iter().any(|lease| left.contains(lease)) { Err(format!("{left:?}")) } else { Ok(()) }
    })
    .await;
    assert_eq!(keys::ports(&etcd), (1..=20).collect::<Vec<_>>());
    watch.stop().await.assert_no_gap();
    assert!(clients.iter().all(Provider::is_open));
}

#[multi_thread_test]
async fn entries_go_when_that_is_chosen() {
    for mut site in [Site::etcd(&["--on-stop", "remove"]).await, Site::disk(&["--on-stop", "remove"]).await] {
        let mut held = Vec::new();
        for port in 1..=20 {
            held.push(site.provide(&format!("service=foo&port={port}")).await);
        }
        let (status, ()) = tokio::join!(site.daemon.stop(), async {
            for provider in held {
                closed_as_going_away(provider).await;
            }
        });
        assert_eq!(status.code(), Some(0));
        if let Some(etcd) = &site.etcd {
            assert!(keys::ports(etcd).is_empty(), "gone by the time that the daemon is");
        } else {
            site.daemon.restart().await;
            assert_eq!(site.dig().query(FOO, "SRV").await.expect("an answer").status, "NXDOMAIN");
        }
    }
}

/// Neither a peer that does not read nor one in the middle of its request holds the daemon up.
#[multi_thread_test]
async fn clients_do_not_delay_a_stop() {
    let mut site = Site::memory(&["--stop-deadline", "3"]).await;
    let deaf = site.provide("service=foo&port=1").await;
    deaf.stop_reading();
    let idle = tokio::net::TcpStream::connect(site.http).await.expect("it listens");
    let mut half = tokio::net::TcpStream::connect(site.http).await.expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut half, b"GET /provide?service=foo HTTP/1.1\r\nHost:")
        .await
        .expect("it listens");
    let stopping = Instant::now();
    let status = site.daemon.stop().await;
    assert_eq!(status.code(), Some(0));
    assert!(stopping.elapsed() < PROMPT, "after {:?}", stopping.elapsed());
    drop((deaf, idle, half));
}

/// etcd hangs, whether there is something to be removed or not.
#[multi_thread_test]
async fn it_ends_within_its_deadline() {
    let etcd = EtcdProcess::start().await;
    let on_stop = |what| ["--on-stop", what, "--stop-deadline", "3", "--timeout", "5"];
    let mut daemons = [Site::at(&etcd, &on_stop("remove")).await, Site::at(&etcd, &on_stop("keep")).await];
    let _foo = daemons[0].provide("service=foo&port=1").await;
    let _bar = daemons[1].provide("service=bar&port=2").await;
    register(&daemons[1], "bar", 3).await;
    etcd.pause();
    for daemon in &mut daemons {
        let stopping = Instant::now();
        let status = daemon.stop().await;
        assert_eq!(status.code(), Some(0));
        assert!(stopping.elapsed() < PROMPT, "after {:?}", stopping.elapsed());
    }
    // What could not be removed goes with its lease.
    etcd.resume();
    keys::become_ports(&etcd, &[], Duration::from_secs(5) + LEASE_EXPIRY_SLACK + SOON).await;
}

/// A client with heartbeats has no socket that ends with the daemon, and sends them to any other: its entry stays.
#[multi_thread_test]
async fn heartbeats_continue_at_another_daemon() {
    let etcd = EtcdProcess::start().await;
    let mut one = Site::at(&etcd, &["--timeout", "3", "--on-stop", "remove"]).await;
    let two = Site::at(&etcd, &["--timeout", "3"]).await;
    let id = register(&one, "foo", 1).await;
    wait_until(SOON, async || {
        let ports = two.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?.ports();
        if ports == [1] { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    let watch = Watch::udp(two.dns, FOO, 1);
    assert_eq!(one.stop().await.code(), Some(0));
    let stopped = Instant::now();
    wait_until(SOON, async || {
        assert!(heartbeat(&two, &id).await);
        if stopped.elapsed() > Duration::from_secs(3) + LEASE_EXPIRY_SLACK { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_eq!(keys::ports(&etcd), [1]);
    watch.stop().await.assert_no_gap();
}

#[multi_thread_test]
async fn a_second_signal_ends_it_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut site = Site::etcd(&["--on-stop", "remove", "--stop-deadline", "30"]).await;
        let mut held = site.provide("service=foo&port=1").await;
        site.etcd.as_ref().expect("the store is etcd").pause();
        site.daemon.signal(Signal::TERM);
        // It has begun to stop, and cannot finish. DNS answers until the last.
        assert!(matches!(held.next().await, Received::Closed(Some((1001, _)))));
        assert!(site.daemon.is_running());
        assert_eq!(site.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1]);
        site.daemon.signal(second);
        let signalled = Instant::now();
        let status = site.daemon.ended().await;
        assert!(signalled.elapsed() < PROMPT, "after {:?}", signalled.elapsed());
        assert_eq!(status.code(), Some(1), "that was no clean end");
    }
}

/// A stopping daemon accepts no registration, and answers with that reason.
#[multi_thread_test]
async fn registrations_are_refused_while_it_stops() {
    let mut site = Site::etcd(&["--on-stop", "remove", "--stop-deadline", "2"]).await;
    let mut held = site.provide("service=foo&port=1").await;
    site.etcd.as_ref().expect("the store is etcd").pause();
    site.daemon.signal(Signal::TERM);
    assert!(matches!(held.next().await, Received::Closed(Some((1001, _)))));
    wait_until(SOON, async || {
        let refusal = site.try_provide("service=foo&port=2").await.expect_err("nobody is taken");
        match refusal {
            // Refused by the system: it does not listen any more.
            skyhound_test_support::provider::Refusal::NoResponse(_) => Ok(()),
            skyhound_test_support::provider::Refusal::Answer(answer) if answer.status == 503 => Ok(()),
            skyhound_test_support::provider::Refusal::Answer(answer) => Err(format!("{answer:?}")),
        }
    })
    .await;
    site.daemon.ended().await;
}
