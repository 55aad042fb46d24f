//! What a thread that answers over UDP asks before it reads a datagram.
//!
//! Owns: the order of the two limits, and which of those over the rate are told to come over TCP.

use super::minimal_response::MinimalResponse;
use super::rate::RateLimiter;
use super::{Access, RateSettings};
use crate::stats::{DnsStats, ThreadCounters};
use std::net::IpAddr;
use std::sync::Arc;

/// Of the answers over the rate one in so many is a truncated one, and the others are dropped (BIND's and
/// NSD's number): a real client behind a forged flood comes back over TCP at its first or second try, and who
/// is flooded gets half as many packets as were forged, each no larger than the question.
const SLIP: u32 = 2;

/// The limits as one thread keeps them.
#[derive(Debug)]
pub(crate) struct AdmissionGate {
    access: Access,
    rate: Option<Arc<RateLimiter>>,
    payload_max: u16,
    counters: Arc<ThreadCounters>,
}

/// The gate for a batch of datagrams.
#[derive(Debug)]
pub(crate) struct BatchGate<'g> {
    gate: &'g AdmissionGate,
    now: u64,
}

impl AdmissionGate {
    /// For one more thread, which counts in a lane of its own. All threads share `rate`.
    pub(crate) fn new(access: Access, rate: Option<Arc<RateLimiter>>, payload_max: u16, stats: &DnsStats) -> Self {
        Self { access, rate, payload_max, counters: stats.thread_counters() }
    }

    /// The table that all threads share; none when nobody is limited.
    pub(crate) fn rate_limiter(settings: &RateSettings) -> Option<Arc<RateLimiter>> {
        RateLimiter::new(settings).map(Arc::new)
    }

    /// What a batch has to pass; `None` when there is no limit.
    pub(crate) fn for_batch(&self) -> Option<BatchGate<'_>> {
        let now = self.rate.as_ref().map(|rate| rate.now());
        (now.is_some() || !self.access.is_open()).then(|| BatchGate { gate: self, now: now.unwrap_or_default() })
    }
}

impl BatchGate<'_> {
    /// `None` for a client that is to be answered. Anybody else gets the response that now stands in `message`,
    /// so long; 0 for silence.
    pub(crate) fn reject(&self, client: IpAddr, message: &mut [u8], length: usize, random: u32) -> Option<usize> {
        let AdmissionGate { access, rate, payload_max, counters } = self.gate;
        let allowed = access.allows(client);
        // Refusals count as well: they go to the same address.
        if rate.as_ref().is_some_and(|rate| !rate.admits(client, self.now)) {
            let slips = allowed && random.is_multiple_of(SLIP);
            counters.count_limited(slips);
            return Some(if slips { MinimalResponse::Truncated.answer(message, length, *payload_max) } else { 0 });
        }
        if allowed {
            return None;
        }
        counters.count_denied();
        Some(MinimalResponse::Refused.answer(message, length, *payload_max))
    }
}
