//! One connection: messages with their length in front, answered in whatever order answers come.
//!
//! Owns: the framing (RFC 1035 section 4.2.2), pipelining (RFC 7766 sections 6.2.1.1 and 7), and what each
//! limit means while bytes come and go. Does not own: whose place it takes ([`super::places`]).
//!
//! One task, and no queue between reading and writing: a client that has as much open as it may is simply
//! not read until it has less, and TCP tells it so.

use super::End;
use super::places::Place;
use crate::general::{Later, Said, respond};
use crate::handler::Handler;
use crate::message::Transport;
use crate::settings::StreamLimits;
use crate::wire::HEADER;
use bytes::{Buf, BufMut, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes of a message's length.
const LENGTH: usize = 2;
/// Buffers beyond this are given back when they are empty: most questions have under 100 bytes.
const KEPT: usize = 4096;
/// How long the last bytes (TLS's farewell) may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Who asks, over what, and who answers.
pub(super) struct Peer {
    pub from: SocketAddr,
    pub over: Transport,
    pub handler: Handler,
}

/// A connection.
pub(super) struct Connection<S> {
    reader: ReadHalf<S>,
    peer: Peer,
    limits: StreamLimits,
    place: Place,
    received: BytesMut,
    /// When the message began to arrive of which a part is there.
    began: Option<Instant>,
    /// Answers that wait for somebody else.
    waiting: FuturesUnordered<Later>,
    unread: Unread<S>,
    /// When something last came to an end here.
    quiet_since: Instant,
    paused: bool,
    /// Nothing more is read, and why.
    over: Option<End>,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    pub(super) fn new(stream: S, peer: Peer, limits: StreamLimits, place: Place) -> Self {
        let (reader, writer) = split(stream);
        Self {
            reader,
            peer,
            limits,
            place,
            received: BytesMut::new(),
            began: None,
            waiting: FuturesUnordered::new(),
            unread: Unread::new(writer, limits.take),
            quiet_since: Instant::now(),
            paused: false,
            over: None,
        }
    }

    /// Answers until it ends. `stop` ends with its sender.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<()>) -> End {
        let end = loop {
            if let Err(end) = self.take_messages() {
                break end;
            }
            let busy = self.unread.any() || !self.waiting.is_empty();
            match self.over {
                Some(end) if !busy => break end,
                _ => self.place.set_busy(busy),
            }
            let reads = self.over.is_none() && self.has_room();
            let due = self.due(reads);
            tokio::select! {
                wrote = self.unread.write(), if self.unread.any() => match wrote {
                    Ok(()) if !self.unread.any() => self.quiet_since = Instant::now(),
                    Ok(()) => {}
                    Err(_) => break End::Closed,
                },
                Some(answer) = self.waiting.next(), if !self.waiting.is_empty() => self.unread.put(&answer),
                read = self.reader.read_buf(&mut self.received), if reads => match read {
                    // It may still read what it asked for.
                    Ok(0) => self.over = Some(End::Closed),
                    Ok(_) => {}
                    Err(_) => break End::Closed,
                },
                () = self.place.wanted() => break End::Crowded,
                _ = stop.changed(), if self.over.is_none() => self.over = Some(End::Stopped),
                late = until(due), if due.is_some() => break late,
            }
        };
        // To who does not read there is nothing to say.
        if end != End::Unread {
            let _ = timeout(FAREWELL, self.unread.writer.shutdown()).await;
        }
        end
    }

    /// Answers the messages that are there, as far as the limits allow.
    fn take_messages(&mut self) -> Result<(), End> {
        while self.over.is_none_or(|end| end == End::Closed) && self.has_room() {
            let Some(message) = self.message() else { break };
            self.quiet_since = Instant::now();
            self.answer(&message)?;
        }
        if self.received.is_empty() && self.received.capacity() > KEPT {
            self.received = BytesMut::new();
        }
        let paused = !self.has_room();
        if paused && !self.paused {
            self.peer.handler.stats().streams().was_paused();
        }
        self.paused = paused;
        Ok(())
    }

    /// Answers one question.
    fn answer(&mut self, message: &[u8]) -> Result<(), End> {
        match respond(&self.peer.handler, message, self.peer.from, self.peer.over) {
            Said::Now(Some(answer)) => self.unread.put(&answer),
            Said::Later(later) => self.waiting.push(later),
            // Neither a question nor an answer to one: whatever this is, it will not become DNS.
            Said::Now(None) if message.len() < HEADER => return Err(End::Garbled),
            Said::Now(None) => {}
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
        self.began = None;
        Some(self.received.split_to(length))
    }

    /// Whether one more question may be answered.
    fn has_room(&self) -> bool {
        self.waiting.len() < self.limits.questions && self.unread.bytes() < self.limits.unread
    }

    /// When this has lasted too long, and what that is called.
    fn due(&mut self, reads: bool) -> Option<(Instant, End)> {
        let due = match (self.unread.any(), self.waiting.is_empty()) {
            (true, _) => Some((self.unread.due, End::Unread)),
            (false, true) => Some((self.quiet_since + self.limits.idle, End::Idle)),
            // Whoever is asked has a deadline of its own.
            (false, false) => None,
        };
        // What is not read cannot arrive: its time begins anew.
        self.began = (reads && !self.received.is_empty()).then(|| self.began.unwrap_or_else(Instant::now));
        let slow = self.began.map(|began| (began + self.limits.message, End::Slow));
        due.into_iter().chain(slow).min_by_key(|(at, _)| *at)
    }
}

async fn until(due: Option<(Instant, End)>) -> End {
    match due {
        Some((at, end)) => {
            sleep_until(at).await;
            end
        }
        None => std::future::pending().await,
    }
}

/// What was answered and the client has not taken.
struct Unread<S> {
    writer: WriteHalf<S>,
    bytes: BytesMut,
    flushed: bool,
    /// How much has to be taken by `due`: all that there was when that was set. So a client that takes
    /// a byte now and then is as late as one that takes none.
    until_due: usize,
    due: Instant,
    within: Duration,
}

impl<S: AsyncWrite> Unread<S> {
    fn new(writer: WriteHalf<S>, within: Duration) -> Self {
        Self { writer, bytes: BytesMut::new(), flushed: true, until_due: 0, due: Instant::now(), within }
    }

    fn any(&self) -> bool {
        !self.bytes.is_empty() || !self.flushed
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn put(&mut self, answer: &[u8]) {
        // No answer is longer than its limit of 65,535 bytes.
        let Ok(length) = u16::try_from(answer.len()) else { return };
        if !self.any() {
            self.due = Instant::now() + self.within;
            self.until_due = LENGTH + answer.len();
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
        self.until_due = self.until_due.saturating_sub(wrote);
        if self.until_due == 0 {
            self.due = Instant::now() + self.within;
            self.until_due = self.bytes.len();
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }
}
