//! More peers than the daemon may have descriptors.

use futures_util::StreamExt;

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::{Provider, Refusal};
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const MOST: u32 = 1000;
const PEERS: u16 = 2000;

/// Peers over the limit are refused; DNS answers all the while; and a freed descriptor is used again.
#[multi_thread_test]
async fn twice_as_many_peers_as_descriptors() {
    let limit = format!("--nofile={MOST}");
    let daemon = Daemon::start_within(&["prlimit", &limit], &["--in-memory", "--timeout", "30"]).await;
    let first = daemon.provide("service=foo&port=1").await;
    let watch = Watch::udp(daemon.dns, "foo.services.skydns.local", 1);
    let http = daemon.http;
    let open = |port| async move { Provider::open(http, &format!("service=bar&port={port}")).await };
    let all: Vec<_> = futures_util::stream::iter(1..=PEERS).map(open).buffer_unordered(256).collect().await;
    let (mut held, mut refused) = (Vec::new(), 0);
    for peer in all {
        match peer {
            Ok(provider) => held.push(provider),
            Err(Refusal::Answer(answer)) => {
                assert_eq!(answer.status, 503, "{answer:?}");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused += 1;
            }
            // Beyond those that get a response, the connection ends without one.
            Err(Refusal::NoResponse(_)) => refused += 1,
        }
    }
    println!("{} are held, {refused} were refused", held.len());
    assert!(held.len() >= 300 && refused > 0, "{} are held, {refused} were refused", held.len());
    let lines = daemon.log().lines().count();
    assert!(lines < 50, "{lines} lines:\n{}", daemon.log());
    for provider in held.drain(..100) {
        provider.close().await;
    }
    wait_until(SOON, async || match open(1).await {
        Ok(provider) => {
            held.push(provider);
            Ok(())
        }
        Err(refusal) => Err(format!("{refusal:?}")),
    })
    .await;
    assert!(first.is_open() && held.iter().all(Provider::is_open));
    watch.stop().await.assert_no_gap();
}
