//! One thread: takes a batch, answers what it can in place, sends, and again.
//!
//! Owns: the bound on the answers that wait for somebody else. Does not own: which path a datagram takes
//! ([`crate::datagram`]).

use super::socket::{BATCH, Batch, Peer, Port};
use crate::datagram::{Datagrams, Response};
use crate::general::Later;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// One of the threads that answer on a port.
pub(super) struct Worker {
    pub port: Arc<Port>,
    pub datagrams: Datagrams,
    pub stop: Arc<AtomicBool>,
    /// A seat for each answer that waits for somebody else. Shared by all threads.
    pub waiting: Arc<Semaphore>,
    pub runtime: Handle,
}

impl Worker {
    /// Answers until told to stop.
    pub(super) fn run(self) {
        let _within = self.runtime.clone().enter();
        let mut batch = match Batch::new(&self.port) {
            Ok(batch) => batch,
            Err(error) => return warn!(%error, "a DNS thread cannot begin"),
        };
        let mut random = fastrand::Rng::new();
        while !self.stop.load(Relaxed) {
            match batch.receive(&self.port) {
                Ok(count) if !self.stop.load(Relaxed) => self.answer(&mut batch, count, &mut random),
                Err(error) if !is_nothing(&error) => debug!(%error, "a datagram could not be received"),
                _ => {}
            }
        }
    }

    /// Answers a batch. The snapshot is taken once for all of it.
    fn answer(&self, batch: &mut Batch, count: usize, random: &mut fastrand::Rng) {
        let snapshot = self.datagrams.snapshot();
        let moment = self.datagrams.moment(&snapshot);
        for at in 0..count.min(BATCH) {
            let (bytes, length, peer) = batch.datagram(at);
            let Some((peer, from)) = peer.and_then(|peer| Some((peer, peer.addr()?))) else {
                batch.set_response(at, 0);
                continue;
            };
            let response = match self.datagrams.respond(&moment, bytes, length, from, random.u32(..)) {
                Response::Here(length) => length,
                Response::Later(later) => {
                    self.wait(later, peer);
                    0
                }
            };
            batch.set_response(at, response);
        }
        for _ in 0..batch.send(&self.port, count) {
            self.datagrams.was_unsent();
        }
    }

    /// Sends an answer when it is there. Without a free seat the question is dropped, as if the network had
    /// lost it: the client asks again, when others have been answered.
    fn wait(&self, later: Later, peer: Peer) {
        let Ok(seat) = Arc::clone(&self.waiting).try_acquire_owned() else { return };
        let port = Arc::clone(&self.port);
        self.runtime.spawn(async move {
            let _seat = seat;
            if let Err(error) = port.send(&peer, &later.await) {
                debug!(%error, "a DNS response could not be sent");
            }
        });
    }
}

/// Nothing came for a while, or a signal did.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
