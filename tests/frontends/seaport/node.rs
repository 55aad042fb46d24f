//! The original (npm `seaport`), unmodified, as a process.

use serde_json::{Value, json};
use skyhound_test_support::wait::{SOON, try_until};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Installed by tests/run from tests/tools/seaport, where there is npm.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/seaport/node_modules");
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frontends/seaport/drive.js");

/// One of its processes. Killed when dropped.
pub struct Node {
    child: Child,
    commands: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    /// Messages that no call has claimed yet.
    pending: Vec<Value>,
}

impl Node {
    /// Starts it, with a file of options (keys). Returns `None`, with a message, where npm could not install it; in CI
    /// that is a failure.
    pub fn start(options: Option<&Path>) -> Option<Self> {
        if !Path::new(MODULES).exists() {
            assert!(std::env::var_os("CI").is_none(), "tests/run has not installed seaport, although this is CI");
            eprintln!(
                "LEFT OUT: the original seaport is not there; tests/run installs it where there are node and npm"
            );
            return None;
        }
        let mut child = Command::new("node")
            // RC4 is not in OpenSSL's default provider any more.
            .args(["--openssl-legacy-provider", "--no-deprecation", DRIVER, MODULES])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let commands = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        Some(Self { child, commands, lines, pending: Vec::new() })
    }

    /// A client of this hub.
    pub async fn client(hub: SocketAddr, options: Option<&Path>) -> Option<Self> {
        let mut node = Self::start(options)?;
        node.send(json!(["connect", hub.port(), hub.ip().to_string()])).await;
        node.event("connect").await;
        Some(node)
    }

    /// Sends a command.
    pub async fn send(&mut self, command: Value) {
        let commands = self.commands.as_mut().expect("it runs");
        commands.write_all(format!("{command}\n").as_bytes()).await.expect("it reads");
    }

    /// Sends a command, and returns its answer.
    pub async fn ask(&mut self, command: Value) -> Value {
        self.send(command).await;
        self.first(|message| message.get("answer").is_some()).await["answer"].take()
    }

    /// The next event of this kind.
    pub async fn event(&mut self, event: &str) -> Value {
        self.first(|message| message["event"] == event).await
    }

    /// The event of this kind that is about an id.
    pub async fn about(&mut self, event: &str, id: &str) -> Value {
        self.first(|message| message["event"] == event && message["meta"]["id"] == id).await["meta"].take()
    }

    async fn first(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.pending.iter().position(&wanted) {
            return self.pending.remove(at);
        }
        loop {
            let line = timeout(SOON, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("it printed no such message, but {:?}", self.pending));
            let line = line.expect("it can be read").expect("it goes on");
            let message: Value = serde_json::from_str(&line).expect("it prints JSON");
            if wanted(&message) {
                return message;
            }
            self.pending.push(message);
        }
    }

    /// Returns true if it has printed such an event so far.
    pub fn has_reported(&self, event: &str, id: &str) -> bool {
        self.pending.iter().any(|message| message["event"] == event && message["meta"]["id"] == id)
    }

    /// The number of such events that no call has claimed.
    pub fn times(&self, event: &str, id: &str) -> usize {
        self.pending.iter().filter(|message| message["event"] == event && message["meta"]["id"] == id).count()
    }

    /// Ends it as a power failure would.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// The services that it knows for this pattern, when there are so many.
    #[track_caller]
    pub fn knows(&mut self, pattern: &str, many: usize) -> impl Future<Output = Vec<Value>> {
        let caller = std::panic::Location::caller();
        async move {
            let found = try_until(SOON, async || match self.ask(json!(["query", pattern])).await {
                Value::Array(found) if found.len() == many => Ok(found),
                found => Err(found),
            });
            found.await.unwrap_or_else(|late| panic!("{caller}: {pattern}: {late}"))
        }
    }

    /// Ends the process as its user would.
    pub async fn end(mut self) {
        drop(self.commands.take());
        timeout(SOON, self.child.wait()).await.expect("it ends").expect("it can be waited for");
    }
}
