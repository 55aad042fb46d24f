//! A system that has no descriptor left.

use crate::net::fixture::Daemon;
use skyhound_net::limits::ACCEPT_PAUSE;
use skyhound_test_support::wait::{SOON, wait_until};
use std::fs::File;
use std::process::Command;
use std::time::Instant;
use tokio::net::TcpSocket;

/// A test in a process of its own: the other tests would miss the descriptors that it uses up.
#[test]
fn a_listener_outlives_a_shortage_of_descriptors() {
    let own = std::env::current_exe().expect("a test has a program");
    let output = Command::new(own)
        .args(["--exact", "net::descriptors::child", "--ignored", "--nocapture"])
        .output()
        .expect("it can be started");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "uses up its process's descriptors: run by the test above"]
async fn child() {
    let daemon = Daemon::start().await;
    let mut used: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    used.pop();
    let socket = TcpSocket::new_v4().expect("the one descriptor that was given back");
    let mut peer = crate::net::raw::Raw::new(socket.connect(daemon.addr).await.expect("the kernel takes it"));
    // Tried, but not spun.
    let began = Instant::now();
    let failures = wait_until(SOON, async || {
        let text = daemon.app.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix("skyhound_accept_failures_total "));
        let failures: u128 = value.expect("it is counted").parse().expect("a number");
        if failures >= 2 { Ok(failures) } else { Err(failures) }
    })
    .await;
    assert!(failures <= 2 + began.elapsed().as_millis() / ACCEPT_PAUSE.as_millis(), "{failures} attempts");
    drop(used);
    assert_eq!(peer.ask("GET /healthz", "").await.status, 200, "it had only to wait");
}
