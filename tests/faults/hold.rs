//! Holding costs the store nothing.

use std::time::Duration;

use futures_util::StreamExt;

use crate::keys;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::http;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, holds_for};

const SOCKETS: u16 = 2000;
const MINUTE: Duration = Duration::from_secs(60);

/// A counter of etcd's own. Its names of counters moved between versions.
async fn counted(etcd: &EtcdProcess, names: [&str; 2]) -> f64 {
    let addr = etcd.endpoint().trim_start_matches("http://").parse().expect("an address");
    let text = http::get(addr, "/metrics").await.expect("etcd answers").body;
    names
        .iter()
        .find_map(|name| http::metric(&text, name))
        .unwrap_or_else(|| panic!("none of {names:?} in etcd's metrics"))
}

async fn puts(etcd: &EtcdProcess) -> f64 {
    counted(etcd, ["etcd_mvcc_put_total", "etcd_debugging_mvcc_put_total"]).await
}

async fn renewals(etcd: &EtcdProcess) -> f64 {
    counted(etcd, ["etcd_debugging_lease_renewed_total", "etcd_lease_renewed_total"]).await
}

#[multi_thread_test]
async fn a_minute_with_2000_sockets_writes_nothing() {
    let etcd = EtcdProcess::start().await;
    let daemon = Site::at(&etcd, &["--timeout", "10"]).await;
    let open = |port| daemon.try_provide(Box::leak(format!("service=foo&port={port}").into_boxed_str()));
    let mut held: Vec<_> = futures_util::stream::iter(1..=SOCKETS).map(open).buffer_unordered(64).collect().await;
    assert!(held.iter().all(Result::is_ok));
    let before = (puts(&etcd).await, renewals(&etcd).await);
    let idle = (f64::from(SOCKETS), before.0);
    holds_for(MINUTE, async || match (daemon.metric("skyhound_websocket_connections").await, puts(&etcd).await) {
        now if now == idle => Ok(()),
        now => Err(format!("sockets and puts: {now:?}, not {idle:?}")),
    })
    .await;
    // 2,000 entries are two leases, each kept alive every third of the term; a spare one may be there.
    let renewed = renewals(&etcd).await - before.1;
    let leases = keys::leases(&etcd).len();
    assert!((2..=4).contains(&leases), "{leases} leases");
    assert!((30.0..=100.0).contains(&renewed), "{renewed} renewals");
    assert!(daemon.metric("skyhound_registry_commits_total").await > 0.0);

    let all: Vec<u16> = (1..=SOCKETS).collect();
    assert_eq!(keys::ports(&etcd), all);
    let answer = daemon.dig().tcp().query("foo.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(answer.status, "NOERROR");
    for provider in held.iter_mut().flatten() {
        assert!(provider.is_open());
        assert!(provider.pings() >= 10, "{} pings", provider.pings());
        assert_eq!(provider.received(), None);
    }
    let closing = held.into_iter().flatten().map(skyhound_test_support::provider::Provider::close);
    futures_util::future::join_all(closing).await;
    keys::become_ports(&etcd, &[], SOON).await;
}
