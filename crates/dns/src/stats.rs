//! Counters of DNS requests, responses and connections.
//!
//! Owns: plain atomics. Does not own: their names in metrics (`metrics`).

use super::close_reason::CloseReason;
use super::message::Transport;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The types with a counter of their own; all others are `other`.
pub const TYPES: [(&str, Option<RecordType>); 8] = [
    ("A", Some(RecordType::A)),
    ("AAAA", Some(RecordType::AAAA)),
    ("SRV", Some(RecordType::SRV)),
    ("TXT", Some(RecordType::TXT)),
    ("SOA", Some(RecordType::SOA)),
    ("NS", Some(RecordType::NS)),
    ("CNAME", Some(RecordType::CNAME)),
    ("other", None),
];
/// The rcodes with a counter of their own; all others are `other`.
pub const RCODES: [(&str, Option<ResponseCode>); 8] = [
    ("NOERROR", Some(ResponseCode::NoError)),
    ("FORMERR", Some(ResponseCode::FormErr)),
    ("SERVFAIL", Some(ResponseCode::ServFail)),
    ("NXDOMAIN", Some(ResponseCode::NXDomain)),
    ("NOTIMP", Some(ResponseCode::NotImp)),
    ("REFUSED", Some(ResponseCode::Refused)),
    ("BADVERS", Some(ResponseCode::BADVERS)),
    ("other", None),
];

/// The counts since the start. They are cheap to read at any time, and not of one instant.
///
/// Counters that many threads add to exist once for each thread: one counter for all would be one cache line that every
/// response takes away from the other cores.
#[derive(Debug, Default)]
pub struct DnsStats {
    shared: ThreadCounters,
    per_thread: Mutex<Vec<Arc<ThreadCounters>>>,
    /// The requests by transport, except those over UDP.
    by_transport: [AtomicU64; Transport::ALL.len()],
    subset: AtomicU64,
    signatures: AtomicU64,
    streams: StreamStats,
}

/// The counts of connections.
#[derive(Debug, Default)]
pub struct StreamStats {
    open: AtomicU64,
    ended: [AtomicU64; CloseReason::ALL.len()],
    paused: AtomicU64,
}

impl StreamStats {
    /// The number of open connections.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// The connections that ended, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseReason::ALL.into_iter().map(|reason| (reason.as_str(), self.ended_by(reason)))
    }

    /// The connections that ended for one reason.
    pub fn ended_by(&self, reason: CloseReason) -> u64 {
        self.ended[reason as usize].load(Relaxed)
    }

    /// The number of times that a connection was not read for a while because it was at its limit of open questions or
    /// unsent bytes.
    pub fn paused(&self) -> u64 {
        self.paused.load(Relaxed)
    }

    pub(super) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        self.open.fetch_sub(1, Relaxed);
        self.refused(reason);
    }

    /// Counts a connection that was closed before it was open.
    pub(super) fn refused(&self, reason: CloseReason) {
        self.ended[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_paused(&self) {
        self.paused.fetch_add(1, Relaxed);
    }
}

/// The counters that one thread adds to, padded to two cache lines of their own (processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct ThreadCounters {
    types: [AtomicU64; TYPES.len()],
    rcodes: [AtomicU64; RCODES.len()],
    udp: AtomicU64,
    truncated: AtomicU64,
    stale: AtomicU64,
    unsent: AtomicU64,
    denied: AtomicU64,
    slipped: AtomicU64,
    dropped: AtomicU64,
}

impl DnsStats {
    /// The questions by type, in the order of [`TYPES`].
    pub fn types(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TYPES.iter().enumerate().map(|(at, (name, _))| (*name, self.sum(|counters| &counters.types[at])))
    }

    /// The responses by rcode, in the order of [`RCODES`].
    pub fn rcodes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RCODES.iter().enumerate().map(|(at, (name, _))| (*name, self.sum(|counters| &counters.rcodes[at])))
    }

    /// The requests over UDP.
    pub fn udp(&self) -> u64 {
        self.sum(|counters| &counters.udp)
    }

    /// The requests by transport.
    pub fn transports(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Transport::ALL.into_iter().map(|transport| (transport.as_str(), self.by_transport(transport)))
    }

    /// The requests over one transport.
    pub fn by_transport(&self, transport: Transport) -> u64 {
        match transport {
            Transport::Udp => self.udp(),
            other => self.by_transport[other as usize].load(Relaxed),
        }
    }

    /// The counts of connections over TCP and TLS.
    pub fn streams(&self) -> &StreamStats {
        &self.streams
    }

    /// The truncated responses over UDP, with TC set.
    pub fn truncated(&self) -> u64 {
        self.sum(|counters| &counters.truncated)
    }

    /// The responses over other transports that hold a part of the records, because 65,535 bytes do not hold all.
    pub fn subset(&self) -> u64 {
        self.subset.load(Relaxed)
    }

    /// The signatures made. Reused signatures do not count.
    pub fn signatures(&self) -> u64 {
        self.signatures.load(Relaxed)
    }

    /// The responses sent while the store was unavailable.
    pub fn stale(&self) -> u64 {
        self.sum(|counters| &counters.stale)
    }

    /// The responses that the socket did not accept: its queue was full or the peer was unreachable.
    pub fn unsent(&self) -> u64 {
        self.sum(|counters| &counters.unsent)
    }

    /// The refused requests of clients without permission to query.
    pub fn denied(&self) -> u64 {
        self.sum(|counters| &counters.denied)
    }

    /// The requests of networks beyond their rate that got a truncated response, so that the client uses TCP.
    pub fn slipped(&self) -> u64 {
        self.sum(|counters| &counters.slipped)
    }

    /// The requests of networks beyond their rate that got no response.
    pub fn dropped(&self) -> u64 {
        self.sum(|counters| &counters.dropped)
    }

    /// Adds counters for one thread, which are part of every sum from then on.
    pub(super) fn thread_counters(&self) -> Arc<ThreadCounters> {
        let counters = Arc::<ThreadCounters>::default();
        self.per_thread.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    fn sum(&self, of: impl Fn(&ThreadCounters) -> &AtomicU64) -> u64 {
        let per_thread = self.per_thread.lock().unwrap_or_else(PoisonError::into_inner);
        per_thread.iter().map(AsRef::as_ref).chain([&self.shared]).map(|counters| of(counters).load(Relaxed)).sum()
    }

    pub(super) fn count_request(&self, qtype: Option<RecordType>, transport: Transport) {
        let at = TYPES.iter().position(|(_, counted)| *counted == qtype).unwrap_or(TYPES.len() - 1);
        self.shared.types[at].fetch_add(1, Relaxed);
        match transport {
            Transport::Udp => &self.shared.udp,
            other => &self.by_transport[other as usize],
        }
        .fetch_add(1, Relaxed);
    }

    pub(super) fn count_response(&self, rcode: ResponseCode) {
        let at = RCODES.iter().position(|(_, counted)| *counted == Some(rcode)).unwrap_or(RCODES.len() - 1);
        self.shared.rcodes[at].fetch_add(1, Relaxed);
    }

    /// Counts a malformed message and its FORMERR.
    pub(super) fn count_malformed(&self, transport: Transport) {
        self.count_request(None, transport);
        self.count_response(ResponseCode::FormErr);
    }

    pub(super) fn count_truncated(&self) {
        self.shared.truncated.fetch_add(1, Relaxed);
    }

    pub(super) fn count_subset(&self) {
        self.subset.fetch_add(1, Relaxed);
    }

    pub(super) fn count_signature(&self) {
        self.signatures.fetch_add(1, Relaxed);
    }

    pub(super) fn count_stale(&self) {
        self.shared.stale.fetch_add(1, Relaxed);
    }

    pub(super) fn count_denied(&self) {
        self.shared.denied.fetch_add(1, Relaxed);
    }
}

impl ThreadCounters {
    /// Counts a response over UDP. `qtype` and `rcode` are indices in [`TYPES`] and [`RCODES`].
    pub(super) fn answered(&self, qtype: usize, rcode: usize, truncated: bool) {
        add(&self.types[qtype]);
        add(&self.rcodes[rcode]);
        add(&self.udp);
        if truncated {
            add(&self.truncated);
        }
    }

    /// Counts a request over UDP of a client without permission. It is not parsed, so that its type is unknown.
    pub(super) fn count_denied(&self) {
        add(&self.denied);
        let refused = RCODES.iter().position(|(_, counted)| *counted == Some(ResponseCode::Refused));
        self.answered(TYPES.len() - 1, refused.unwrap_or(RCODES.len() - 1), false);
    }

    /// Counts a request over UDP of a network beyond its rate, which no other counter includes.
    pub(super) fn count_limited(&self, slipped: bool) {
        add(if slipped { &self.slipped } else { &self.dropped });
    }

    pub(super) fn count_unsent(&self) {
        add(&self.unsent);
    }
}

/// Adds one. Only the thread of the counters writes, so that no locked instruction is needed.
fn add(count: &AtomicU64) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncounted_types_and_rcodes_count_as_other() {
        let stats = DnsStats::default();
        stats.count_request(Some(RecordType::SRV), Transport::Udp);
        stats.count_request(Some(RecordType::MX), Transport::Tls);
        stats.count_request(None, Transport::Udp);
        stats.count_response(ResponseCode::YXDomain);
        let count = |mut counts: Box<dyn Iterator<Item = (&'static str, u64)> + '_>, name| {
            counts.find(|(counted, _)| *counted == name).unwrap().1
        };
        assert_eq!(count(Box::new(stats.types()), "SRV"), 1);
        assert_eq!(count(Box::new(stats.types()), "other"), 2);
        assert_eq!(count(Box::new(stats.rcodes()), "other"), 1);
        assert_eq!((stats.udp(), stats.by_transport(Transport::Tls), stats.by_transport(Transport::Tcp)), (2, 1, 0));
        stats.thread_counters().answered(2, 0, true);
        stats.thread_counters().answered(2, 0, false);
        assert_eq!(count(Box::new(stats.types()), "SRV"), 3);
        assert_eq!((stats.udp(), stats.truncated()), (4, 1), "the sum over all threads");
    }
}
