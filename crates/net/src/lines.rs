//! Protocols of lines over TCP: one text a line, in both directions.
//!
//! Owns: how long a line may be, what waits for a peer that does not read, and when such a peer is cut off. Does not
//! own: what a line means, nor when a silent peer is dead.
//!
//! A connection is one task without a second one for its writes: [`Lines::hear`] writes what waits while it reads. What
//! waits has an end: who has more to say asks [`Lines::has_room`] first.

use super::drain::Peer;
use super::http::linger;
use super::limits::Limits;
use super::listen::{BindError, Doors};
use crate::metrics::Metrics;
use bytes::{Buf, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// Connections at a time: beside those of the HTTP side, and of the same descriptors.
pub const CONNECTIONS: usize = 4096;
/// Bytes of a line. What is to be stored has to fit into 64 KiB, with all that is written around it.
pub const LINE_MAX: usize = 32 * 1024;
/// Bytes that wait for a peer before those who have more for it wait as well.
pub const ROOM: usize = 64 * 1024;
/// Bytes that wait for a peer whatever they are; with more the connection ends. Nothing comes near it that asks for
/// room first.
pub const WAITING_MAX: usize = 4 * ROOM;
/// How long a peer may take nothing of what waits for it.
pub const STALL_MAX: Duration = Duration::from_secs(45);
/// How long a connection without traffic is believed in before the kernel asks, and how long between its questions: a
/// machine that is gone says nothing.
pub const KEEPALIVE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(5)];
/// How often the kernel asks.
pub const KEEPALIVE_QUESTIONS: u32 = 3;
/// How long a connection that ends may take to write its last words.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes read at a time.
const READ: usize = 4096;

/// A listener of a protocol of lines. It accepts as soon as it is bound, and no more once it is dropped or shut down.
#[derive(Debug)]
pub struct LineServer {
    addrs: Vec<SocketAddr>,
    doors: Doors,
}

impl LineServer {
    /// Listens on all addresses or on none, as [`super::HttpServer::bind`] does. `begin` gets each connection; one over
    /// the limit gets `full`, a line, and is closed.
    pub fn bind(
        addrs: &[SocketAddr],
        protocol: &'static str,
        metrics: &Arc<Metrics>,
        full: &'static str,
        begin: impl Fn(Lines, Peer) + Clone + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let most = Limits { connections: CONNECTIONS, ..Limits::default() }.fitted().connections;
        let measure = format!("skyhound_{protocol}_connections");
        let mut doors = Doors::new(most, metrics, measure, "TCP connections, and their limit");
        let addrs = doors.open(addrs, move |stream, peer| match peer {
            Some(peer) => begin(Lines::new(stream), peer),
            // Into the socket's empty buffer, or not at all.
            None => drop(stream.try_write(full.as_bytes())),
        })?;
        Ok(Self { addrs, doors })
    }

    /// Where it listens, in the order asked for, ports filled in.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Serves for ever. Returns only if an acceptor failed, which is a bug.
    pub async fn run_until_done(&mut self) {
        self.doors.run_until_done().await;
    }

    /// Stops accepting, tells every connection, and waits for them to end, at most for `deadline`. Returns how many
    /// did not.
    pub async fn shutdown(self, deadline: Duration) -> usize {
        self.doors.shutdown(deadline).await
    }
}

/// What a peer did.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It sent a line, here without its end.
    Line(Vec<u8>),
    /// It closed in order.
    Closed,
    /// The connection is gone.
    Gone,
    /// It sent more than [`LINE_MAX`] bytes without an end of line.
    TooLong,
    /// It does not read what it is sent.
    Stalled,
    /// It has read so much that there is room again, after [`Lines::has_room`] said that there is none.
    Room,
}

/// A connection.
#[derive(Debug)]
pub struct Lines {
    stream: TcpStream,
    read: BytesMut,
    /// How far `read` was searched for an end of line.
    searched: usize,
    waiting: BytesMut,
    /// Since when nothing of what waits was taken.
    stalled_since: Instant,
    /// Somebody waits for room.
    short: bool,
    most: usize,
}

impl Lines {
    /// Lines over a connection, whichever side opened it.
    pub fn new(stream: TcpStream) -> Self {
        // Lines are small and whole. Both fail only if the peer is gone, which shows when it is read.
        let _ = stream.set_nodelay(true);
        let [first, next] = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(first).with_interval(next).with_retries(KEEPALIVE_QUESTIONS);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let (read, waiting) = (BytesMut::new(), BytesMut::new());
        Self { stream, read, searched: 0, waiting, stalled_since: Instant::now(), short: false, most: LINE_MAX }
    }

    /// Takes longer lines: a protocol may wrap lines into lines.
    pub fn allow(&mut self, bytes: usize) {
        self.most = bytes;
    }

    /// What the peer does next; meanwhile what waits is written. Safe to cancel. After anything but a line or room
    /// only [`Lines::close`] makes sense.
    pub async fn hear(&mut self) -> Heard {
        loop {
            if let Some(line) = self.take() {
                return line;
            }
            if self.short && self.waiting.len() < ROOM / 2 {
                self.short = false;
                return Heard::Room;
            }
            let interest =
                if self.waiting.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let stalled = self.stalled_since + STALL_MAX;
            let ready = tokio::select! {
                ready = self.stream.ready(interest) => ready,
                () = sleep_until(stalled), if !self.waiting.is_empty() => return Heard::Stalled,
            };
            let Ok(ready) = ready else { return Heard::Gone };
            if ready.is_writable() && self.write().is_err() {
                return Heard::Gone;
            }
            if ready.is_readable() {
                self.read.reserve(READ);
                match self.stream.try_read_buf(&mut self.read) {
                    // A last line without an end is none: it may be half of one.
                    Ok(0) => return Heard::Closed,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return Heard::Gone,
                }
            }
        }
    }

    /// The next line of what was read, if there is a whole one.
    fn take(&mut self) -> Option<Heard> {
        let at = self.read[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(at) = at.map(|at| at + self.searched) else {
            self.searched = self.read.len();
            return (self.searched > self.most).then_some(Heard::TooLong);
        };
        self.searched = 0;
        if at > self.most {
            return Some(Heard::TooLong);
        }
        let mut line = self.read.split_to(at + 1).to_vec();
        if self.read.is_empty() {
            // Most connections are quiet, and there may be thousands.
            self.read = BytesMut::new();
        }
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(Heard::Line(line))
    }

    /// Whether there is room for what can wait.
    pub fn has_room(&mut self) -> bool {
        self.short = self.waiting.len() >= ROOM;
        !self.short
    }

    /// Sends a line. `false` when the peer has left too much unread already.
    pub fn say(&mut self, line: &str) -> bool {
        if self.waiting.len() + line.len() >= WAITING_MAX {
            return false;
        }
        if self.waiting.is_empty() {
            self.stalled_since = Instant::now();
        }
        self.waiting.extend_from_slice(line.as_bytes());
        self.waiting.extend_from_slice(b"\n");
        // What cannot be written now is written while listening; an error shows there as well.
        let _ = self.write();
        true
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.stream.try_write(&self.waiting) {
                Ok(written) => {
                    self.waiting.advance(written);
                    self.stalled_since = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.waiting = BytesMut::new();
        Ok(())
    }

    /// Writes what waits, as far as it is taken within a moment, and closes.
    pub async fn close(mut self) {
        let rest =
            async { while !self.waiting.is_empty() && self.stream.writable().await.is_ok() && self.write().is_ok() {} };
        let _ = timeout(LAST_WORDS, rest).await;
        linger(self.stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (Lines, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Lines::new(listener.accept().await.unwrap().0), theirs)
    }

    fn line(text: &str) -> Heard {
        Heard::Line(text.into())
    }

    #[tokio::test]
    async fn lines_are_told_apart_however_they_arrive() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(b"one\ntwo\r\n\nhal").await.unwrap();
        for wanted in ["one", "two", ""] {
            assert_eq!(ours.hear().await, line(wanted));
        }
        theirs.write_all(b"f\nthe rest has no end").await.unwrap();
        assert_eq!(ours.hear().await, line("half"));
        theirs.shutdown().await.unwrap();
        assert_eq!(ours.hear().await, Heard::Closed);
    }

    #[tokio::test]
    async fn a_line_has_an_end() {
        for end in ["\n", ""] {
            let (mut ours, mut theirs) = pair().await;
            theirs.write_all(format!("{}\n", "x".repeat(LINE_MAX)).as_bytes()).await.unwrap();
            assert_eq!(ours.hear().await, line(&"x".repeat(LINE_MAX)));
            theirs.write_all(format!("{}{end}", "x".repeat(LINE_MAX + 1)).as_bytes()).await.unwrap();
            assert_eq!(ours.hear().await, Heard::TooLong);
        }
    }

    #[tokio::test]
    async fn what_waits_is_written_while_listening_and_at_the_end() {
        let (mut ours, mut theirs) = pair().await;
        let mut said = 0;
        while ours.has_room() {
            assert!(ours.say(&"y".repeat(999)));
            said += 1000;
        }
        let closing = tokio::spawn(async move {
            assert_eq!(ours.hear().await, Heard::Room);
            assert_eq!(ours.hear().await, line("go"));
            assert!(ours.say("bye"));
            ours.close().await;
        });
        let mut read = vec![0; said];
        theirs.read_exact(&mut read).await.unwrap();
        theirs.write_all(b"go\n").await.unwrap();
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "bye\n");
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_cut_off() {
        let (mut ours, theirs) = pair().await;
        // The kernel's buffers first, then ours up to its end.
        while ours.say(&"z".repeat(9999)) {}
        assert!(!ours.has_room());
        tokio::time::pause();
        assert_eq!(ours.hear().await, Heard::Stalled);
        drop(theirs);
    }
}
