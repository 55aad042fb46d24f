//! Protocols of lines over TCP: one text a line, in both directions.
//!
//! Owns: how long a line may be, what waits for a peer that does not read, and when such a peer is cut off. Does not
//! own: what a line means, nor when a silent peer is dead.
//!
//! A connection is one task without a second one for its writes: [`LineConnection::next_event`] writes what waits while it reads. What
//! waits has an end: who has more to say asks [`LineConnection::has_capacity`] first.

use super::drain::Peer;
use super::http::linger;
use super::limits::Limits;
use super::listen::{BindError, Listener};
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
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that wait for a peer whatever they are; with more the connection ends. Nothing comes near it that asks for
/// room first.
pub const SEND_BUFFER_MAX: usize = 4 * SEND_BUFFER_BYTES;
/// How long a peer may take nothing of what waits for it.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a connection without traffic is believed in before the kernel asks, and how long between its questions: a
/// machine that is gone says nothing.
pub const KEEPALIVE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(5)];
/// How often the kernel asks.
pub const KEEPALIVE_PROBES: u32 = 3;
/// How long a connection that ends may take to write its last words.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// A listener of a protocol of lines. It accepts as soon as it is bound, and no more once it is dropped or shut down.
#[derive(Debug)]
pub struct LineServer {
    addrs: Vec<SocketAddr>,
    listener: Listener,
}

impl LineServer {
    /// Listens on all addresses or on none, as [`super::HttpServer::bind`] does. `on_connection` gets each connection; one over
    /// the limit gets the line `rejection`, and is closed.
    pub fn bind(
        addrs: &[SocketAddr],
        protocol: &'static str,
        metrics: &Arc<Metrics>,
        rejection: &'static str,
        on_connection: impl Fn(LineConnection, Peer) + Clone + Send + Sync + 'static,
    ) -> Result<Self, BindError> {
        let max = Limits { connections: CONNECTIONS, ..Limits::default() }.fitted_to_descriptors().connections;
        let metric = format!("skyhound_{protocol}_connections");
        let mut listener = Listener::new(max, metrics, metric, "Open TCP connections");
        let addrs = listener.listen(addrs, move |stream, peer| match peer {
            Some(peer) => on_connection(LineConnection::new(stream), peer),
            // Into the socket's empty buffer, or not at all.
            None => drop(stream.try_write(rejection.as_bytes())),
        })?;
        Ok(Self { addrs, listener })
    }

    /// Where it listens, in the order asked for, ports filled in.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Serves for ever. Returns only if an acceptor failed, which is a bug.
    pub async fn run_until_done(&mut self) {
        self.listener.run_until_done().await;
    }

    /// Stops accepting, tells every connection, and waits for them to end, at most for `deadline`. Returns how many
    /// did not.
    pub async fn shutdown(self, deadline: Duration) -> usize {
        self.listener.shutdown(deadline).await
    }
}

/// What a peer did.
#[derive(Debug, PartialEq, Eq)]
pub enum LineEvent {
    /// It sent a line, here without its end.
    Line(Vec<u8>),
    /// It closed in order.
    Closed,
    /// The connection is gone.
    Disconnected,
    /// It sent more than [`LINE_MAX`] bytes without an end of line.
    TooLong,
    /// It does not read what it is sent.
    SendTimeout,
    /// It has read so much that there is room again, after [`LineConnection::has_capacity`] said that there is none.
    Writable,
}

/// A connection.
#[derive(Debug)]
pub struct LineConnection {
    stream: TcpStream,
    read: BytesMut,
    /// How far `read` was searched for an end of line.
    searched: usize,
    send_buffer: BytesMut,
    /// Since when nothing of what waits was taken.
    last_progress: Instant,
    /// Somebody waits for room.
    wants_capacity: bool,
    max_line: usize,
}

impl LineConnection {
    /// Lines over a connection, whichever side opened it.
    pub fn new(stream: TcpStream) -> Self {
        // Lines are small and whole. Both fail only if the peer is gone, which shows when it is read.
        let _ = stream.set_nodelay(true);
        let [first, next] = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(first).with_interval(next).with_retries(KEEPALIVE_PROBES);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let (read, send_buffer) = (BytesMut::new(), BytesMut::new());
        Self {
            stream,
            read,
            searched: 0,
            send_buffer,
            last_progress: Instant::now(),
            wants_capacity: false,
            max_line: LINE_MAX,
        }
    }

    /// Takes longer lines: a protocol may wrap lines into lines.
    pub fn set_max_line(&mut self, bytes: usize) {
        self.max_line = bytes;
    }

    /// What the peer does next; meanwhile what waits is written. Safe to cancel. After anything but a line or room
    /// only [`LineConnection::close`] makes sense.
    pub async fn next_event(&mut self) -> LineEvent {
        loop {
            if let Some(line) = self.take_line() {
                return line;
            }
            if self.wants_capacity && self.send_buffer.len() < SEND_BUFFER_BYTES / 2 {
                self.wants_capacity = false;
                return LineEvent::Writable;
            }
            let interest =
                if self.send_buffer.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            let deadline = self.last_progress + SEND_TIMEOUT;
            let ready = tokio::select! {
                ready = self.stream.ready(interest) => ready,
                () = sleep_until(deadline), if !self.send_buffer.is_empty() => return LineEvent::SendTimeout,
            };
            let Ok(ready) = ready else { return LineEvent::Disconnected };
            if ready.is_writable() && self.flush().is_err() {
                return LineEvent::Disconnected;
            }
            if ready.is_readable() {
                self.read.reserve(READ_BYTES);
                match self.stream.try_read_buf(&mut self.read) {
                    // A last line without an end is none: it may be half of one.
                    Ok(0) => return LineEvent::Closed,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return LineEvent::Disconnected,
                }
            }
        }
    }

    /// The next line of what was read, if there is a whole one.
    fn take_line(&mut self) -> Option<LineEvent> {
        let at = self.read[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(at) = at.map(|at| at + self.searched) else {
            self.searched = self.read.len();
            return (self.searched > self.max_line).then_some(LineEvent::TooLong);
        };
        self.searched = 0;
        if at > self.max_line {
            return Some(LineEvent::TooLong);
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
        Some(LineEvent::Line(line))
    }

    /// Whether there is room for what can wait.
    pub fn has_capacity(&mut self) -> bool {
        self.wants_capacity = self.send_buffer.len() >= SEND_BUFFER_BYTES;
        !self.wants_capacity
    }

    /// Sends a line. `false` when the peer has left too much unread already.
    pub fn send(&mut self, line: &str) -> bool {
        if self.send_buffer.len() + line.len() >= SEND_BUFFER_MAX {
            return false;
        }
        if self.send_buffer.is_empty() {
            self.last_progress = Instant::now();
        }
        self.send_buffer.extend_from_slice(line.as_bytes());
        self.send_buffer.extend_from_slice(b"\n");
        // What cannot be written now is written while listening; an error shows there as well.
        let _ = self.flush();
        true
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.send_buffer.is_empty() {
            match self.stream.try_write(&self.send_buffer) {
                Ok(written) => {
                    self.send_buffer.advance(written);
                    self.last_progress = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.send_buffer = BytesMut::new();
        Ok(())
    }

    /// Writes what waits, as far as it is taken within a moment, and closes.
    pub async fn close(mut self) {
        let flushing = async {
            while !self.send_buffer.is_empty() && self.stream.writable().await.is_ok() && self.flush().is_ok() {}
        };
        let _ = timeout(CLOSE_TIMEOUT, flushing).await;
        linger(self.stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (LineConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (LineConnection::new(listener.accept().await.unwrap().0), client)
    }

    fn line(text: &str) -> LineEvent {
        LineEvent::Line(text.into())
    }

    #[tokio::test]
    async fn lines_are_split_however_they_arrive() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"one\ntwo\r\n\nhal").await.unwrap();
        for wanted in ["one", "two", ""] {
            assert_eq!(server.next_event().await, line(wanted));
        }
        client.write_all(b"f\nthe rest has no end").await.unwrap();
        assert_eq!(server.next_event().await, line("half"));
        client.shutdown().await.unwrap();
        assert_eq!(server.next_event().await, LineEvent::Closed);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_an_error() {
        for end in ["\n", ""] {
            let (mut server, mut client) = pair().await;
            client.write_all(format!("{}\n", "x".repeat(LINE_MAX)).as_bytes()).await.unwrap();
            assert_eq!(server.next_event().await, line(&"x".repeat(LINE_MAX)));
            client.write_all(format!("{}{end}", "x".repeat(LINE_MAX + 1)).as_bytes()).await.unwrap();
            assert_eq!(server.next_event().await, LineEvent::TooLong);
        }
    }

    #[tokio::test]
    async fn buffered_lines_are_written_while_reading_and_on_close() {
        let (mut server, mut client) = pair().await;
        let mut sent = 0;
        while server.has_capacity() {
            assert!(server.send(&"y".repeat(999)));
            sent += 1000;
        }
        let closing = tokio::spawn(async move {
            assert_eq!(server.next_event().await, LineEvent::Writable);
            assert_eq!(server.next_event().await, line("go"));
            assert!(server.send("bye"));
            server.close().await;
        });
        let mut read = vec![0; sent];
        client.read_exact(&mut read).await.unwrap();
        client.write_all(b"go\n").await.unwrap();
        let mut flushing = String::new();
        client.read_to_string(&mut flushing).await.unwrap();
        assert_eq!(flushing, "bye\n");
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_times_out() {
        let (mut server, client) = pair().await;
        // The kernel's buffers first, then ours up to its end.
        while server.send(&"z".repeat(9999)) {}
        assert!(!server.has_capacity());
        tokio::time::pause();
        assert_eq!(server.next_event().await, LineEvent::SendTimeout);
        drop(client);
    }
}
