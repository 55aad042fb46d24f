//! What a thread that answers over UDP asks before it reads a datagram.
//!
//! Owns: the order of the two limits, and which of those over the rate are told to come over TCP.

use super::rate::Rate;
use super::short::Short;
use super::{Access, RateSettings};
use crate::stats::{DnsStats, Lane};
use std::net::IpAddr;
use std::sync::Arc;

/// Of the answers over the rate one in so many is a truncated one, and the others are dropped (BIND's and
/// NSD's number): a real client behind a forged flood comes back over TCP at its first or second try, and who
/// is flooded gets half as many packets as were forged, each no larger than the question.
const SLIP: u32 = 2;

/// The limits as one thread keeps them.
#[derive(Debug)]
pub(crate) struct Gate {
    access: Access,
    rate: Option<Arc<Rate>>,
    payload_max: u16,
    lane: Arc<Lane>,
}

/// The gate for a batch of datagrams.
#[derive(Debug)]
pub(crate) struct Now<'g> {
    gate: &'g Gate,
    now: u64,
}

impl Gate {
    /// For one more thread, which counts in a lane of its own. All threads share `rate`.
    pub(crate) fn new(access: Access, rate: Option<Arc<Rate>>, payload_max: u16, stats: &DnsStats) -> Self {
        Self { access, rate, payload_max, lane: stats.lane() }
    }

    /// The table that all threads share; none when nobody is limited.
    pub(crate) fn rate(settings: &RateSettings) -> Option<Arc<Rate>> {
        Rate::new(settings).map(Arc::new)
    }

    /// What a batch has to pass; `None` when there is no limit.
    pub(crate) fn now(&self) -> Option<Now<'_>> {
        let now = self.rate.as_ref().map(|rate| rate.now());
        (now.is_some() || !self.access.is_open()).then(|| Now { gate: self, now: now.unwrap_or_default() })
    }
}

impl Now<'_> {
    /// `None` for a client that is to be answered. Anybody else gets the response that now stands in `message`,
    /// so long; 0 for silence.
    pub(crate) fn turn_away(&self, client: IpAddr, message: &mut [u8], length: usize, random: u32) -> Option<usize> {
        let Gate { access, rate, payload_max, lane } = self.gate;
        let may_ask = access.may_ask(client);
        // Refusals count as well: they go to the same address.
        if rate.as_ref().is_some_and(|rate| !rate.admits(client, self.now)) {
            let slips = may_ask && random.is_multiple_of(SLIP);
            lane.was_limited(slips);
            return Some(if slips { Short::Truncated.answer(message, length, *payload_max) } else { 0 });
        }
        if may_ask {
            return None;
        }
        lane.was_denied();
        Some(Short::Refused.answer(message, length, *payload_max))
    }
}
