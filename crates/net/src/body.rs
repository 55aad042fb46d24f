//! The body of an answer: whole, or made while it is read.
//!
//! Owns: that an answer which is made while it is read holds no more memory than its peer leaves unread of a few
//! pieces, that a peer which takes nothing is cut off, and that a half-made answer does not look like a whole one.
//! Does not own: what is in the pieces.

use super::drain::{Peer, Seat};
use super::limits::{LINGER, PIECES};
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

/// The pieces of an answer and, if it came to that, `None` for its end.
type Piece = Option<Bytes>;

/// A body.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// What an [`Outlet`] is given, as it is given it.
    Stream(Stream),
}

/// See [`Body::Stream`].
#[derive(Debug)]
pub struct Stream {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
    held: Option<Arc<dyn Any + Send + Sync>>,
}

/// The answer ends before it is whole; hyper closes the connection, so that the peer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was given up half-way")]
pub struct Unfinished;

/// Where an answer is made. Dropped without [`Outlet::end`], the answer breaks off.
#[derive(Debug)]
pub struct Outlet {
    pieces: mpsc::Sender<Piece>,
    seat: Arc<Seat>,
    stall: Duration,
}

/// Nobody reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The peer has gone.
    Gone,
    /// The peer has read nothing for too long, and is cut off by now.
    Stalled,
}

impl Outlet {
    /// Both ends of an answer to this peer, which may leave it unread for so long.
    pub fn new(peer: &Peer, stall: Duration) -> (Self, Body) {
        let (sender, pieces) = mpsc::channel(PIECES);
        let outlet = Self { pieces: sender, seat: Arc::clone(&peer.seat), stall };
        (outlet, Body::Stream(Stream { pieces, ended: false, held: None }))
    }

    /// Sends the next piece; done when there is room for it.
    pub async fn send(&self, piece: Bytes) -> Result<(), Unread> {
        self.push(Some(piece)).await
    }

    /// Ends the answer.
    pub async fn end(self) -> Result<(), Unread> {
        self.push(None).await
    }

    /// Ends the answer because the daemon stops. Whoever does not take the end soon is cut off.
    pub async fn stop(self) {
        let taken = self.pieces.try_send(None);
        let seat = Arc::downgrade(&self.seat);
        drop(self);
        if taken.is_ok() {
            tokio::time::sleep(LINGER).await;
        }
        if let Some(seat) = seat.upgrade() {
            seat.cut();
        }
    }

    /// Cuts the connection.
    pub fn cut(&self) -> Unread {
        self.seat.cut();
        Unread::Stalled
    }

    /// Waits until the peer has gone. Cancel safe.
    pub async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Waits until the daemon stops, whatever is being sent meanwhile. Cancel safe.
    pub fn stopping(&self) -> impl Future<Output = ()> + use<> {
        let seat = Arc::clone(&self.seat);
        async move { seat.stopping().await }
    }

    async fn push(&self, piece: Piece) -> Result<(), Unread> {
        match timeout(self.stall, self.pieces.send(piece)).await {
            Ok(sent) => sent.map_err(|_| Unread::Gone),
            Err(_) => Err(self.cut()),
        }
    }
}

impl Body {
    /// Keeps something for as long as the answer is being made; not at all when it is made already.
    pub(super) fn hold(&mut self, what: Arc<dyn Any + Send + Sync>) {
        if let Self::Stream(stream) = self {
            stream.held = Some(what);
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Unfinished;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unfinished>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(stream) => stream.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Stream(stream) => stream.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Unfinished>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Some(piece)) => Some(Ok(piece)),
            Some(None) => {
                self.ended = true;
                None
            }
            None => Some(Err(Unfinished)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::drain::Drain;
    use super::*;
    use http_body_util::BodyExt;

    fn answer() -> (Outlet, Body) {
        let seat = Drain::new(1).seat().unwrap();
        let peer = Peer { addr: ([127, 0, 0, 1], 1).into(), seat };
        Outlet::new(&peer, Duration::from_secs(30))
    }

    #[tokio::test]
    async fn an_answer_has_its_pieces_and_its_end() {
        let (outlet, body) = answer();
        let made = async {
            for piece in ["a", "b", "c"] {
                outlet.send(Bytes::from(piece)).await.unwrap();
            }
            outlet.end().await.unwrap();
        };
        let (whole, ()) = tokio::join!(body.collect(), made);
        assert_eq!(whole.unwrap().to_bytes(), "abc");
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error() {
        let (outlet, body) = answer();
        outlet.send(Bytes::from("a")).await.unwrap();
        drop(outlet);
        assert!(body.collect().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_cut_off() {
        let (outlet, body) = answer();
        let seat = Arc::clone(&outlet.seat);
        let mut taken = 0;
        let end = loop {
            match outlet.send(Bytes::from("a")).await {
                Ok(()) => taken += 1,
                Err(why) => break why,
            }
        };
        assert_eq!((end, taken), (Unread::Stalled, PIECES));
        seat.is_cut().await;
        drop(body);
        assert_eq!(outlet.send(Bytes::from("a")).await, Err(Unread::Gone));
    }
}
