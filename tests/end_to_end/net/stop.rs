//! A planned stop.

use crate::net::fixture::{Daemon, How};
use crate::net::raw::{Frame, Raw, UPGRADE};
use skyhound_core::registry::OnStop;
use skyhound_net::HttpServer;
use skyhound_test_support::wait::{SOON, wait_until};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Takes the HTTP server out of a daemon, to shut it down.
async fn running(on_stop: OnStop) -> (Daemon, Vec<Raw>) {
    let daemon = Daemon::started(How { on_stop, ..How::default() }).await;
    let mut held = Vec::new();
    for port in 1..=20 {
        let mut peer = daemon.connect().await;
        peer.provide(&format!("service=foo&port={port}")).await;
        held.push(peer);
    }
    (daemon, held)
}

fn server_of(daemon: &mut Daemon) -> HttpServer {
    std::mem::replace(&mut daemon.http, crate::net::fixture::idle())
}

#[tokio::test]
async fn sockets_are_closed_and_entries_preserved_or_removed() {
    for (on_stop, left) in [(OnStop::Keep, 20), (OnStop::Remove, 0)] {
        let (mut daemon, held) = running(on_stop).await;
        let stopping = tokio::spawn(server_of(&mut daemon).shutdown(SOON));
        for mut peer in held {
            assert_eq!(
                peer.receive_past_pings().await,
                Frame::Close(1001, "going away: this daemon is stopping".into())
            );
        }
        assert_eq!(stopping.await.unwrap(), 0, "all of them went");
        daemon.holds(left, 0).await;
        // A process that another test starts has our sockets until it is the program that it is to be.
        wait_until(SOON, async || match TcpStream::connect(daemon.addr).await {
            Ok(_) => Err("somebody listens"),
            Err(_) => Ok(()),
        })
        .await;
    }
}

#[tokio::test]
async fn idle_connections_do_not_hold_a_stop_up_and_busy_ones_are_waited_for() {
    let mut daemon = Daemon::started(How { follow: false, deadline: Duration::from_secs(3), ..How::default() }).await;
    let _silent = daemon.connect().await;
    let mut idle = daemon.connect().await;
    assert_eq!(idle.ask("GET /healthz", "").await.status, 200);
    let mut busy = daemon.connect().await;
    busy.send(format!("GET /provide?service=foo&port=1 HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n")).await;
    daemon.holds(0, 1).await;
    let began = Instant::now();
    assert_eq!(server_of(&mut daemon).shutdown(Duration::from_millis(300)).await, 1, "the busy one is left");
    assert!(began.elapsed() < SOON);
    assert!(idle.ends().await);
    assert_eq!(busy.answer().await.status, 503, "and gets its answer");
}

#[tokio::test]
async fn a_peer_that_does_not_read_cannot_hold_a_stop_up() {
    let (mut daemon, held) = running(OnStop::Keep).await;
    assert_eq!(server_of(&mut daemon).shutdown(SOON).await, 0);
    daemon.holds(20, 0).await;
    drop(held);
}
