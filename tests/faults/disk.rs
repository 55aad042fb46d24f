//! The embedded store loses its process in the middle of a burst.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use skyhound::store::LEASE_SLACK;

use crate::support::ask::Ask;
use crate::support::provider::Provider;
use crate::support::site::Site;
use crate::support::wait::{SOON, wait_until};

const BURST: usize = 400;
const TERM: Duration = Duration::from_secs(3);

fn name(n: usize) -> String {
    format!("s{n}.services.skydns.local")
}

/// What was answered 101 is there after the restart, for one term; what was not may be there or not; and the
/// file opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_outlives_a_kill() {
    let mut site = Site::disk(&["--timeout", "3"]).await;
    let mut asked = 0;
    // Early and late in a burst; each round opens the file that the one before left.
    for kill_after in [1, 40, 150, 390] {
        let http = site.http;
        let confirmed = Arc::new(AtomicUsize::new(0));
        let burst: Vec<_> = (asked..asked + BURST)
            .map(|n| {
                let confirmed = Arc::clone(&confirmed);
                tokio::spawn(async move {
                    let held = Provider::open(http, &format!("service=s{n}&port=1")).await.ok()?;
                    confirmed.fetch_add(1, Ordering::Relaxed);
                    Some((n, held))
                })
            })
            .collect();
        asked += BURST;
        wait_until(SOON, async || {
            let now = confirmed.load(Ordering::Relaxed);
            if now >= kill_after { Ok(()) } else { Err(format!("{now} were confirmed")) }
        })
        .await;
        site.daemon.kill().await;
        let mut registered = BTreeSet::new();
        for open in burst {
            // The socket is over with the daemon; who was answered is all that counts.
            registered.extend(open.await.expect("no panic").map(|(n, _)| n));
        }
        assert!(registered.len() >= kill_after);

        site.daemon.restart().await;
        let mut asking = Ask::at(site.dns).await;
        let mut missing = Vec::new();
        for n in &registered {
            let said = asking.srv(&name(*n)).await.expect("an answer");
            if said.ports != [1] {
                missing.push((*n, said));
            }
        }
        assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), registered.len());
        // It takes newcomers at once.
        let new = site.provide("service=new&port=1").await;
        assert_eq!(asking.srv("new.services.skydns.local").await.expect("an answer").ports, [1]);
        // Nobody came back: after one term nothing is left.
        wait_until(TERM + LEASE_SLACK + SOON, async || {
            let said = asking.srv("services.skydns.local").await?;
            if said.ports == [1] && !said.truncated { Ok(()) } else { Err(format!("{} are left", said.ports.len())) }
        })
        .await;
        new.close().await;
        assert_eq!(asking.srv("services.skydns.local").await.map(|said| said.status), Ok(ResponseCode::NXDomain));
    }
}
