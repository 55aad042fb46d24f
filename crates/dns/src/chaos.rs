//! Class CH: questions about the server itself (RFC 4892, and BIND's older names for the same).

use super::negative;
use super::response::{ExtendedError, Question, Response};
use super::settings::DnsSettings;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

/// The text of `version.bind` and `version.server`.
const VERSION: &str = concat!("skyhound ", env!("CARGO_PKG_VERSION"));
/// The text of `authors.bind`.
const AUTHORS: &str = concat!("the authors of skyhound, ", env!("CARGO_PKG_REPOSITORY"));

/// The answer: one string with TTL 0, because the next answer may come from another server of the same address.
pub(super) fn answer(settings: &DnsSettings, question: &Question) -> Response {
    let name = question.tree_name.to_string();
    let text = match (name.as_str(), question.qtype) {
        (_, qtype) if qtype != RecordType::TXT => None,
        ("version.bind." | "version.server.", _) => Some(VERSION),
        ("hostname.bind." | "id.server.", _) => Some(settings.server_id.as_str()),
        ("authors.bind.", _) => Some(AUTHORS),
        _ => None,
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return negative::refused(ExtendedError::NotSupported);
    };
    // A TXT string has at most 255 bytes; a host name is shorter (RFC 1035 section 2.3.4).
    let data = RData::TXT(TXT::from_bytes(vec![&text.as_bytes()[..text.len().min(255)]]));
    let mut record = Record::from_rdata(question.name.clone(), 0, data);
    record.dns_class = DNSClass::CH;
    Response { authoritative: true, answers: vec![record], ..Response::default() }
}
