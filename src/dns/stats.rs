//! Counters of what DNS was asked and said. Plain atomics: the metrics module exports them under its names.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Types that are counted by themselves; all others are `other`.
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
/// Rcodes that are counted by themselves; all others are `other`.
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

/// Counts since the start. Cheap to read at any time; the counts are not of one instant.
#[derive(Debug, Default)]
pub struct DnsStats {
    types: [AtomicU64; TYPES.len()],
    rcodes: [AtomicU64; RCODES.len()],
    udp: AtomicU64,
    tcp: AtomicU64,
    truncated: AtomicU64,
    subset: AtomicU64,
    stale: AtomicU64,
    unsent: AtomicU64,
}

impl DnsStats {
    /// Questions by type, in the order of [`TYPES`].
    pub fn types(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TYPES.iter().zip(&self.types).map(|((name, _), count)| (*name, count.load(Relaxed)))
    }

    /// Answers by rcode, in the order of [`RCODES`].
    pub fn rcodes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RCODES.iter().zip(&self.rcodes).map(|((name, _), count)| (*name, count.load(Relaxed)))
    }

    /// Requests over UDP.
    pub fn udp(&self) -> u64 {
        self.udp.load(Relaxed)
    }

    /// Requests over TCP.
    pub fn tcp(&self) -> u64 {
        self.tcp.load(Relaxed)
    }

    /// UDP answers that were cut, with TC set.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Relaxed)
    }

    /// TCP answers that hold a part of the records, because 65,535 bytes do not hold them all.
    pub fn subset(&self) -> u64 {
        self.subset.load(Relaxed)
    }

    /// Answers given while the store was away.
    pub fn stale(&self) -> u64 {
        self.stale.load(Relaxed)
    }

    /// Answers that could not be handed to the socket: its queue was full or the peer is gone.
    pub fn unsent(&self) -> u64 {
        self.unsent.load(Relaxed)
    }

    pub(super) fn asked(&self, qtype: Option<RecordType>, udp: bool) {
        let at = TYPES.iter().position(|(_, counted)| *counted == qtype).unwrap_or(TYPES.len() - 1);
        self.types[at].fetch_add(1, Relaxed);
        if udp { &self.udp } else { &self.tcp }.fetch_add(1, Relaxed);
    }

    pub(super) fn said(&self, rcode: ResponseCode) {
        let at = RCODES.iter().position(|(_, counted)| *counted == Some(rcode)).unwrap_or(RCODES.len() - 1);
        self.rcodes[at].fetch_add(1, Relaxed);
    }

    pub(super) fn was_truncated(&self) {
        self.truncated.fetch_add(1, Relaxed);
    }

    pub(super) fn was_subset(&self) {
        self.subset.fetch_add(1, Relaxed);
    }

    pub(super) fn was_stale(&self) {
        self.stale.fetch_add(1, Relaxed);
    }

    pub(super) fn was_unsent(&self) {
        self.unsent.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_counter_of_its_own_is_other() {
        let stats = DnsStats::default();
        stats.asked(Some(RecordType::SRV), true);
        stats.asked(Some(RecordType::MX), false);
        stats.asked(None, true);
        stats.said(ResponseCode::YXDomain);
        let count = |mut counts: Box<dyn Iterator<Item = (&'static str, u64)> + '_>, name| {
            counts.find(|(counted, _)| *counted == name).unwrap().1
        };
        assert_eq!(count(Box::new(stats.types()), "SRV"), 1);
        assert_eq!(count(Box::new(stats.types()), "other"), 2);
        assert_eq!(count(Box::new(stats.rcodes()), "other"), 1);
        assert_eq!((stats.udp(), stats.tcp()), (2, 1));
    }
}
