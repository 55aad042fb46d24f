//! The admission check of a datagram before it is read.
//!
//! Owns: the order of the two limits, and which clients over the rate receive a truncated response. Does not own: the
//! limits themselves ([`super::access`], [`super::rate`]).

use super::minimal_response::MinimalResponse;
use super::rate::RateLimiter;
use super::{Access, RateSettings};
use crate::stats::{DnsStats, ThreadCounters};
use std::net::IpAddr;
use std::sync::Arc;

/// One in this many responses over the rate is sent truncated; the others are dropped (BIND's and NSD's number). A real
/// client behind a forged flood retries over TCP at its first or second attempt, and the victim of the flood receives
/// half as many packets as were forged, each no larger than the question.
const SLIP: u32 = 2;

/// The limits with one thread's counters.
#[derive(Debug)]
pub(crate) struct AdmissionGate {
    access: Access,
    rate: Option<Arc<RateLimiter>>,
    payload_max: u16,
    counters: Arc<ThreadCounters>,
}

/// The gate for a batch of datagrams, with one time for all of them.
#[derive(Debug)]
pub(crate) struct BatchGate<'g> {
    gate: &'g AdmissionGate,
    now: u64,
}

impl AdmissionGate {
    /// Creates the gate of one more thread, which has its own counters. All threads share `rate`.
    pub(crate) fn new(access: Access, rate: Option<Arc<RateLimiter>>, payload_max: u16, stats: &DnsStats) -> Self {
        Self { access, rate, payload_max, counters: stats.thread_counters() }
    }

    /// Creates the table that all threads share; `None` if the rate is unlimited.
    pub(crate) fn rate_limiter(settings: &RateSettings) -> Option<Arc<RateLimiter>> {
        RateLimiter::new(settings).map(Arc::new)
    }

    /// Returns the gate for a batch; `None` if there is no limit.
    pub(crate) fn for_batch(&self) -> Option<BatchGate<'_>> {
        let now = self.rate.as_ref().map(|rate| rate.now());
        (now.is_some() || !self.access.is_open()).then(|| BatchGate { gate: self, now: now.unwrap_or_default() })
    }
}

impl BatchGate<'_> {
    /// Returns `None` for an admitted client. For any other client it writes the response into `message` and returns
    /// its length; 0 if there is none.
    pub(crate) fn reject(&self, client: IpAddr, message: &mut [u8], length: usize, random: u32) -> Option<usize> {
        let AdmissionGate { access, rate, payload_max, counters } = self.gate;
        let allowed = access.allows(client);
        // Refusals count as well: they are sent to the same address.
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
