//! A real etcd for a test: started, stopped, killed, frozen.
//!
//! Each process has a loopback address of its own and etcd's usual ports on it. So nothing else takes a
//! port while an etcd is down, and a restarted one is found where it was.

use super::address::own_address;
use super::pki::{Authority, Pair};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use skyhound_store::Store;
use skyhound_store::etcd::{Etcd, EtcdSettings};
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The time limit for an etcd to start or stop.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The interval of the checks whether an etcd is ready or gone.
const GLANCE: Duration = Duration::from_millis(20);

/// The way in which an etcd is run.
#[derive(Default)]
pub struct EtcdOptions {
    args: Vec<String>,
    tls: bool,
}

impl EtcdOptions {
    /// One more flag, as on the command line: `--auth-token-ttl=2`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// TLS, with client certificates.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts it as a cluster of one member.
    pub async fn start(self) -> EtcdProcess {
        let mut etcd = EtcdProcess::prepare(self);
        etcd.cluster = format!("{}={}", etcd.name(), etcd.peer_url());
        etcd.restart().await;
        etcd
    }
}

/// An etcd. Killed and its data removed when it is dropped.
pub struct EtcdProcess {
    address: Ipv4Addr,
    args: Vec<String>,
    /// The members, as `--initial-cluster` has them.
    cluster: String,
    child: Option<Child>,
    tls: Option<Tls>,
    /// Its data, its log and its certificates.
    pub dir: TempDir,
}

/// The files of an etcd with TLS and of its client.
pub struct Tls {
    /// The authority that signed all of its certificates.
    pub authority: Authority,
    server: Pair,
    /// The certificate of a client.
    pub client: Pair,
}

impl EtcdProcess {
    /// A single member without anything special.
    pub async fn start() -> Self {
        EtcdOptions::default().start().await
    }

    /// The options of an etcd that needs some.
    pub fn options() -> EtcdOptions {
        EtcdOptions::default()
    }

    /// One that is not running yet; [`Self::restart`] starts it.
    pub fn absent() -> Self {
        let mut etcd = Self::prepare(EtcdOptions::default());
        etcd.cluster = format!("{}={}", etcd.name(), etcd.peer_url());
        etcd
    }

    fn prepare(options: EtcdOptions) -> Self {
        let address = own_address();
        let dir = tempfile::tempdir().unwrap();
        let tls = options.tls.then(|| {
            let authority = Authority::new(dir.path(), "ca");
            let server = authority.sign("server", IpAddr::V4(address));
            let client = authority.sign("client", IpAddr::V4(address));
            Tls { authority, server, client }
        });
        Self { address, args: options.args, cluster: String::new(), child: None, tls, dir }
    }

    fn name(&self) -> String {
        format!("at-{}", self.address)
    }

    fn peer_url(&self) -> String {
        format!("http://{}:2380", self.address)
    }

    /// The URL for clients.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:2379", self.address)
    }

    /// The certificates; panics without TLS.
    pub fn tls(&self) -> &Tls {
        self.tls.as_ref().expect("an etcd with TLS")
    }

    /// Settings for a client of it, with times that let a test be short.
    pub fn settings(&self) -> EtcdSettings {
        let tls = self.tls.as_ref();
        EtcdSettings {
            endpoints: vec![self.endpoint()],
            ca_cert: tls.map(|tls| tls.authority.cert.clone()),
            cert: tls.map(|tls| tls.client.cert.clone()),
            key: tls.map(|tls| tls.client.key.clone()),
            request_timeout: Duration::from_secs(2),
            probe_interval: Duration::from_millis(500),
            ..EtcdSettings::default()
        }
    }

    /// A store on it.
    pub async fn store(&self) -> Etcd {
        Etcd::connect(self.settings()).await.unwrap()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("etcd.log")
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "runs already");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let (url, peer_url) = (self.endpoint(), self.peer_url());
        let mut command = Command::new("etcd");
        command
            .arg(format!("--name={}", self.name()))
            .arg(format!("--data-dir={}", self.dir.path().join("data").display()))
            .arg(format!("--listen-client-urls={url}"))
            .arg(format!("--advertise-client-urls={url}"))
            .arg(format!("--listen-peer-urls={peer_url}"))
            .arg(format!("--initial-advertise-peer-urls={peer_url}"))
            .arg(format!("--initial-cluster={}", self.cluster))
            // Health in plain HTTP, also when clients need TLS.
            .arg(format!("--listen-metrics-urls=http://{}:2381", self.address))
            // Survives our kills: what was written to a file outlives its process.
            .arg("--unsafe-no-fsync")
            .args(["--logger=zap", "--log-level=warn"])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(tls) = &self.tls {
            command
                .args(["--client-cert-auth".into(), format!("--trusted-ca-file={}", tls.authority.cert.display())])
                .arg(format!("--cert-file={}", tls.server.cert.display()))
                .arg(format!("--key-file={}", tls.server.key.display()));
        }
        self.child = Some(match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("etcd-server is not installed: tests/run installs it")
            }
            Err(error) => panic!("etcd does not start: {error}"),
        });
    }

    /// Waits until it answers, and its cluster has a leader.
    async fn ready(&mut self) {
        let polling = async {
            while !self.is_healthy().await {
                if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                    panic!("etcd ended with {status}:\n{}", self.last_words());
                }
                sleep(GLANCE).await;
            }
        };
        let in_time = timeout(TIMEOUT, polling).await.is_ok();
        assert!(in_time, "etcd is not ready after {TIMEOUT:?}:\n{}", self.last_words());
    }

    /// Returns whether it answers and its cluster has a leader. Asked without a client, and so without a user.
    pub async fn is_healthy(&self) -> bool {
        let ask = async {
            let mut socket = TcpStream::connect((self.address, 2381)).await?;
            socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer.contains(r#""health":"true""#))
        };
        ask.await.unwrap_or(false)
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let from = log.lines().count().saturating_sub(20);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("a running etcd");
        Pid::from_raw(child.id().try_into().unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends it as an operator would, and waits until it is gone.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.gone().await;
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.gone().await;
    }

    async fn gone(&mut self) {
        let mut child = self.child.take().unwrap();
        let waiting = async {
            while child.try_wait().unwrap().is_none() {
                sleep(GLANCE).await;
            }
        };
        timeout(TIMEOUT, waiting).await.expect("etcd does not end");
    }

    /// Starts it where it was, with the data that it had.
    pub async fn restart(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Writes what it has to a file.
    pub fn save(&self, name: &str) {
        self.ctl(&["snapshot", "save", self.dir.path().join(name).to_str().expect("a path in UTF-8")]);
    }

    /// Puts what was saved in the place of its data. It has to have ended.
    pub fn restore(&self, name: &str) {
        let data = self.dir.path().join("data");
        std::fs::remove_dir_all(&data).expect("it has data");
        self.ctl(&[
            "snapshot",
            "restore",
            self.dir.path().join(name).to_str().expect("a path in UTF-8"),
            &format!("--name={}", self.name()),
            &format!("--data-dir={}", data.display()),
            &format!("--initial-cluster={}", self.cluster),
            &format!("--initial-advertise-peer-urls={}", self.peer_url()),
        ]);
    }

    /// Freezes it: its sockets stay open and say nothing. Returns when it stands still.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let (_, status) = waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap().expect("a child");
        assert!(status.stopped(), "{status:?}");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs etcdctl on it, as `user` (`name:password`) where authentication is on.
    pub fn ctl_as(&self, user: Option<&str>, args: &[&str]) -> String {
        let output = self.run_ctl(user, args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "etcdctl {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs etcdctl on it, which may fail.
    pub fn try_ctl(&self, args: &[&str]) -> Output {
        self.run_ctl(None, args)
    }

    fn run_ctl(&self, user: Option<&str>, args: &[&str]) -> Output {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.endpoint())).args(args);
        if let Some(user) = user {
            command.arg(format!("--user={user}"));
        }
        if let Some(tls) = &self.tls {
            command
                .arg(format!("--cacert={}", tls.authority.cert.display()))
                .arg(format!("--cert={}", tls.client.cert.display()))
                .arg(format!("--key={}", tls.client.key.display()));
        }
        command.output().expect("etcd-client is not installed: tests/run installs it")
    }

    /// Runs etcdctl on it.
    pub fn ctl(&self, args: &[&str]) -> String {
        self.ctl_as(None, args)
    }

    /// Switches authentication on: `root:root` may do all, `sky:hound` may read and write below `/`.
    pub fn enable_auth(&self) {
        for line in [
            "user add root:root",
            "user grant-role root root",
            "role add sky",
            "role grant-permission sky --prefix readwrite /",
            "user add sky:hound",
            "user grant-role sky sky",
            "auth enable",
        ] {
            self.ctl(&line.split(' ').collect::<Vec<_>>());
        }
    }
}

impl Drop for EtcdProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGKILL ends a frozen process too. Errors mean that it is gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Three members.
pub struct EtcdCluster {
    /// The members, all running at first.
    pub members: Vec<EtcdProcess>,
}

impl EtcdCluster {
    /// Starts the members and waits until all of them answer.
    pub async fn start() -> Self {
        let mut members: Vec<_> = (0..3).map(|_| EtcdProcess::absent()).collect();
        let cluster = members.iter().map(|member| member.cluster.clone()).collect::<Vec<_>>().join(",");
        for member in &mut members {
            member.cluster.clone_from(&cluster);
            member.spawn();
        }
        for member in &mut members {
            member.ready().await;
        }
        Self { members }
    }

    /// Settings for a client of all members.
    pub fn settings(&self) -> EtcdSettings {
        let endpoints = self.members.iter().map(EtcdProcess::endpoint).collect();
        EtcdSettings { endpoints, ..self.members[0].settings() }
    }

    /// The member that leads.
    pub async fn leader(&self) -> usize {
        for (at, member) in self.members.iter().enumerate() {
            let status = member.store().await.status().await.unwrap().member.unwrap();
            if status.leader_id == status.member_id {
                return at;
            }
        }
        panic!("no member leads");
    }
}
