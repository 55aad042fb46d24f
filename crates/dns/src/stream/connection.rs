//! One connection: messages with their length in front, answered in whatever order answers come.
//!
//! Owns: the framing (RFC 1035 section 4.2.2), pipelining (RFC 7766 sections 6.2.1.1 and 7), and what each
//! limit means while bytes come and go. Does not own: the choice of an evicted
//! connection ([`skyhound_net::admission`]).
//!
//! One task, and no queue between reading and writing: a client that has as much open as it may is simply
//! not read until it has less, and TCP tells it so.

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

/// Bytes of a message's length.
const LENGTH: usize = 2;
/// Buffers beyond this are given back when they are empty: most questions have under 100 bytes.
const RETAINED_CAPACITY: usize = 4096;
/// How long the last bytes (TLS's farewell) may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who asks, over what, and who answers.
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
    /// When the message began to arrive of which a part is there.
    message_started: Option<Instant>,
    /// Answers that wait for somebody else.
    pending_responses: FuturesUnordered<PendingResponse>,
    send_queue: SendQueue<S>,
    /// When something last came to an end here.
    idle_since: Instant,
    paused: bool,
    /// Nothing more is read, and why.
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

    /// Answers until it ends. `stop` ends with its sender.
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
                wrote = self.send_queue.write(), if self.send_queue.is_pending() => match wrote {
                    Ok(()) if !self.send_queue.is_pending() => self.idle_since = Instant::now(),
                    Ok(()) => {}
                    Err(_) => break CloseReason::Closed,
                },
                Some(answer) = self.pending_responses.next(), if !self.pending_responses.is_empty() => self.send_queue.put(&answer),
                read = self.reader.read_buf(&mut self.received), if reads => match read {
                    // It may still read what it asked for.
                    Ok(0) => self.closing = Some(CloseReason::Closed),
                    Ok(_) => {}
                    Err(_) => break CloseReason::Closed,
                },
                () = self.permit.evicted() => break CloseReason::Evicted,
                _ = stop.changed(), if self.closing.is_none() => self.closing = Some(CloseReason::Shutdown),
                late = deadline_elapsed(deadline), if deadline.is_some() => break late,
            }
        };
        // To who does not read there is nothing to say.
        if reason != CloseReason::SendTimeout {
            let _ = timeout(CLOSE_TIMEOUT, self.send_queue.writer.shutdown()).await;
        }
        reason
    }

    /// Answers the messages that are there, as far as the limits allow.
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
            // Neither a question nor an answer to one: whatever this is, it will not become DNS.
            ResponseState::Ready(None) if message.len() < HEADER => return Err(CloseReason::Malformed),
            ResponseState::Ready(None) => {}
        }
        Ok(())
    }

    /// The next whole message.
    fn message(&mut self) -> Option<BytesMut> {
        let length = usize::from(u16::from_be_bytes(*self.received.first_chunk::<LENGTH>()?));
        if self.received.len() < LENGTH + length {
            // The rest of it arrives without moving what is there again and again.
            self.received.reserve(LENGTH + length - self.received.len());
            return None;
        }
        self.received.advance(LENGTH);
        self.message_started = None;
        Some(self.received.split_to(length))
    }

    /// Whether one more question may be answered.
    fn has_room(&self) -> bool {
        self.pending_responses.len() < self.limits.max_questions
            && self.send_queue.bytes() < self.limits.max_unsent_bytes
    }

    /// When this has lasted too long, and what that is called.
    fn deadline(&mut self, reads: bool) -> Option<(Instant, CloseReason)> {
        let deadline = match (self.send_queue.is_pending(), self.pending_responses.is_empty()) {
            (true, _) => Some((self.send_queue.deadline, CloseReason::SendTimeout)),
            (false, true) => Some((self.idle_since + self.limits.idle_timeout, CloseReason::IdleTimeout)),
            // Whoever is asked has a deadline of its own.
            (false, false) => None,
        };
        // What is not read cannot arrive: its time begins anew.
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

/// What was answered and the client has not taken.
struct SendQueue<S> {
    writer: WriteHalf<S>,
    bytes: BytesMut,
    flushed: bool,
    /// How much has to be taken by `deadline`: all that there was when that was set. So a client that takes
    /// a byte now and then is as late as one that takes none.
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
        // No answer is longer than its limit of 65,535 bytes.
        let Ok(length) = u16::try_from(answer.len()) else { return };
        if !self.is_pending() {
            self.deadline = Instant::now() + self.send_timeout;
            self.bytes_until_deadline = LENGTH + answer.len();
        }
        self.bytes.reserve(LENGTH + answer.len());
        self.bytes.put_u16(length);
        self.bytes.put_slice(answer);
    }

    /// Writes what can be written. Safe to cancel.
    async fn write(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            self.writer.flush().await?;
            self.flushed = true;
            return Ok(());
        }
        self.flushed = false;
        let wrote = self.writer.write_buf(&mut self.bytes).await?;
        if wrote == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes_until_deadline = self.bytes_until_deadline.saturating_sub(wrote);
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
