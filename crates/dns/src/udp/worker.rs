//! One thread: takes a batch, answers what it can in place, sends, and again.
//!
//! Owns: the bound on the answers that wait for somebody else. Does not own: which path a datagram takes
//! ([`crate::datagram`]).

use super::socket::{BATCH, Batch, DatagramPeer, ServerSocket};
use crate::datagram::{DatagramHandler, DatagramResponse};
use crate::general::PendingResponse;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// One of the threads that answer on a port.
pub(super) struct Worker {
    pub port: Arc<ServerSocket>,
    pub datagrams: DatagramHandler,
    pub stop: Arc<AtomicBool>,
    /// A seat for each answer that waits for somebody else. Shared by all threads.
    pub pending_permits: Arc<Semaphore>,
    pub runtime: Handle,
}

impl Worker {
    /// Answers until told to stop.
    pub(super) fn run(self) {
        let _runtime = self.runtime.clone().enter();
        let mut batch = match Batch::new(&self.port) {
            Ok(batch) => batch,
            Err(error) => return warn!(%error, "a DNS thread cannot begin"),
        };
        let mut random = fastrand::Rng::new();
        while !self.stop.load(Relaxed) {
            match batch.receive(&self.port) {
                Ok(count) if !self.stop.load(Relaxed) => self.answer(&mut batch, count, &mut random),
                Err(error) if !is_would_block(&error) => debug!(%error, "a datagram could not be received"),
                _ => {}
            }
        }
    }

    /// Answers a batch. The snapshot is taken once for all of it.
    fn answer(&self, batch: &mut Batch, count: usize, random: &mut fastrand::Rng) {
        let snapshot = self.datagrams.snapshot();
        let batch_context = self.datagrams.batch_context(&snapshot);
        for at in 0..count.min(BATCH) {
            let (bytes, length, peer) = batch.datagram(at);
            let Some((peer, from)) = peer.and_then(|peer| Some((peer, peer.addr()?))) else {
                batch.set_response(at, 0);
                continue;
            };
            let response = match self.datagrams.respond(&batch_context, bytes, length, from, random.u32(..)) {
                DatagramResponse::InPlace(length) => length,
                DatagramResponse::Pending(pending) => {
                    self.send_later(pending, peer);
                    0
                }
            };
            batch.set_response(at, response);
        }
        for _ in 0..batch.send(&self.port, count) {
            self.datagrams.count_unsent();
        }
    }

    /// Sends an answer when it is there. Without a free seat the question is dropped, as if the network had
    /// lost it: the client asks again, when others have been answered.
    fn send_later(&self, pending: PendingResponse, peer: DatagramPeer) {
        let Ok(permit) = Arc::clone(&self.pending_permits).try_acquire_owned() else { return };
        let port = Arc::clone(&self.port);
        self.runtime.spawn(async move {
            let _seat = permit;
            if let Err(error) = port.send(&peer, &pending.await) {
                debug!(%error, "a DNS response could not be sent");
            }
        });
    }
}

/// Nothing came for a while, or a signal did.
fn is_would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
