//! The real client, `srsrpy`, as its users run it.

use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::endpoints::lookup;
use crate::srsr::until;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::SOON;

/// The Python in which `tests/run` installs clients.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python/bin/python");

/// A program that registers, prints the result, and runs until its standard input ends.
const PROGRAM: &str = r#"
import sys
from srsrpy.srsrpy import ServiceRegistryClient
url, name, port = sys.argv[1:]
client = ServiceRegistryClient(name, registry_address=url, service_port=port, heartbeat_interval=0.5)
print(client.register(), flush=True)
sys.stdin.read()
client.deregister()
print("left", flush=True)
"#;

/// A running client.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// Starts a client. Returns `None`, with a message, when it is not installed.
    async fn start(site: &Site, name: &str, port: u16) -> Option<Self> {
        if !Path::new(PYTHON).exists() {
            assert!(std::env::var_os("CI").is_none(), "srsrpy is not installed, and CI has it");
            eprintln!("LEFT OUT: srsrpy is not installed; `tests/run` does it");
            return None;
        }
        let mut child = Command::new(PYTHON)
            .args(["-c", PROGRAM, &format!("http://{}", site.http), name, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python runs");
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let mut client = Self { input: child.stdin.take(), child, lines };
        assert_eq!(client.line().await, "True", "the real client is registered");
        Some(client)
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await.expect("a line in time");
        line.expect("its output can be read").expect("it does not end before that")
    }

    /// Ends the client, which deregisters.
    async fn leave(mut self) {
        drop(self.input.take());
        assert_eq!(self.line().await, "left");
        assert!(self.child.wait().await.expect("it ends").success());
    }
}

pub async fn the_client_registers_renews_and_deregisters(site: Site) {
    let Some(client) = Client::start(&site, "pyweb", 5001).await else { return };
    // Its heartbeats renew its lease several times.
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(6);
    until(async || {
        assert_eq!(lookup(&site, "pyweb").await.as_deref(), Some("http://127.0.0.1:5001"));
        tokio::time::Instant::now() > end
    })
    .await;
    let leaving = Client::start(&site, "pyweb", 5002).await.expect("it is installed");
    leaving.leave().await;
    let answer = site.dig().query("pyweb.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(answer.ports(), [5001], "exactly one left");
    let Client { mut child, .. } = client;
    child.start_kill().expect("it runs");
    until(async || lookup(&site, "pyweb").await.is_none()).await;
}

pub async fn outlives_the_daemon(mut site: Site) {
    let Some(mut client) = Client::start(&site, "pyweb", 5001).await else { return };
    site.daemon.kill().await;
    site.daemon.restart().await;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(9);
    until(async || {
        assert!(lookup(&site, "pyweb").await.is_some(), "it never disappears");
        tokio::time::Instant::now() > end
    })
    .await;
    client.input.as_mut().expect("it is open").flush().await.expect("it runs");
    client.leave().await;
    assert_eq!(lookup(&site, "pyweb").await, None);
}
