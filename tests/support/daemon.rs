//! The real daemon as a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long the daemon may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to go after a signal.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running `skyhound serve`. Killed when dropped.
pub struct Daemon {
    child: Child,
    args: Vec<String>,
    /// Where HTTP and websockets are.
    pub http: SocketAddr,
    /// Where DNS is.
    pub dns: SocketAddr,
}

impl Daemon {
    /// Starts it on free loopback ports, with further arguments, and waits until it listens.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", "127.0.0.1:0", args.iter().map(ToString::to_string).collect()).await
    }

    async fn start_at(http: &str, dns: &str, args: Vec<String>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skyhound"))
            .args(["serve", "--listen", http, "--dns-listen", dns])
            .args(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built with the tests");
        let stdout = child.stdout.take().expect("it was piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_DEADLINE, lines.next_line())
            .await
            .expect("it says that it listens in time")
            .expect("its output can be read")
            .expect("it does not end before it listens");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the first line is JSON");
        let addr = |kind: &str| ready[kind][0].as_str().expect("an address").parse().expect("an address");
        Self { child, args, http: addr("http"), dns: addr("dns") }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The URL of `/provide`.
    pub fn provide_url(&self, query: &str) -> String {
        format!("ws://{}/provide?{query}", self.http)
    }

    /// Ends it as a power failure would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// A planned stop; waits until it is gone and says how it ended.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be signalled");
        tokio::time::timeout(STOP_DEADLINE, self.child.wait())
            .await
            .expect("it stops in time")
            .expect("it can be waited for")
    }

    /// Starts it again with the same arguments on the same ports.
    pub async fn restart(&mut self) {
        *self = Self::start_at(&self.http.to_string(), &self.dns.to_string(), self.args.clone()).await;
    }
}
