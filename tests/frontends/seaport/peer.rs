//! A peer that sends exactly the rows of a test.

use serde_json::{Value, json};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// The arguments of a daemon with a hub, whose peers receive nothing but the registrations of a test.
pub const LISTEN: [&str; 4] = ["--seaport-listen", "OWN-ADDRESS:9090", "--seaport-advertise", "off"];
/// The same with a hub that advertises its address.
pub const ADVERTISED: [&str; 2] = ["--seaport-listen", "OWN-ADDRESS:9090"];

/// A daemon with a hub, in memory.
pub async fn hub(args: &[&str]) -> Daemon {
    Daemon::start(&[&LISTEN, args].concat()).await
}

/// One on an etcd.
pub async fn hub_at(etcd: &EtcdProcess) -> Daemon {
    hub_on(etcd, &[]).await
}

async fn hub_on(etcd: &EtcdProcess, args: &[&str]) -> Daemon {
    Site::at(etcd, &[&LISTEN, args].concat()).await
}

/// One hub: a daemon in memory, or two on one etcd.
pub struct Hubs {
    daemons: Vec<Daemon>,
    _etcd: Option<EtcdProcess>,
}

impl Hubs {
    /// Both.
    pub async fn both() -> [Self; 2] {
        Self::both_with(&[]).await
    }

    /// Both, with these arguments.
    pub async fn both_with(args: &[&str]) -> [Self; 2] {
        let etcd = EtcdProcess::start().await;
        let two = vec![hub_on(&etcd, args).await, hub_on(&etcd, args).await];
        [Self { daemons: vec![hub(args).await], _etcd: None }, Self { daemons: two, _etcd: Some(etcd) }]
    }

    /// A daemon of it.
    pub fn here(&self) -> &Daemon {
        &self.daemons[0]
    }

    /// Another one, where there is one.
    pub fn there(&self) -> &Daemon {
        &self.daemons[self.daemons.len() - 1]
    }

    /// Three peers, the second of them at the other daemon.
    pub async fn peers(&self) -> [Peer; 3] {
        [Peer::synced(self.here()).await.0, Peer::synced(self.there()).await.0, Peer::synced(self.here()).await.0]
    }
}

/// The ports that DNS answers for a service.
pub async fn srv(daemon: &Daemon, service: &str) -> Vec<u16> {
    let name = format!("{service}.services.skydns.local");
    daemon.dig().query(&name, "SRV").await.expect("an answer").ports()
}

/// Waits until DNS answers these ports.
#[track_caller]
pub fn comes_to(daemon: &Daemon, service: &str, wanted: &[u16]) -> impl Future<Output = ()> {
    wait_until(SOON, async move || match srv(daemon, service).await {
        ports if ports == wanted => Ok(()),
        ports => Err(format!("{service}: {ports:?}")),
    })
}

/// The address of a daemon's hub.
pub fn at(daemon: &Daemon) -> SocketAddr {
    daemon.seaport.expect("it has a hub")
}

/// A connection.
pub struct Peer {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Peer {
    /// Connects, and reads nothing yet.
    pub async fn connect(addr: SocketAddr) -> Self {
        let (reader, writer) = TcpStream::connect(addr).await.expect("the hub listens").into_split();
        Self { lines: BufReader::new(reader).lines(), writer }
    }

    /// Connects, and reads up to `synced`. Returns the rows of known services as well.
    pub async fn synced(daemon: &Daemon) -> (Self, Vec<Value>) {
        let mut peer = Self::connect(at(daemon)).await;
        assert_eq!(peer.next().await.expect("helo")[0], "helo");
        let mut known = Vec::new();
        loop {
            match peer.next().await.expect("the hub goes on") {
                row if row == json!(["synced"]) => return (peer, known),
                row => known.push(row),
            }
        }
    }

    /// Sends a row.
    pub async fn send(&mut self, row: Value) {
        self.write(&format!("{row}\n")).await;
    }

    /// Sends a row that registers a service.
    pub async fn register(&mut self, id: &str, meta: Value) {
        self.send(json!(["register", id, meta])).await;
    }

    /// Writes bytes.
    pub async fn write(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.expect("the hub reads");
    }

    /// Returns the next row that is not a heartbeat; `None` when the hub closed.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let line = timeout(SOON, self.lines.next_line()).await.expect("a row in time");
            // Reset: the hub closed without having read everything.
            let row: Value = serde_json::from_str(&line.ok().flatten()?).expect("a row is JSON");
            if row != json!(["heartbeat"]) {
                return Some(row);
            }
        }
    }

    /// Asserts that the next row is this one.
    #[track_caller]
    pub fn receives(&mut self, wanted: Value) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let row = self.next().await;
            assert_eq!(row, Some(wanted), "{caller}");
        }
    }

    /// Asserts that no row was sent to it before the response to its own next row: the hub handles rows in order.
    #[track_caller]
    pub fn receives_nothing(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.send(json!(["register", "fence", {}])).await;
            let row = self.next().await.expect("the hub goes on");
            assert_eq!((&row[0], &row[1]), (&json!("error"), &json!("fence")), "{caller}");
        }
    }

    /// Reads up to the error about this id.
    pub async fn error(&mut self, id: &str) -> String {
        let row = self.next().await.expect("the hub goes on");
        assert_eq!((&row[0], &row[1]), (&json!("error"), &json!(id)), "{row}");
        row[2].as_str().expect("a sentence").to_owned()
    }
}

/// The meta of a service `web`.
pub fn web(id: &str, port: u16) -> Value {
    json!({"role": "web", "version": "1.2.3", "host": "10.0.0.1", "port": port, "id": id})
}
