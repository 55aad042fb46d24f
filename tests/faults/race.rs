//! The close of an old socket meets the new registration of the same process: the record stays, whatever
//! comes first on the wire. A thousand times each, and somebody asks DNS throughout.

use crate::keys;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const TURNS: usize = 1000;
const FOO: &str = "foo.services.skydns.local";
const QUERY: &str = "service=foo&port=1";

/// Ends a socket in one of the ways there are.
async fn end(old: Provider, turn: usize) {
    match turn % 3 {
        0 => old.close().await,
        1 => old.reset().await,
        _ => drop(old),
    }
}

/// The process registers at these daemons in turn.
async fn race(daemons: &[&Daemon]) {
    let mut held = daemons[0].provide(QUERY).await;
    for daemon in daemons {
        daemon.dig().comes_to_have(FOO, &[1]).await;
    }
    let watches: Vec<_> = daemons.iter().map(|daemon| Watch::udp(daemon.dns, FOO, 1)).collect();
    let mut ending = None;
    for turn in 1..=TURNS {
        let new = daemons[turn % daemons.len()].provide(QUERY).await;
        let old = std::mem::replace(&mut held, new);
        // On half of the turns the end is still under way while the next registration is.
        if let Some(before) = ending.replace(tokio::spawn(end(old, turn))) {
            before.await.expect("no panic");
        }
        if turn % 4 < 2 {
            ending.take().expect("it was just begun").await.expect("no panic");
        }
    }
    if let Some(last) = ending {
        last.await.expect("no panic");
    }
    for daemon in daemons {
        assert_eq!(daemon.dig().query(FOO, "SRV").await.expect("an answer").ports(), [1]);
    }
    for watch in watches {
        let seen = watch.stop().await;
        seen.assert_no_gap();
        assert!(seen.right > 100, "asked only {} times", seen.right);
    }
    for daemon in daemons {
        wait_until(SOON, async || {
            let (claims, held) = (
                daemon.metric("skyhound_registry_claims").await,
                daemon.metric("skyhound_websocket_connections").await,
            );
            if claims <= 1.0 && held <= 1.0 { Ok(()) } else { Err(format!("{claims} claims, {held} sockets")) }
        })
        .await;
    }
    held.close().await;
    for daemon in daemons {
        daemon.dig().comes_to_deny(FOO).await;
    }
}

#[multi_thread_test]
async fn in_memory() {
    race(&[&Site::memory(&[]).await.daemon]).await;
}

#[multi_thread_test]
async fn on_disk() {
    let site = Site::disk(&[]).await;
    race(&[&site]).await;
}

#[multi_thread_test]
async fn on_etcd() {
    let site = Site::etcd(&[]).await;
    race(&[&site]).await;
    keys::become_ports(site.etcd.as_ref().expect("the store is etcd"), &[], SOON).await;
}

#[multi_thread_test]
async fn across_two_daemons() {
    let etcd = EtcdProcess::start().await;
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    race(&[&one, &two]).await;
    assert!(keys::ports(&etcd).is_empty());
}
