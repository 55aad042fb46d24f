//! A peer that says exactly what a test wants, row by row.

use crate::support::daemon::Daemon;
use crate::support::etcd::EtcdProcess;
use crate::support::site::Site;
use crate::support::wait::SOON;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// The arguments of a daemon with a hub.
pub const LISTEN: [&str; 2] = ["--seaport-listen", "OWN-ADDRESS:9090"];

/// A daemon with a hub, in memory.
pub async fn hub(args: &[&str]) -> Daemon {
    Daemon::start(&[&LISTEN, args].concat()).await
}

/// One on an etcd.
pub async fn hub_at(etcd: &EtcdProcess) -> Daemon {
    Site::at(etcd, &LISTEN).await
}

/// Where a daemon's hub is.
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

    /// Connects, and reads what the hub knows. Returns that as well.
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

    /// Says a row.
    pub async fn say(&mut self, row: Value) {
        self.write(&format!("{row}\n")).await;
    }

    /// Says that this is all that it knew, and then these services.
    pub async fn register(&mut self, id: &str, meta: Value) {
        self.say(json!(["register", id, meta])).await;
    }

    /// Writes bytes.
    pub async fn write(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.expect("the hub reads");
    }

    /// The next row but heartbeats; `None` when the hub closed.
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

    /// The next row is this one.
    #[track_caller]
    pub fn hears(&mut self, wanted: Value) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let heard = self.next().await;
            assert_eq!(heard, Some(wanted), "{caller}");
        }
    }

    /// Nothing was said to it before its own next word was heard: the hub handles rows in order.
    #[track_caller]
    pub fn hears_nothing(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.say(json!(["register", "fence", {}])).await;
            let heard = self.next().await.expect("the hub goes on");
            assert_eq!((&heard[0], &heard[1]), (&json!("error"), &json!("fence")), "{caller}");
        }
    }

    /// Reads up to the error about this id.
    pub async fn error(&mut self, id: &str) -> String {
        let heard = self.next().await.expect("the hub goes on");
        assert_eq!((&heard[0], &heard[1]), (&json!("error"), &json!(id)), "{heard}");
        heard[2].as_str().expect("a sentence").to_owned()
    }
}

/// What a service says of itself.
pub fn web(id: &str, port: u16) -> Value {
    json!({"role": "web", "version": "1.2.3", "host": "10.0.0.1", "port": port, "id": id})
}
