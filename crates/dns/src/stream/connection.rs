//! One connection: messages with a length prefix, answered in the order in which responses complete.
//!
//! Owns: the framing (RFC 1035 section 4.2.2), pipelining (RFC 7766 sections 6.2.1.1 and 7), and the effect of each
//! limit while bytes are received and sent. Does not own: the choice of an evicted connection
//! ([`skyhound_net::admission`]).
//!
//! One task, without a queue between reading and writing: while a client has its maximum of open questions or unsent
//! bytes, nothing is read from it, and TCP's flow control makes it wait.

use super::CloseReason;
use crate::general::{PendingResponse, ResponseState, respond};
use crate::handler::Handler;
use crate::message::Transport;
use crate::settings::StreamLimits;
use crate::wire::HEADER;
use bytes::{Buf, BufMut, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use skyhound_net::admission::AdmissionPermit;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// The size of the length prefix.
const LENGTH: usize = 2;
/// Larger buffers are freed when they are empty: most questions have under 100 bytes.
const RETAINED_CAPACITY: usize = 4096;
/// The time that the last bytes (TLS's `close_notify`) may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The client of a connection, its transport, and the handler that answers it.
pub(super) struct ConnectionContext {
    pub from: SocketAddr,
    pub transport: Transport,
    pub handler: Handler,
}

/// A connection.
pub(super) struct Connection<S> {
    reader: ReadHalf<S>,
    context: ConnectionContext,
    limits: StreamLimits,
    permit: AdmissionPermit,
    received: BytesMut,
    /// The time at which the first bytes of an incomplete message were received.
    message_started: Option<Instant>,
    /// The responses that wait for upstream servers.
    pending_responses: FuturesUnordered<PendingResponse>,
    send_queue: SendQueue<S>,
    /// The time of the last complete message or write.
    idle_since: Instant,
    paused: bool,
    /// The reason why nothing more is read, if the connection is closing.
    closing: Option<CloseReason>,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    pub(super) fn new(stream: S, context: ConnectionContext, limits: StreamLimits, permit: AdmissionPermit) -> Self {
        let (reader, writer) = split(stream);
        Self {
            reader,
            context,
            limits,
            permit,
            received: BytesMut::new(),
            message_started: None,
            pending_responses: FuturesUnordered::new(),
            send_queue: SendQueue::new(writer, limits.send_timeout),
            idle_since: Instant::now(),
            paused: false,
            closing: None,
        }
    }

    /// Answers until the connection ends. `stop` changes when its sender is dropped.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<()>) -> CloseReason {
        let reason = loop {
            if let Err(reason) = self.process_messages() {
                break reason;
            }
            let busy = self.send_queue.is_pending() || !self.pending_responses.is_empty();
            match self.closing {
                Some(reason) if !busy => break reason,
                _ => self.permit.set_busy(busy),
            }
            let reads = self.closing.is_none() && self.has_room();
            let deadline = self.deadline(reads);
            tokio::select! {
                result = self.send_queue.write(), if self.send_queue.is_pending() => match result {
                    Ok(()) if !self.send_queue.is_pending() => self.idle_since = Instant::now(),
                    Ok(()) => {}
                    Err(_) => break CloseReason::Closed,
                },
                Some(answer) = self.pending_responses.next(), if !self.pending_responses.is_empty() => self.send_queue.put(&answer),
                read = self.reader.read_buf(&mut self.received), if reads => match read {
                    // The client may have closed its side only, and still read the responses.
                    Ok(0) => self.closing = Some(CloseReason::Closed),
                    Ok(_) => {}
                    Err(_) => break CloseReason::Closed,
                },
                () = self.permit.evicted() => break CloseReason::Evicted,
                _ = stop.changed(), if self.closing.is_none() => self.closing = Some(CloseReason::Shutdown),
                reason = deadline_elapsed(deadline), if deadline.is_some() => break reason,
            }
        };
        // A client that does not read would not receive the last bytes either.
        if reason != CloseReason::SendTimeout {
            let _ = timeout(CLOSE_TIMEOUT, self.send_queue.writer.shutdown()).await;
        }
        reason
    }

    /// Answers the complete messages, as far as the limits allow.
    fn process_messages(&mut self) -> Result<(), CloseReason> {
        while self.closing.is_none_or(|reason| reason == CloseReason::Closed) && self.has_room() {
            let Some(message) = self.message() else { break };
            self.idle_since = Instant::now();
            self.answer(&message)?;
        }
        if self.received.is_empty() && self.received.capacity() > RETAINED_CAPACITY {
            self.received = BytesMut::new();
        }
        let paused = !self.has_room();
        if paused && !self.paused {
            self.context.handler.stats().streams().count_paused();
        }
        self.paused = paused;
        Ok(())
    }

    /// Answers one question.
    fn answer(&mut self, message: &[u8]) -> Result<(), CloseReason> {
        match respond(&self.context.handler, message, self.context.from, self.context.transport) {
            ResponseState::Ready(Some(answer)) => self.send_queue.put(&answer),
            ResponseState::Pending(pending) => self.pending_responses.push(pending),
            // Neither a query nor a response: the stream does not carry DNS.
            ResponseState::Ready(None) if message.len() < HEADER => return Err(CloseReason::Malformed),
            ResponseState::Ready(None) => {}
        }
        Ok(())
    }

    /// Takes the next complete message.
    fn message(&mut self) -> Option<BytesMut> {
        let length = usize::from(u16::from_be_bytes(*self.received.first_chunk::<LENGTH>()?));
        if self.received.len() < LENGTH + length {
            // The rest is received without moving the first part repeatedly.
            self.received.reserve(LENGTH + length - self.received.len());
            return None;
        }
        self.received.advance(LENGTH);
        self.message_started = None;
        Some(self.received.split_to(length))
    }

    /// Returns whether the limits allow one more question.
    fn has_room(&self) -> bool {
        self.pending_responses.len() < self.limits.max_questions
            && self.send_queue.bytes() < self.limits.max_unsent_bytes
    }

    /// The next deadline, and the close reason when it elapses.
    fn deadline(&mut self, reads: bool) -> Option<(Instant, CloseReason)> {
        let deadline = match (self.send_queue.is_pending(), self.pending_responses.is_empty()) {
            (true, _) => Some((self.send_queue.deadline, CloseReason::SendTimeout)),
            (false, true) => Some((self.idle_since + self.limits.idle_timeout, CloseReason::IdleTimeout)),
            // The query to an upstream server has its own deadline.
            (false, false) => None,
        };
        // Bytes that are not read cannot complete a message: its time begins anew.
        self.message_started =
            (reads && !self.received.is_empty()).then(|| self.message_started.unwrap_or_else(Instant::now));
        let slow = self
            .message_started
            .map(|message_started| (message_started + self.limits.message_timeout, CloseReason::ReceiveTimeout));
        deadline.into_iter().chain(slow).min_by_key(|(at, _)| *at)
    }
}

async fn deadline_elapsed(deadline: Option<(Instant, CloseReason)>) -> CloseReason {
    match deadline {
        Some((at, reason)) => {
            sleep_until(at).await;
            reason
        }
        None => std::future::pending().await,
    }
}

/// The responses that are not yet written to the socket.
struct SendQueue<S> {
    writer: WriteHalf<S>,
    bytes: BytesMut,
    flushed: bool,
    /// The number of bytes that have to be written by `deadline`: all that were queued when it was set. So a client
    /// that reads a byte now and then times out like one that reads none.
    bytes_until_deadline: usize,
    deadline: Instant,
    send_timeout: Duration,
}

impl<S: AsyncWrite> SendQueue<S> {
    fn new(writer: WriteHalf<S>, send_timeout: Duration) -> Self {
        Self {
            writer,
            bytes: BytesMut::new(),
            flushed: true,
            bytes_until_deadline: 0,
            deadline: Instant::now(),
            send_timeout,
        }
    }

    fn is_pending(&self) -> bool {
        !self.bytes.is_empty() || !self.flushed
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn put(&mut self, answer: &[u8]) {
        // No response exceeds its limit of 65,535 bytes.
        let Ok(length) = u16::try_from(answer.len()) else { return };
        if !self.is_pending() {
            self.deadline = Instant::now() + self.send_timeout;
            self.bytes_until_deadline = LENGTH + answer.len();
        }
        self.bytes.reserve(LENGTH + answer.len());
        self.bytes.put_u16(length);
        self.bytes.put_slice(answer);
    }

    /// Writes as much as the socket accepts. Cancel-safe.
    async fn write(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            self.writer.flush().await?;
            self.flushed = true;
            return Ok(());
        }
        self.flushed = false;
        let written = self.writer.write_buf(&mut self.bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes_until_deadline = self.bytes_until_deadline.saturating_sub(written);
        if self.bytes_until_deadline == 0 {
            self.deadline = Instant::now() + self.send_timeout;
            self.bytes_until_deadline = self.bytes.len();
        }
        if self.bytes.is_empty() && self.bytes.capacity() > RETAINED_CAPACITY {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }
}
