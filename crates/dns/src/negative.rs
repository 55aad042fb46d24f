//! Negative responses and refusals, and the SOA that limits how long they are cached.
//!
//! Owns: every rcode but a plain success, and the SOA record. A refusal never reads the catalog.

use super::response::{ExtendedError, Question, Response};
use super::settings::DnsSettings;
use super::wire;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use skyhound_core::catalog::Snapshot;
use skyhound_model::{Label, Name};

/// The refresh, retry and expiry times for secondaries (`CoreDNS`' numbers). There are none: transfers are refused.
const REFRESH_S: i32 = 7200;
const RETRY_S: i32 = 1800;
const EXPIRE_S: i32 = 86_400;

/// The response to a question that is refused by its class or type.
pub(super) fn refusal(question: &Question) -> Option<Response> {
    // CH is answered elsewhere (`chaos`); no other class has data, ANY included.
    if question.class != DNSClass::IN {
        return Some(refused(ExtendedError::NotSupported));
    }
    match question.qtype {
        // Refused rather than HINFO (RFC 8482 section 4.2), which a resolver would cache as a record of the
        // name and which asserts a name that may not exist. SkyDNS does the same. Every single type is cheap to
        // query; "all" over a subtree is a large answer to a small forged question.
        RecordType::ANY => Some(refused(ExtendedError::NotSupported)),
        // Zone transfers are not supported (RFC 5936 section 2.2.1).
        RecordType::AXFR | RecordType::IXFR => Some(refused(ExtendedError::Prohibited)),
        // OPT belongs in the additional section (RFC 6891 section 6.1.1).
        RecordType::OPT => Some(Response::empty(ResponseCode::FormErr, None)),
        _ => None,
    }
}

/// REFUSED: no zone of this server holds the name.
pub(super) fn not_authoritative() -> Response {
    refused(ExtendedError::NotAuthoritative)
}

/// REFUSED with its reason.
pub(super) fn refused(extended_error: ExtendedError) -> Response {
    Response::empty(ResponseCode::Refused, Some(extended_error))
}

/// SERVFAIL: the store was never read. An unknown name is not a missing one, and SERVFAIL is not cached for long
/// (RFC 2308 section 7.1).
pub(super) fn not_ready() -> Response {
    Response::empty(ResponseCode::ServFail, Some(ExtendedError::NotReady))
}

/// SERVFAIL: the name has only unreadable values. Something is registered, so that NXDOMAIN would be false.
pub(super) fn quarantined() -> Response {
    Response::empty(ResponseCode::ServFail, Some(ExtendedError::InvalidData))
}

/// NXDOMAIN: nothing is at the name or below it.
pub(super) fn nxdomain(soa: Record) -> Response {
    Response { authoritative: true, authority: vec![soa], ..Response::empty(ResponseCode::NXDomain, None) }
}

/// NODATA: something is at the name or below it, but nothing of that type (RFC 2308 section 2.2).
pub(super) fn nodata(soa: Record) -> Response {
    Response { authoritative: true, authority: vec![soa], ..Response::empty(ResponseCode::NoError, None) }
}

/// The SOA of a zone. Its owner repeats the case of the question.
pub(super) fn soa(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, qname: &WireName) -> Record {
    let below = |labels: &[&[u8]]| {
        // The labels are constants within the limits; a zone too long for them is named itself.
        let longer = labels.iter().try_fold(zone.clone(), |name, label| name.child(Label::new(label)?));
        wire::from_labels(longer.as_ref().unwrap_or(zone).labels().iter())
    };
    let hostmaster = match &settings.hostmaster {
        Some(name) => wire::from_labels(name.labels().iter()),
        None => below(&[b"hostmaster"]),
    };
    let ttl = settings.negative_ttl_s;
    let soa = SOA::new(below(&[b"dns", b"ns"]), hostmaster, serial(snapshot), REFRESH_S, RETRY_S, EXPIRE_S, ttl);
    // Both the TTL and MINIMUM, as the smaller of the two counts (RFC 2308 section 5).
    Record::from_rdata(qname.trim_to(zone.labels().len()), ttl, RData::SOA(soa))
}

/// The serial: the store's revision, which grows with every change; modulo 2³² it still does in the arithmetic of
/// serials (RFC 1982). Some tools take 0 for "no zone".
fn serial(snapshot: &Snapshot) -> u32 {
    let low = u32::try_from(snapshot.revision().0 & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    low.max(1)
}
