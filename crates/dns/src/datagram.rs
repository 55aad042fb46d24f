//! From a datagram to its response: who may ask, then what was said before, then the general path.
//!
//! Owns: which path a datagram takes. Does not own: the sockets (`udp` calls this for each datagram),
//! nor what any of the paths says. What the tests and fuzz targets hold against the promises of DNS goes in
//! here too, so that they see what a client sees.

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

/// Room for a datagram and for the response in its place: more than any EDNS size in use, and not a multiple
/// of a page, as then the fronts of all buffers would compete for the same cache lines.
pub(super) const BUFFER_LEN: usize = 4096 + 64;

/// One thread's paths.
#[derive(Debug)]
pub struct DatagramHandler {
    catalog: Arc<Catalog>,
    fast: FastPath,
    general: Handler,
    gate: AdmissionGate,
}

/// What a batch of datagrams is answered from: one revision and one moment for all of them.
pub(super) struct BatchContext<'s> {
    view: Option<SnapshotView<'s>>,
    gate: Option<BatchGate<'s>>,
}

/// What becomes of a datagram.
pub(super) enum DatagramResponse {
    /// The response stands in the buffer, so long; 0 for silence.
    InPlace(usize),
    /// Somebody else has to be asked first.
    Pending(PendingResponse),
}

impl DatagramHandler {
    /// For a thread by itself, with counters of its own.
    pub fn new(catalog: Arc<Catalog>, settings: &DnsSettings) -> Self {
        let rate = AdmissionGate::rate_limiter(&settings.rate);
        let general = Handler::new(Arc::clone(&catalog), settings.clone());
        Self::for_thread(catalog, settings, CacheId::new(), general, rate)
    }

    /// For one of several threads.
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

    /// What is known now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.snapshot()
    }

    /// To answer a batch from this snapshot.
    pub(super) fn batch_context<'s>(&'s self, snapshot: &'s Arc<Snapshot>) -> BatchContext<'s> {
        BatchContext { view: self.fast.view(snapshot, self.catalog.health()), gate: self.gate.for_batch() }
    }

    /// Answers the first `length` bytes of `bytes` in their place. Call it within a tokio runtime if others may
    /// have to be asked.
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

    /// What is sent to `from` for this datagram; `None` for silence, and for what others have to be asked.
    pub fn respond_to(&self, message: &[u8], from: SocketAddr, random: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let batch_context = self.batch_context(&snapshot);
        let mut buffer = to_buffer(message)?;
        match self.respond(&batch_context, &mut buffer, message.len(), from, random) {
            DatagramResponse::InPlace(length @ 1..) => Some(buffer[..length].to_vec()),
            _ => None,
        }
    }

    /// The same by the fast path alone, if it takes the question.
    pub fn respond_fast(&self, message: &[u8], from: SocketAddr, random: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let view = self.fast.view(&snapshot, self.catalog.health())?;
        let mut buffer = to_buffer(message)?;
        let length = self.fast.answer(&view, &mut buffer, message.len(), from.ip(), random)?;
        Some(buffer[..length].to_vec())
    }

    /// The same by the general path alone.
    pub fn respond_general(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        self.general(message, from, Transport::Udp)
    }

    /// What would be said to it over a stream.
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

/// A datagram as it lies in a buffer; what is behind it is not to be relied on.
fn to_buffer(message: &[u8]) -> Option<[u8; BUFFER_LEN]> {
    let mut buffer = [0xee; BUFFER_LEN];
    buffer.get_mut(..message.len())?.copy_from_slice(message);
    Some(buffer)
}

/// Puts a response into the buffer; 0 when it is larger than any datagram of ours.
fn copy_into(buffer: &mut [u8], response: &[u8]) -> usize {
    match buffer.get_mut(..response.len()) {
        Some(room) => {
            room.copy_from_slice(response);
            response.len()
        }
        None => 0,
    }
}
