//! The path of a datagram to its response: admission, then the answer cache, then the general path.
//!
//! Owns: the path that a datagram takes. Does not own: the sockets (`udp` calls this for each datagram), nor the
//! responses of any path. The tests and fuzz targets of DNS use this module too, so that they receive the same bytes as
//! a client.

use super::fast::{CacheId, FastPath, SnapshotView};
use super::general::{PendingResponse, ResponseState, respond};
use super::handler::Handler;
use super::limit::RateLimiter;
use super::limit::gate::{AdmissionGate, BatchGate};
use super::message::Transport;
use super::settings::DnsSettings;
use skyhound_core::catalog::{Catalog, Snapshot};
use std::net::SocketAddr;
use std::sync::Arc;

/// The size of a buffer for a datagram and for the response in its place: more than any EDNS size in use, and not a
/// multiple of a page, because then the fronts of all buffers would compete for the same cache lines.
pub(super) const BUFFER_LEN: usize = 4096 + 64;

/// The paths of one thread.
#[derive(Debug)]
pub struct DatagramHandler {
    catalog: Arc<Catalog>,
    fast: FastPath,
    general: Handler,
    gate: AdmissionGate,
}

/// The snapshot and the admission state that a batch of datagrams is answered with: one revision and one time for all.
pub(super) struct BatchContext<'s> {
    view: Option<SnapshotView<'s>>,
    gate: Option<BatchGate<'s>>,
}

/// The result for a datagram.
pub(super) enum DatagramResponse {
    /// The length of the response in the buffer; 0 if the datagram gets none.
    InPlace(usize),
    /// A response that needs upstream servers.
    Pending(PendingResponse),
}

impl DatagramHandler {
    /// Creates the paths of a single thread with its own counters.
    pub fn new(catalog: Arc<Catalog>, settings: &DnsSettings) -> Self {
        let rate = AdmissionGate::rate_limiter(&settings.rate);
        let general = Handler::new(Arc::clone(&catalog), settings.clone());
        Self::for_thread(catalog, settings, CacheId::new(), general, rate)
    }

    /// Creates the paths of one of several threads.
    pub(super) fn for_thread(
        catalog: Arc<Catalog>,
        settings: &DnsSettings,
        cache_id: CacheId,
        general: Handler,
        rate: Option<Arc<RateLimiter>>,
    ) -> Self {
        let stats = general.stats();
        let gate = AdmissionGate::new(settings.access.clone(), rate, settings.udp_payload_max, &stats);
        Self { catalog, fast: FastPath::new(settings.clone(), cache_id, &stats), general, gate }
    }

    /// The current snapshot.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.snapshot()
    }

    /// The context of a batch that is answered from this snapshot.
    pub(super) fn batch_context<'s>(&'s self, snapshot: &'s Arc<Snapshot>) -> BatchContext<'s> {
        BatchContext { view: self.fast.view(snapshot, self.catalog.health()), gate: self.gate.for_batch() }
    }

    /// Answers the first `length` bytes of `bytes` in their place. It has to be called within a tokio runtime if upstream
    /// servers may be queried.
    pub(super) fn respond(
        &self,
        batch_context: &BatchContext<'_>,
        bytes: &mut [u8],
        length: usize,
        from: SocketAddr,
        random: u32,
    ) -> DatagramResponse {
        let rejected = batch_context.gate.as_ref().and_then(|gate| gate.reject(from.ip(), bytes, length, random));
        let fast =
            || batch_context.view.as_ref().and_then(|view| self.fast.answer(view, bytes, length, from.ip(), random));
        if let Some(length) = rejected.or_else(fast) {
            return DatagramResponse::InPlace(length);
        }
        match respond(&self.general, &bytes[..length], from, Transport::Udp) {
            ResponseState::Ready(response) => {
                DatagramResponse::InPlace(response.map_or(0, |response| copy_into(bytes, &response)))
            }
            ResponseState::Pending(pending) => DatagramResponse::Pending(pending),
        }
    }

    /// Counts a response that could not be sent.
    pub(super) fn count_unsent(&self) {
        self.fast.count_unsent();
    }

    /// The response to `from` for this datagram; `None` if it gets none, and if it needs upstream servers.
    pub fn respond_to(&self, message: &[u8], from: SocketAddr, random: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let batch_context = self.batch_context(&snapshot);
        let mut buffer = to_buffer(message)?;
        match self.respond(&batch_context, &mut buffer, message.len(), from, random) {
            DatagramResponse::InPlace(length @ 1..) => Some(buffer[..length].to_vec()),
            _ => None,
        }
    }

    /// The response of the fast path alone; `None` if it does not handle the question.
    pub fn respond_fast(&self, message: &[u8], from: SocketAddr, random: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let view = self.fast.view(&snapshot, self.catalog.health())?;
        let mut buffer = to_buffer(message)?;
        let length = self.fast.answer(&view, &mut buffer, message.len(), from.ip(), random)?;
        Some(buffer[..length].to_vec())
    }

    /// The response of the general path alone.
    pub fn respond_general(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        self.general(message, from, Transport::Udp)
    }

    /// The response of the general path to the same message over TCP.
    pub fn respond_as_stream(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        self.general(message, from, Transport::Tcp)
    }

    fn general(&self, message: &[u8], from: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        match respond(&self.general, message, from, transport) {
            ResponseState::Ready(response) => response,
            ResponseState::Pending(_) => None,
        }
    }
}

/// Copies a datagram into a buffer; the bytes behind it are arbitrary.
fn to_buffer(message: &[u8]) -> Option<[u8; BUFFER_LEN]> {
    let mut buffer = [0xee; BUFFER_LEN];
    buffer.get_mut(..message.len())?.copy_from_slice(message);
    Some(buffer)
}

/// Copies a response into the buffer and returns its length; 0 if it exceeds the buffer.
fn copy_into(buffer: &mut [u8], response: &[u8]) -> usize {
    match buffer.get_mut(..response.len()) {
        Some(front) => {
            front.copy_from_slice(response);
            response.len()
        }
        None => 0,
    }
}
