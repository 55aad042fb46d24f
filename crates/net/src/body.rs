//! The body of a response: complete, or a stream that is produced while the peer reads it.
//!
//! Owns: three guarantees of a stream. Its unread chunks are bounded; a peer that reads nothing is disconnected; an
//! unfinished stream does not look like a complete one. Does not own: the content of the chunks.

use super::drain::{ConnectionPermit, Peer};
use super::limits::{BODY_CHUNKS, LINGER};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A chunk of a stream, or `None` for its end.
type Chunk = Option<Bytes>;

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// Complete body.
    Full(Full<Bytes>),
    /// Chunks of a [`BodySender`], in the order in which they are sent.
    Stream(Stream),
}

/// The receiving end of a streamed body.
#[derive(Debug)]
pub struct Stream {
    chunks: mpsc::Receiver<Chunk>,
    ended: bool,
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

/// The end of a stream before it is complete; hyper closes the connection, so that the peer notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response ended before it was complete")]
pub struct IncompleteBody;

/// The sending end of a streamed body. Dropped without [`BodySender::end`], it leaves the body incomplete.
#[derive(Debug)]
pub struct BodySender {
    chunks: mpsc::Sender<Chunk>,
    permit: Arc<ConnectionPermit>,
    send_timeout: Duration,
}

/// The reason why a chunk cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySendError {
    /// The peer disconnected.
    Disconnected,
    /// The peer read nothing within the send timeout, and was disconnected.
    TimedOut,
}

impl BodySender {
    /// Both ends of a streamed body for this peer, which has to read some of it within every `send_timeout`.
    pub fn new(peer: &Peer, send_timeout: Duration) -> (Self, Body) {
        let (tx, chunks) = mpsc::channel(BODY_CHUNKS);
        let sender = Self { chunks: tx, permit: Arc::clone(&peer.permit), send_timeout };
        (sender, Body::Stream(Stream { chunks, ended: false, guard: None }))
    }

    /// Sends the next chunk. Waits until the buffer has room for it.
    pub async fn send(&self, chunk: Bytes) -> Result<(), BodySendError> {
        self.send_chunk(Some(chunk)).await
    }

    /// Ends the body.
    pub async fn end(self) -> Result<(), BodySendError> {
        self.send_chunk(None).await
    }

    /// Ends the body because the daemon stops. A peer that does not read the end soon is disconnected.
    pub async fn stop(self) {
        let queued = self.chunks.try_send(None);
        let permit = Arc::downgrade(&self.permit);
        drop(self);
        if queued.is_ok() {
            tokio::time::sleep(LINGER).await;
        }
        if let Some(permit) = permit.upgrade() {
            permit.disconnect();
        }
    }

    /// Disconnects the peer.
    pub fn disconnect(&self) -> BodySendError {
        self.permit.disconnect();
        BodySendError::TimedOut
    }

    /// Waits until the peer has disconnected. Cancel safe.
    pub async fn disconnected(&self) {
        self.chunks.closed().await;
    }

    /// Waits until the daemon stops, independently of the sender. Cancel safe.
    pub fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let permit = Arc::clone(&self.permit);
        async move { permit.stopping().await }
    }

    async fn send_chunk(&self, chunk: Chunk) -> Result<(), BodySendError> {
        match timeout(self.send_timeout, self.chunks.send(chunk)).await {
            Ok(sent) => sent.map_err(|_| BodySendError::Disconnected),
            Err(_) => Err(self.disconnect()),
        }
    }
}

impl Body {
    /// Holds a value until a streamed body has ended; a complete body drops it at once.
    pub(super) fn attach_guard(&mut self, guard: Arc<dyn Any + Send + Sync>) {
        if let Self::Stream(stream) = self {
            stream.guard = Some(guard);
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = IncompleteBody;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, IncompleteBody>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(stream) => stream.poll(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Stream(stream) => stream.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, IncompleteBody>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.chunks.poll_recv(cx).map(|chunk| match chunk {
            Some(Some(chunk)) => Some(Ok(chunk)),
            Some(None) => {
                self.ended = true;
                None
            }
            None => Some(Err(IncompleteBody)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::drain::Drain;
    use super::*;
    use http_body_util::BodyExt;

    fn streaming_body() -> (BodySender, Body) {
        let permit = Drain::new(1).try_acquire().unwrap();
        let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), permit };
        BodySender::new(&peer, Duration::from_secs(30))
    }

    #[tokio::test]
    async fn a_finished_body_contains_all_its_chunks() {
        let (sender, body) = streaming_body();
        let sending = async {
            for chunk in ["a", "b", "c"] {
                sender.send(Bytes::from(chunk)).await.unwrap();
            }
            sender.end().await.unwrap();
        };
        let (whole, ()) = tokio::join!(body.collect(), sending);
        assert_eq!(whole.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn an_unfinished_body_is_an_error() {
        let (sender, body) = streaming_body();
        sender.send(Bytes::from("a")).await.unwrap();
        drop(sender);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_disconnected() {
        let (sender, body) = streaming_body();
        let permit = Arc::clone(&sender.permit);
        let mut accepted = 0;
        let end = loop {
            match sender.send(Bytes::from("a")).await {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((end, accepted), (BodySendError::TimedOut, BODY_CHUNKS));
        permit.disconnect_requested().await;
        drop(body);
        assert_eq!(sender.send(Bytes::from("a")).await, Err(BodySendError::Disconnected));
    }
}
