//! From a datagram to its response: who may ask, then what was said before, then the general path.
//!
//! Owns: which path a datagram takes. Does not own: the sockets (`udp` calls this for each datagram),
//! nor what any of the paths says. What the tests and fuzz targets hold against the promises of DNS goes in
//! here too, so that they see what a client sees.

use super::fast::{Fast, Keeper, View};
use super::general::{Later, Said, respond};
use super::handler::Handler;
use super::limit::Rate;
use super::limit::gate::{Gate, Now};
use super::message::Transport;
use super::settings::DnsSettings;
use skyhound_core::catalog::{Catalog, Snapshot};
use std::net::SocketAddr;
use std::sync::Arc;

/// Room for a datagram and for the response in its place: more than any EDNS size in use, and not a multiple
/// of a page, as then the fronts of all buffers would compete for the same cache lines.
pub(super) const ROOM: usize = 4096 + 64;

/// One thread's paths.
#[derive(Debug)]
pub struct Datagrams {
    catalog: Arc<Catalog>,
    fast: Fast,
    general: Handler,
    gate: Gate,
}

/// What a batch of datagrams is answered from: one revision and one moment for all of them.
pub(super) struct Moment<'s> {
    view: Option<View<'s>>,
    gate: Option<Now<'s>>,
}

/// What becomes of a datagram.
pub(super) enum Response {
    /// The response stands in the buffer, so long; 0 for silence.
    Here(usize),
    /// Somebody else has to be asked first.
    Later(Later),
}

impl Datagrams {
    /// For a thread by itself, with counters of its own.
    pub fn new(catalog: Arc<Catalog>, settings: &DnsSettings) -> Self {
        let rate = Gate::rate(&settings.rate);
        let general = Handler::new(Arc::clone(&catalog), settings.clone());
        Self::beside(catalog, settings, Keeper::new(), general, rate)
    }

    /// For one of several threads.
    pub(super) fn beside(
        catalog: Arc<Catalog>,
        settings: &DnsSettings,
        keeper: Keeper,
        general: Handler,
        rate: Option<Arc<Rate>>,
    ) -> Self {
        let stats = general.stats();
        let gate = Gate::new(settings.access.clone(), rate, settings.udp_payload_max, &stats);
        Self { catalog, fast: Fast::new(settings.clone(), keeper, &stats), general, gate }
    }

    /// What is known now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.catalog.snapshot()
    }

    /// To answer a batch from this snapshot.
    pub(super) fn moment<'s>(&'s self, snapshot: &'s Arc<Snapshot>) -> Moment<'s> {
        Moment { view: self.fast.view(snapshot, self.catalog.health()), gate: self.gate.now() }
    }

    /// Answers the first `length` bytes of `bytes` in their place. Call it within a tokio runtime if others may
    /// have to be asked.
    pub(super) fn respond(
        &self,
        moment: &Moment<'_>,
        bytes: &mut [u8],
        length: usize,
        from: SocketAddr,
        random: u32,
    ) -> Response {
        let turned = moment.gate.as_ref().and_then(|gate| gate.turn_away(from.ip(), bytes, length, random));
        let fast = || moment.view.as_ref().and_then(|view| self.fast.answer(view, bytes, length, from.ip(), random));
        if let Some(here) = turned.or_else(fast) {
            return Response::Here(here);
        }
        match respond(&self.general, &bytes[..length], from, Transport::Udp) {
            Said::Now(response) => Response::Here(response.map_or(0, |response| place(bytes, &response))),
            Said::Later(later) => Response::Later(later),
        }
    }

    /// Counts a response that could not be sent.
    pub(super) fn was_unsent(&self) {
        self.fast.was_unsent();
    }

    /// What is sent to `from` for this datagram; `None` for silence, and for what others have to be asked.
    pub fn say(&self, message: &[u8], from: SocketAddr, random: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let moment = self.moment(&snapshot);
        let mut buffer = in_buffer(message)?;
        match self.respond(&moment, &mut buffer, message.len(), from, random) {
            Response::Here(length @ 1..) => Some(buffer[..length].to_vec()),
            _ => None,
        }
    }

    /// The same by the fast path alone, if it takes the question.
    pub fn say_fast(&self, message: &[u8], from: SocketAddr, random: u32) -> Option<Vec<u8>> {
        let snapshot = self.snapshot();
        let view = self.fast.view(&snapshot, self.catalog.health())?;
        let mut buffer = in_buffer(message)?;
        let length = self.fast.answer(&view, &mut buffer, message.len(), from.ip(), random)?;
        Some(buffer[..length].to_vec())
    }

    /// The same by the general path alone.
    pub fn say_general(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        self.general(message, from, Transport::Udp)
    }

    /// What would be said to it over a stream.
    pub fn say_streamed(&self, message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        self.general(message, from, Transport::Tcp)
    }

    fn general(&self, message: &[u8], from: SocketAddr, over: Transport) -> Option<Vec<u8>> {
        match respond(&self.general, message, from, over) {
            Said::Now(response) => response,
            Said::Later(_) => None,
        }
    }
}

/// A datagram as it lies in a buffer; what is behind it is not to be relied on.
fn in_buffer(message: &[u8]) -> Option<[u8; ROOM]> {
    let mut buffer = [0xee; ROOM];
    buffer.get_mut(..message.len())?.copy_from_slice(message);
    Some(buffer)
}

/// Puts a response into the buffer; 0 when it is larger than any datagram of ours.
fn place(buffer: &mut [u8], response: &[u8]) -> usize {
    match buffer.get_mut(..response.len()) {
        Some(room) => {
            room.copy_from_slice(response);
            response.len()
        }
        None => 0,
    }
}
