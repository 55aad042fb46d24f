//! The comparison of an answer with its case. Sections compare as sets, unless the case says otherwise; what a
//! record leaves out is free.

use crate::conformance::vectors::{Case, Rr};
use hickory_proto::dnssec::PublicKey;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use std::fmt::Write;
use std::net::IpAddr;

/// The differences of a response from its case; empty without one. `first` is the response over UDP, if there is one.
pub fn differences(case: &Case, response: &Message, first: Option<&Message>) -> String {
    let mut wrong = String::new();
    let mut report = |text: String| write!(wrong, "{}{text}", if wrong.is_empty() { "" } else { "; " }).unwrap();
    let rcode = rcode(response.metadata.response_code);
    if rcode != case.rcode && !case.accept_rcodes.iter().any(|fine| *fine == rcode) {
        report(format!("{rcode} instead of {}", case.rcode));
    }
    if let (Some(expected), Some(first)) = (case.tc, first)
        && first.metadata.truncation != expected
    {
        report(format!("TC over UDP is {}", first.metadata.truncation));
    }
    for (flag, expected) in &case.flags {
        if self::flag(response, flag) != *expected {
            report(format!("flag {flag} is not {expected}"));
        }
    }
    if case.compare.as_deref() == Some("header") {
        return wrong;
    }
    let sections = [
        ("answer", &case.answer, &response.answers),
        ("authority", &case.authority, &response.authorities),
        ("additional", &case.additional, &response.additionals),
    ];
    for (name, expected, got) in sections {
        if let Some(expected) = expected {
            let ordered = case.order_matters && name != "authority";
            section(name, expected, got, ordered, case.exact_count, &mut report);
        }
        if case.count.get(name).is_some_and(|count| got.len() != *count)
            || case.min_count.get(name).is_some_and(|least| got.len() < *least)
        {
            report(format!("{name} has {} records", got.len()));
        }
    }
    if case.echo_case {
        let asked = |record: &&Record| record.name.to_ascii().eq_ignore_ascii_case(&case.qname);
        for record in response.answers.iter().filter(asked).filter(|record| record.name.to_ascii() != case.qname) {
            report(format!("owner {} instead of {}", record.name, case.qname));
        }
    }
    wrong
}

fn section(
    name: &str,
    expected: &[Rr],
    got: &[Record],
    ordered: bool,
    exact_count: bool,
    report: &mut impl FnMut(String),
) {
    let got: Vec<_> = got.iter().filter(|record| record.record_type() != RecordType::OPT).collect();
    let shown = || got.iter().take(8).map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data));
    if ordered {
        if expected.len() != got.len() || !expected.iter().zip(&got).all(|(e, g)| is(e, g)) {
            report(format!("{name} is {:?}", shown().collect::<Vec<_>>()));
        }
        return;
    }
    let missing: Vec<_> = expected.iter().filter(|e| !got.iter().any(|g| is(e, g))).collect();
    let extra = got.iter().any(|g| !expected.iter().any(|e| is(e, g)));
    if !missing.is_empty() || extra || (exact_count && expected.len() != got.len()) {
        let missing: Vec<_> = missing.iter().take(3).collect();
        report(format!("{name} lacks {missing:?}, has {:?}", shown().collect::<Vec<_>>()));
    }
}

fn is(expected: &Rr, got: &Record) -> bool {
    let rtype = got.record_type().to_string();
    if rtype != expected.rtype {
        return false;
    }
    let name = expected.name == "*" || got.name.to_ascii().eq_ignore_ascii_case(&expected.name);
    let ttl = expected.ttl.is_none_or(|ttl| ttl == got.ttl)
        && expected.ttl_range.is_none_or(|(from, to)| (from..=to).contains(&got.ttl));
    let data = match expected.rdata.as_deref() {
        None | Some("*") => true,
        Some(text) => canonical(&rtype, text) == of(&got.data),
    };
    name && ttl && data && expected.fields.iter().all(|(f, value)| field(&got.data, f, value))
}

/// Single fields, where the rest of a record is free.
fn field(data: &RData, name: &str, value: &serde_json::Value) -> bool {
    let text = match (data, name) {
        (RData::SOA(soa), "mname") => soa.mname.to_ascii().to_lowercase(),
        (RData::SOA(soa), "rname") => soa.rname.to_ascii().to_lowercase(),
        (RData::SRV(srv), "priority") => srv.priority.to_string(),
        (RData::SRV(srv), "weight") => srv.weight.to_string(),
        (RData::SRV(srv), "port") => srv.port.to_string(),
        (RData::DNSSEC(data), _) => match signed_field(data, name) {
            Some(text) => text,
            None => return false,
        },
        _ => return false,
    };
    value.as_str().map_or_else(|| value.to_string(), str::to_lowercase) == text
}

/// The same of the records of DNSSEC. Lists are as JSON writes them.
fn signed_field(data: &DNSSECRData, name: &str) -> Option<String> {
    Some(match (data, name) {
        (DNSSECRData::DNSKEY(key), "flags") => key.flags().to_string(),
        // There is no other (RFC 4034 section 2.1.2), and hickory reads no other.
        (DNSSECRData::DNSKEY(_), "protocol") => "3".to_owned(),
        (DNSSECRData::DNSKEY(key), "algorithm") => u8::from(key.public_key().algorithm()).to_string(),
        (DNSSECRData::RRSIG(sig), "type_covered") => sig.input().type_covered.to_string().to_lowercase(),
        (DNSSECRData::RRSIG(sig), "algorithm") => u8::from(sig.input().algorithm).to_string(),
        (DNSSECRData::RRSIG(sig), "labels") => sig.input().num_labels.to_string(),
        (DNSSECRData::RRSIG(sig), "original_ttl") => sig.input().original_ttl.to_string(),
        (DNSSECRData::RRSIG(sig), "key_tag") => sig.input().key_tag.to_string(),
        (DNSSECRData::RRSIG(sig), "signer") => sig.input().signer_name.to_ascii().to_lowercase(),
        (DNSSECRData::NSEC3(nsec3), "algorithm") => u8::from(nsec3.hash_algorithm()).to_string(),
        (DNSSECRData::NSEC3(nsec3), "flags") => nsec3.flags().to_string(),
        (DNSSECRData::NSEC3(nsec3), "iterations") => nsec3.iterations().to_string(),
        (DNSSECRData::NSEC3(nsec3), "next") => {
            data_encoding::BASE32_DNSSEC.encode(nsec3.next_hashed_owner_name()).to_lowercase()
        }
        (DNSSECRData::NSEC3(nsec3), "types") => {
            serde_json::to_string(&nsec3.type_bit_maps().map(|rtype| rtype.to_string()).collect::<Vec<_>>()).ok()?
        }
        _ => return None,
    })
}

/// Data in presentation form, as something that equal data have in common.
fn canonical(rtype: &str, text: &str) -> String {
    match rtype {
        "A" | "AAAA" => text.parse::<IpAddr>().unwrap().to_string(),
        "TXT" => format!("{:?}", strings(text)),
        _ => text.to_lowercase(),
    }
}

fn of(data: &RData) -> String {
    match data {
        RData::TXT(txt) => format!("{:?}", txt.txt_data.iter().map(|s| s.to_vec()).collect::<Vec<_>>()),
        RData::A(addr) => addr.to_string(),
        RData::AAAA(addr) => addr.to_string(),
        other => other.to_string().to_lowercase(),
    }
}

/// The quoted strings of a TXT (RFC 1035 section 5.1).
fn strings(text: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, &mut open) {
            (b'"', None) => open = Some(Vec::new()),
            (b'"', Some(_)) => all.extend(open.take()),
            (b'\\', Some(string)) => match bytes.next().unwrap() {
                digit @ b'0'..=b'9' => {
                    let digits = [digit, bytes.next().unwrap(), bytes.next().unwrap()];
                    string.push(String::from_utf8_lossy(&digits).parse().unwrap());
                }
                plain => string.push(plain),
            },
            (plain, Some(string)) => string.push(plain),
            (_, None) => {}
        }
    }
    if all.is_empty() && !text.is_empty() && !text.contains('"') {
        all.push(text.as_bytes().to_vec());
    }
    all
}

fn flag(response: &Message, name: &str) -> bool {
    let head = &response.metadata;
    match name {
        "qr" => head.message_type == hickory_proto::op::MessageType::Response,
        "aa" => head.authoritative,
        "tc" => head.truncation,
        "rd" => head.recursion_desired,
        "ra" => head.recursion_available,
        "ad" => head.authentic_data,
        other => panic!("no flag {other} yet"),
    }
}

fn rcode(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        _ => "another rcode",
    }
}
