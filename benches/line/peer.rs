//! A client that holds a websocket, with as little of its own as possible: 10,000 of them run beside the
//! daemon that is measured.

use crate::Failure;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The daemon waits at most 10 s for a handshake's turn and 5 s for its store.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(20);
/// The head of a 101 is under 200 bytes.
const HEAD_MAX: usize = 4096;
/// Instances of one service, where a measurement has no wish of its own.
const INSTANCES: usize = 10;

const OP_CLOSE: u8 = 0x8;
const OP_PING: u8 = 0x9;
const OP_PONG: u8 = 0xa;

/// A registration that is held.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    /// The bytes after the 101.
    early: Vec<u8>,
}

impl Peer {
    /// Connects, registers, and returns with the 101.
    pub(crate) async fn provide(daemon: SocketAddr, service: &str, port: u16) -> Result<Self, Failure> {
        let handshake = async {
            let mut stream = Self::connect(daemon).await?;
            let request = Self::request(service, port);
            stream.write_all(request.as_bytes()).await?;
            Self::accepted(stream).await
        };
        timeout(HANDSHAKE_DEADLINE, handshake).await.map_err(|_| "no answer to the handshake in time")?
    }

    /// Connects and listens to what becomes of a service.
    pub(crate) async fn monitor(daemon: SocketAddr, service: &str) -> Result<Self, Failure> {
        let handshake = async {
            let mut stream = Self::connect(daemon).await?;
            let request = Self::request_for(&format!("/etcd/monitor?monitor={service}"));
            stream.write_all(request.as_bytes()).await?;
            Self::accepted(stream).await
        };
        timeout(HANDSHAKE_DEADLINE, handshake).await.map_err(|_| "no answer to the handshake in time")?
    }

    /// Both directions, for a caller that reads the messages. Nothing may have arrived yet.
    pub(crate) fn into_halves(self) -> Result<(OwnedReadHalf, OwnedWriteHalf), Failure> {
        if self.early.is_empty() { Ok(self.stream.into_split()) } else { Err("something came with the 101".into()) }
    }

    /// Answers a ping.
    pub(crate) async fn pong(write: &mut OwnedWriteHalf, payload: &[u8]) -> Result<(), Failure> {
        Ok(write.write_all(&masked(OP_PONG, payload)).await?)
    }

    /// Number `at` of many: its service and its port follow from the number.
    pub(crate) async fn provide_nth(daemon: SocketAddr, at: usize) -> Result<Self, Failure> {
        let port = u16::try_from(1024 + at % 60_000)?;
        Self::provide(daemon, &format!("bench-{}", at / INSTANCES), port).await
    }

    /// A connection, and nothing said yet.
    pub(crate) async fn connect(daemon: SocketAddr) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(daemon).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The handshake.
    pub(crate) fn request(service: &str, port: u16) -> String {
        Self::request_for(&format!("/provide?service={service}&port={port}"))
    }

    fn request_for(target: &str) -> String {
        // The key is RFC 6455's example: the daemon does not remember it.
        format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// Reads the answer to the handshake.
    pub(crate) async fn accepted(mut stream: TcpStream) -> Result<Self, Failure> {
        let mut head = Vec::with_capacity(256);
        loop {
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                if !head.starts_with(b"HTTP/1.1 101 ") {
                    return Err(format!("the daemon answered {}", String::from_utf8_lossy(&head)).into());
                }
                return Ok(Self { stream, early: head.split_off(end + 4) });
            }
            if head.len() > HEAD_MAX || stream.read_buf(&mut head).await? == 0 {
                return Err(format!("no whole answer to the handshake: {}", String::from_utf8_lossy(&head)).into());
            }
        }
    }

    /// Answers pings and counts them, until the daemon closes.
    pub(crate) async fn hold(self, pings: &AtomicUsize) -> Result<(), Failure> {
        let Self { mut stream, early } = self;
        let (from_daemon, mut to_daemon) = stream.split();
        let mut from_daemon = AsyncReadExt::chain(early.as_slice(), from_daemon);
        loop {
            let mut head = [0; 2];
            from_daemon.read_exact(&mut head).await?;
            // Whatever a daemon sends is short and not masked.
            let mut payload = [0; 125];
            let payload = payload.get_mut(..usize::from(head[1])).ok_or("a frame over 125 bytes, or masked")?;
            from_daemon.read_exact(payload).await?;
            match head[0] & 0xf {
                OP_PING => {
                    pings.fetch_add(1, Relaxed);
                    to_daemon.write_all(&masked(OP_PONG, payload)).await?;
                }
                OP_CLOSE => return Ok(()),
                _ => return Err(format!("the daemon said {}", String::from_utf8_lossy(payload)).into()),
            }
        }
    }

    /// Sends a close frame; the socket stays open until the value is dropped.
    pub(crate) async fn send_close(&mut self) -> Result<(), Failure> {
        Ok(self.stream.write_all(&masked(OP_CLOSE, &1000_u16.to_be_bytes())).await?)
    }

    /// Resets the connection, as the kernel does for a process that was killed with unread bytes.
    pub(crate) fn reset(self) -> Result<(), Failure> {
        Ok(self.stream.set_zero_linger()?)
    }
}

/// A whole frame. A mask of zeros is one (RFC 6455 section 5.3) and leaves the payload as it is.
fn masked(op: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(125) | 0x80;
    [&[0x80 | op, length, 0, 0, 0, 0], payload].concat()
}

/// Opens `count` registrations by `clients` at a time.
pub(crate) async fn open_many(daemon: SocketAddr, count: usize, clients: usize) -> Result<Vec<Peer>, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let mut peers = Vec::with_capacity(count / clients + 1);
            loop {
                let at = next.fetch_add(1, Relaxed);
                if at >= count {
                    return Ok::<_, Failure>(peers);
                }
                peers.push(Peer::provide_nth(daemon, at).await?);
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(peers) = tasks.join_next().await {
        all.append(&mut peers??);
    }
    Ok(all)
}

/// Many registrations, each answering its pings in a task of its own.
#[derive(Debug)]
pub(crate) struct Crowd {
    tasks: JoinSet<Result<(), Failure>>,
    pings: Arc<AtomicUsize>,
}

impl Crowd {
    /// Holds all of them. Dropping it resets them.
    pub(crate) fn hold(peers: Vec<Peer>) -> Self {
        let pings = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for peer in peers {
            let pings = Arc::clone(&pings);
            tasks.spawn(async move { peer.hold(&pings).await });
        }
        Self { tasks, pings }
    }

    /// The number of pings answered so far.
    pub(crate) fn pings(&self) -> usize {
        self.pings.load(Relaxed)
    }

    /// An error if any of them is not held any more.
    pub(crate) async fn all_held(&mut self) -> Result<(), Failure> {
        match timeout(Duration::ZERO, self.tasks.join_next()).await {
            Err(_) | Ok(None) => Ok(()),
            Ok(Some(end)) => Err(match end? {
                Ok(()) => "the daemon closed a socket that was to be held".into(),
                Err(error) => format!("a socket that was to be held ended: {error}").into(),
            }),
        }
    }

    /// Lets all of them go.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
