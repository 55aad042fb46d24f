//! Any value that stands in the store: it is an entry or it is quarantined, alone, and every question about it and
//! its neighbours has an answer.

use super::datagram;
use super::world::{Client, datagrams, snapshot};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name as WireName, RecordType};
use skyhound_model::{Entry, Key, Label, Name};

const KEY: &str = "test/skydns/web/any-value";
const NAMES: [&str; 6] = [
    "any-value.web.skydns.test.",
    "web.skydns.test.",
    "*.web.skydns.test.",
    "_web._tcp.skydns.test.",
    "below.any-value.web.skydns.test.",
    "skydns.test.",
];
const TYPES: [RecordType; 10] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::TXT,
    RecordType::MX,
    RecordType::CNAME,
    RecordType::PTR,
    RecordType::NS,
    RecordType::SOA,
    RecordType::Unknown(65),
];

/// A question, with EDNS of this size or without.
pub fn question(name: &str, rtype: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    // By its labels: what hickory reads as text has to be a host name.
    let name = Name::parse(name).unwrap();
    let mut wire = WireName::from_labels(name.labels().iter().rev().map(Label::as_bytes)).unwrap();
    wire.set_fqdn(true);
    message.add_query(Query::query(wire, rtype));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

/// Reads and writes to the same, is known or quarantined, and harms no answer.
pub fn holds(value: &[u8]) {
    let read = Entry::parse(value);
    if let Ok(entry) = &read {
        assert_eq!(Entry::parse(&entry.encode()).as_ref(), Ok(entry), "written and read again");
        let over = entry.encode_replacing(value);
        assert_eq!(Entry::parse(&over).as_ref(), Ok(entry), "written over what was there");
    }
    let known = snapshot(&[(KEY, value)]);
    let key = Key::from(format!("/skydns/{KEY}"));
    let quarantined = known.quarantine().any(|bad| bad.key == key);
    assert_eq!((known.entry(&key).is_some(), quarantined), (read.is_ok(), read.is_err()));
    let world = datagrams(&[(KEY, value)]);
    for (at, name) in NAMES.into_iter().enumerate() {
        for (of, rtype) in TYPES.into_iter().enumerate() {
            let payload = [None, Some(1232), Some(512)][(at + of) % 3];
            datagram::one(&world, &question(name, rtype, payload), Client::Near, 1);
        }
    }
}
