//! Line protocols over TCP: one text per line, in both directions.
//!
//! Owns: the limit of a line, the send buffer, and the timeout of a peer that does not read. Does not own: the meaning
//! of a line, nor the liveness of a peer.
//!
//! A connection has one task and none for its writes: [`LineConnection::next_event`] writes the send buffer while it
//! reads. The buffer is bounded: a caller with more lines checks [`LineConnection::has_capacity`] first.

use super::accept::BindError;
use super::drain::Peer;
use super::http::linger;
use super::limits::Limits;
use super::listen::Listener;
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

/// Limit of simultaneous connections. They are not counted with those of HTTP, but use the same descriptors.
pub const CONNECTIONS: usize = 4096;
/// Limit of a line, in bytes. A value has to fit into 64 KiB of the store together with its envelope.
pub const LINE_MAX: usize = 32 * 1024;
/// Bytes in the send buffer from which on [`LineConnection::has_capacity`] is false.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Limit of the send buffer, in bytes; with more the connection ends. Callers that check the capacity first stay far
/// below it.
pub const SEND_BUFFER_MAX: usize = 4 * SEND_BUFFER_BYTES;
/// Time without progress of the send buffer after which a peer is a slow consumer.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(45);
/// Idle time before the first TCP keepalive probe, and the interval of further probes. They detect a machine that is
/// gone, which sends nothing.
pub const KEEPALIVE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(5)];
/// Number of unanswered keepalive probes after which a connection is dead.
pub const KEEPALIVE_PROBES: u32 = 3;
/// Limit of the time in which an ending connection writes its send buffer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// The server of a line protocol. It accepts connections from bind until it is dropped or shut down.
#[derive(Debug)]
pub struct LineServer {
    addrs: Vec<SocketAddr>,
    listener: Listener,
}

impl LineServer {
    /// Listens on all addresses or on none, as [`super::HttpServer::bind`] does. `on_connection` receives each
    /// connection; one over the limit is sent the line `rejection` and closed.
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
        let addrs = listener.listen(protocol, addrs, move |stream, peer| match peer {
            Some(peer) => on_connection(LineConnection::new(stream), peer),
            // Into the socket's empty buffer, or not at all.
            None => drop(stream.try_write(rejection.as_bytes())),
        })?;
        Ok(Self { addrs, listener })
    }

    /// The bound addresses, in the configured order.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Serves without end. Returns only if an acceptor failed, which is a bug.
    pub async fn run_until_done(&mut self) {
        self.listener.run_until_done().await;
    }

    /// Stops accepting, signals all connections to stop, and waits for their end, at most for `deadline`. Returns the
    /// number of connections that are left.
    pub async fn shutdown(self, deadline: Duration) -> usize {
        self.listener.shutdown(deadline).await
    }
}

/// An event of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum LineEvent {
    /// The peer sent a line, here without its line end.
    Line(Vec<u8>),
    /// The peer closed the connection in order.
    Closed,
    /// The connection broke.
    Disconnected,
    /// The peer sent a line over the limit, [`LINE_MAX`] bytes by default.
    TooLong,
    /// The peer does not read the send buffer.
    SendTimeout,
    /// The send buffer has room again, after [`LineConnection::has_capacity`] returned false.
    Writable,
}

/// A connection of a line protocol.
#[derive(Debug)]
pub struct LineConnection {
    stream: TcpStream,
    read: BytesMut,
    /// Length of the part of `read` without a line end.
    searched: usize,
    send_buffer: BytesMut,
    /// Time of the last progress of the send buffer.
    last_progress: Instant,
    /// True if a caller waits for [`LineEvent::Writable`].
    wants_capacity: bool,
    max_line: usize,
}

impl LineConnection {
    /// Lines over a connection that either side opened.
    pub fn new(stream: TcpStream) -> Self {
        // Lines are small and complete. Both options fail only if the peer disconnected, which the next read reports.
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

    /// Sets the limit of a line: a protocol may wrap lines into lines.
    pub fn set_max_line(&mut self, bytes: usize) {
        self.max_line = bytes;
    }

    /// Waits for the next event, and writes the send buffer meanwhile. Cancel safe. After any event but
    /// [`LineEvent::Line`] and [`LineEvent::Writable`], the connection can only be closed.
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
                    // A last line without a line end is dropped: it may be incomplete.
                    Ok(0) => return LineEvent::Closed,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return LineEvent::Disconnected,
                }
            }
        }
    }

    /// The next complete line of the read bytes, if any.
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
            // Frees the buffer: most of possibly thousands of connections are quiet.
            self.read = BytesMut::new();
        }
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(LineEvent::Line(line))
    }

    /// Returns true if the send buffer has room. Otherwise [`LineEvent::Writable`] reports when it has.
    pub fn has_capacity(&mut self) -> bool {
        self.wants_capacity = self.send_buffer.len() >= SEND_BUFFER_BYTES;
        !self.wants_capacity
    }

    /// Sends a line. Returns false if the send buffer would exceed [`SEND_BUFFER_MAX`].
    pub fn send(&mut self, line: &str) -> bool {
        if self.send_buffer.len() + line.len() >= SEND_BUFFER_MAX {
            return false;
        }
        if self.send_buffer.is_empty() {
            self.last_progress = Instant::now();
        }
        self.send_buffer.extend_from_slice(line.as_bytes());
        self.send_buffer.extend_from_slice(b"\n");
        // `next_event` writes the rest, and reports an error.
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

    /// Writes the send buffer, as far as the peer reads it within a moment, and closes.
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
    async fn lines_are_independent_of_chunk_boundaries() {
        let (mut server, mut client) = pair().await;
        client.write_all(b"one\ntwo\r\n\nhal").await.unwrap();
        for expected in ["one", "two", ""] {
            assert_eq!(server.next_event().await, line(expected));
        }
        client.write_all(b"f\nan incomplete line").await.unwrap();
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
        // Fills the kernel's buffers first, then the send buffer.
        while server.send(&"z".repeat(9999)) {}
        assert!(!server.has_capacity());
        tokio::time::pause();
        assert_eq!(server.next_event().await, LineEvent::SendTimeout);
        drop(client);
    }
}
