//! The embedded store loses its process in the middle of a burst, its space, its file.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use skyhound_store::LEASE_EXPIRY_SLACK;

use skyhound_test_support::ask::Ask;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use skyhound_test_support::watch::Watch;

const BURST: usize = 400;
const TERM: Duration = Duration::from_secs(3);

fn name(n: usize) -> String {
    format!("s{n}.services.skydns.local")
}

/// A registration that was answered 101 is there after the restart, for one lease TTL; another may be there or not; the
/// file opens.
#[multi_thread_test]
async fn confirmed_registrations_outlive_a_kill() {
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
            // The socket ends with the daemon; only confirmed registrations count.
            registered.extend(open.await.expect("no panic").map(|(n, _)| n));
        }
        assert!(registered.len() >= kill_after);

        site.daemon.restart().await;
        let mut asking = Ask::at(site.dns).await;
        let mut missing = Vec::new();
        for n in &registered {
            let response = asking.srv(&name(*n)).await.expect("an answer");
            if response.ports != [1] {
                missing.push((*n, response));
            }
        }
        assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), registered.len());
        // It takes newcomers at once.
        let new = site.provide("service=new&port=1").await;
        assert_eq!(asking.srv("new.services.skydns.local").await.expect("an answer").ports, [1]);
        // Nobody came back: after one term nothing is left.
        wait_until(TERM + LEASE_EXPIRY_SLACK + SOON, async || {
            let response = asking.srv("services.skydns.local").await?;
            if response.ports == [1] && !response.truncated {
                Ok(())
            } else {
                Err(format!("{} are left", response.ports.len()))
            }
        })
        .await;
        new.close().await;
        assert_eq!(
            asking.srv("services.skydns.local").await.map(|response| response.status),
            Ok(ResponseCode::NXDomain)
        );
    }
}

/// Past the capture of `cargo test`, which shows only what a failed test printed.
fn leave_out() {
    let message = "LEFT OUT: a disk without space: unshare may not make a mount here.";
    writeln!(std::io::stderr(), "{message}").expect("writing to stderr");
}

/// DNS answers on, live instances stay, new ones get the reason; those that left are removed once there is space.
#[multi_thread_test]
async fn a_disk_without_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().to_str().expect("a path in UTF-8").to_owned();
    let mount = format!("mount -t tmpfs -o size=3m none '{at}' && exec \"$@\"");
    let unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
    if !Command::new(unshare[0]).args(&unshare[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return leave_out();
    }
    let daemon = Daemon::start_within(&unshare, &["--data-dir", &at, "--timeout", "2"]).await;
    let (stays, leaves) = (daemon.provide("service=foo&port=1").await, daemon.provide("service=foo&port=2").await);
    let watch = Watch::udp(daemon.dns, "foo.services.skydns.local", 1);
    // Its mount is seen through it alone.
    let filler = PathBuf::from(format!("/proc/{}/root{at}/filler", daemon.pid()));
    let mut filling = std::fs::File::create(&filler).expect("space for a file");
    while filling.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    let full = std::time::Instant::now();
    let refusal = daemon.try_provide("service=foo&port=3").await.expect_err("there is no space").answer();
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(refusal.body.contains("No space left on device") && refusal.header("retry-after").is_some(), "{refusal:?}");
    assert!(full.elapsed() < skyhound_core::registry::REGISTER_DEADLINE, "after {:?}", full.elapsed());
    let ready = daemon.readyz().await;
    assert_eq!((&ready["ready"], &ready["store"]["reachable"]), (&true.into(), &false.into()), "{ready}");
    drop(leaves);
    wait_until(SOON, async || if full.elapsed() > TERM * 2 { Ok(()) } else { Err("not yet") }).await;
    let warned = daemon.log().matches("No space left").count();
    assert!((1..=5).contains(&warned), "{warned} lines about it:\n{}", daemon.log());

    drop(filling);
    std::fs::remove_file(&filler).expect("it is there");
    wait_until(SOON, async || {
        let ports = daemon.dig().query("foo.services.skydns.local", "SRV").await.map_err(|e| e.to_string())?.ports();
        if ports == [1] { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    let _new = daemon.provide("service=foo&port=4").await;
    assert!(stays.is_open());
    watch.stop().await.assert_no_gap();
}

/// Data written into a removed file is lost; the daemon reports that, and serves the live instances.
#[multi_thread_test]
async fn a_directory_that_is_removed() {
    let mut site = Site::disk(&["--timeout", "2"]).await;
    let held = site.provide("service=foo&port=1").await;
    assert_eq!(site.readyz().await["store"]["alarms"], serde_json::json!([]));
    let dir = site.dir.as_ref().expect("the store is a file").path().to_owned();
    std::fs::remove_dir_all(&dir).expect("it is there");
    wait_until(SOON, async || {
        let ready = site.readyz().await;
        let alarm = ready["store"]["alarms"][0].as_str().is_some_and(|text| text.contains("was removed"));
        if alarm && site.log().contains("was removed") { Ok(()) } else { Err(ready) }
    })
    .await;
    let _new = site.provide("service=foo&port=2").await;
    let ask = async |daemon: &Daemon| {
        let answer = daemon.dig().query("foo.services.skydns.local", "SRV").await.expect("an answer");
        (answer.ports(), answer.status)
    };
    assert_eq!(ask(&site).await.0, [1, 2]);
    assert!(held.is_open());
    // It makes a new one.
    assert!(site.daemon.stop().await.success());
    site.daemon.restart().await;
    assert_eq!(ask(&site).await.1, "NXDOMAIN");
    let _again = site.provide("service=foo&port=1").await;
    assert_eq!(ask(&site).await.0, [1]);
    assert_eq!(site.readyz().await["store"]["alarms"], serde_json::json!([]));
}
