//! A thread that answers on one socket: receives a batch, answers in place where it can, sends the batch, repeats.
//!
//! Owns: the limit on responses that wait for upstream servers. Does not own: the path of a datagram
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

/// A thread that answers on one socket.
pub(super) struct Worker {
    pub socket: Arc<ServerSocket>,
    pub datagrams: DatagramHandler,
    pub stop: Arc<AtomicBool>,
    /// The permits of the responses that wait for upstream servers. All threads share them.
    pub pending_permits: Arc<Semaphore>,
    pub runtime: Handle,
}

impl Worker {
    /// Answers until `stop` is set.
    pub(super) fn run(self) {
        let _runtime = self.runtime.clone().enter();
        let mut batch = match Batch::new(&self.socket) {
            Ok(batch) => batch,
            Err(error) => return warn!(%error, "cannot start a DNS thread; its socket is not served"),
        };
        let mut random = fastrand::Rng::new();
        while !self.stop.load(Relaxed) {
            match batch.receive(&self.socket) {
                Ok(count) if !self.stop.load(Relaxed) => self.answer(&mut batch, count, &mut random),
                Err(error) if !is_retriable(&error) => debug!(%error, "cannot receive a DNS datagram"),
                _ => {}
            }
        }
    }

    /// Answers a batch from one snapshot.
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
        for _ in 0..batch.send(&self.socket, count) {
            self.datagrams.count_unsent();
        }
    }

    /// Sends a response once it is complete. Without a free permit the question is dropped, as if the network had lost
    /// it: the client retries, when other questions have been answered.
    fn send_later(&self, pending: PendingResponse, peer: DatagramPeer) {
        let Ok(permit) = Arc::clone(&self.pending_permits).try_acquire_owned() else { return };
        let socket = Arc::clone(&self.socket);
        self.runtime.spawn(async move {
            let _permit = permit;
            if let Err(error) = socket.send(&peer, &pending.await) {
                debug!(%error, "cannot send a DNS response; dropping it");
            }
        });
    }
}

/// Returns whether the error is a timeout or an interruption by a signal.
fn is_retriable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
