//! The real daemon as a process of its own.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::address::own_address;
use super::dig::Dig;
use super::http::{self, Response};
use super::program;
use super::provider::{Provider, Refusal};

/// The time limit for the daemon to listen.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// The time limit for it to end after a signal.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// The placeholder for the daemon's own address in an argument.
pub const OWN: &str = "OWN-ADDRESS";

/// A running `skyhound serve`. Killed when dropped; if that is because a test failed, its log is shown.
pub struct Daemon {
    child: Child,
    args: Vec<String>,
    within: Vec<String>,
    log: TempDir,
    /// The address for HTTP and websockets.
    pub http: SocketAddr,
    /// The address for DNS.
    pub dns: SocketAddr,
    /// All of its first line.
    pub ready: serde_json::Value,
    /// The address for seaport's peers, if they are served.
    pub seaport: Option<SocketAddr>,
}

impl Daemon {
    /// Starts it with further arguments and waits until it listens. Without an argument that says where
    /// entries are kept, they are kept in memory.
    ///
    /// It gets a loopback address of its own, with ports that the system gives nobody by chance: a daemon that
    /// is restarted finds them free.
    pub async fn start(args: &[&str]) -> Self {
        let ip = IpAddr::from(own_address());
        let own: Vec<_> = args.iter().map(|arg| arg.replace(OWN, &ip.to_string())).collect();
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        Self::start_on(SocketAddr::new(ip, 8053), SocketAddr::new(ip, 5300), &own).await
    }

    /// The same on these addresses.
    pub async fn start_on(http: SocketAddr, dns: SocketAddr, args: &[&str]) -> Self {
        let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let says_where = |arg: &String| ["--in-memory", "--data-dir", "--etcd-api"].contains(&arg.as_str());
        if !args.iter().any(says_where) {
            args.push("--in-memory".into());
        }
        let log = TempDir::new().expect("a directory for the log");
        Self::spawn(&[], http, dns, args, log).await
    }

    /// Starts it by a program that becomes it, as `unshare` or `prlimit` do.
    pub async fn start_within(program: &[&str], args: &[&str]) -> Self {
        let ip = IpAddr::from(own_address());
        let within: Vec<_> = program.iter().map(ToString::to_string).collect();
        let args = args.iter().map(ToString::to_string).collect();
        let log = TempDir::new().expect("a directory for the log");
        Self::spawn(&within, SocketAddr::new(ip, 8053), SocketAddr::new(ip, 5300), args, log).await
    }

    async fn spawn(within: &[String], http: SocketAddr, dns: SocketAddr, args: Vec<String>, log: TempDir) -> Self {
        let out = File::options().create(true).append(true).open(log.path().join("log")).expect("a file for the log");
        let own = [program().to_owned()];
        let [first, rest @ ..] = &[within, &own].concat()[..] else { unreachable!("there is the program itself") };
        let mut child = Command::new(first)
            .args(rest)
            .args(["serve", "--listen", &http.to_string(), "--dns-listen", &dns.to_string()])
            .args(&args)
            // Not in the home directory of the user of the tests, nor from one test to another.
            .env("SKYHOUND_SNAPSHOT_FILE", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built with the tests");
        let stdout = child.stdout.take().expect("it was piped");
        let mut daemon = Self {
            child,
            args,
            within: within.to_vec(),
            log,
            http,
            dns,
            seaport: None,
            ready: serde_json::Value::Null,
        };
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_DEADLINE, lines.next_line())
            .await
            .expect("it says that it listens in time")
            .expect("its output can be read")
            .expect("it does not end before it listens");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the first line is JSON");
        daemon.ready = ready;
        (daemon.http, daemon.dns) = (daemon.addr("http"), daemon.addr("dns"));
        daemon.seaport = daemon.ready["seaport"][0].as_str().map(|addr| addr.parse().expect("an address"));
        daemon
    }

    /// The first address in the log under this key.
    pub fn addr(&self, kind: &str) -> SocketAddr {
        self.ready[kind][0].as_str().expect("an address").parse().expect("an address")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The URL of `/provide`.
    pub fn provide_url(&self, query: &str) -> String {
        format!("ws://{}/provide?{query}", self.http)
    }

    /// A client of its DNS.
    pub fn dig(&self) -> Dig {
        Dig::new(self.dns)
    }

    /// Registers; panics when that is refused.
    pub async fn provide(&self, query: &str) -> Provider {
        let provider = self.try_provide(query).await;
        provider.unwrap_or_else(|refusal| panic!("{query} is refused: {refusal:?}"))
    }

    /// Registers, or returns the refusal.
    pub async fn try_provide(&self, query: &str) -> Result<Provider, Refusal> {
        Provider::open(self.http, query).await
    }

    /// Asks its HTTP side.
    pub async fn get(&self, path: &str) -> Response {
        http::get(self.http, path).await.expect("an answer over HTTP")
    }

    /// Posts JSON to its HTTP side.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Response {
        self.post_bytes(path, body.to_string().as_bytes()).await
    }

    /// Posts a body that need not be JSON.
    pub async fn post_bytes(&self, path: &str, body: &[u8]) -> Response {
        self.request("POST", path, http::JSON, body).await
    }

    /// Asks its HTTP side with a body of this type.
    pub async fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Response {
        http::request(method, self.http, path, kind, body).await.expect("an answer over HTTP")
    }

    /// The body of `/readyz`, whatever its status.
    pub async fn readyz(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/readyz").await.body).expect("/readyz is JSON")
    }

    /// The store's revision: it grows with whatever is written.
    pub async fn revision(&self) -> u64 {
        let ready = self.readyz().await;
        ready["store"]["revision"].as_u64().unwrap_or_else(|| panic!("no revision in {ready}"))
    }

    /// The sum of the values of one metric, all its labels together. Panics when there is none.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.body;
        http::metric(&text, name).unwrap_or_else(|| panic!("there is no metric {name}:\n{text}"))
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Returns whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Waits until it has ended by itself or by a signal sent before.
    pub async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(STOP_DEADLINE, self.child.wait())
            .await
            .expect("it ends in time")
            .expect("it can be waited for")
    }

    /// Ends it as a power failure would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Stops it in order; waits until it has ended and returns its exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Starts it again with the same arguments on the same ports. It has to have ended.
    pub async fn restart(&mut self) {
        let log = std::mem::replace(&mut self.log, TempDir::new().expect("a directory"));
        *self = Self::spawn(&self.within.clone(), self.http, self.dns, self.args.clone(), log).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(40);
            let last: Vec<_> = log.lines().skip(from).collect();
            eprintln!("--- the daemon on {} logged last:\n{}\n---", self.http, last.join("\n"));
        }
    }
}
