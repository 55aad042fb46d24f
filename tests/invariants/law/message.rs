//! The invariants of a response to any question.

use super::world::{PAYLOAD_MAX, PROHIBITED, ZONES};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

const HEADER: usize = 12;
const RECURSION_DESIRED: u8 = 1;
const CHECKING_DISABLED: u8 = 0x10;
const OPCODE: u8 = 0x78;
/// AD and Z: nothing here is authentic by anybody's proof, and Z is nobody's.
const AUTHENTIC_AND_Z: u8 = 0x60;

/// The size limit of a message over UDP without EDNS (RFC 1035 section 4.2.1).
const PLAIN: u16 = 512;

/// Reads a response, which has to be whole and nothing else.
pub fn read(response: &[u8]) -> Message {
    let mut decoder = BinDecoder::new(response);
    let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("a response cannot be read: {error}"));
    assert!(decoder.is_empty(), "{} bytes behind the response", decoder.len());
    message
}

/// The question section in bytes, where it is all there and has no pointers.
pub fn question(message: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    for _ in 0..u16::from_be_bytes([message[4], message[5]]) {
        loop {
            match usize::from(*message.get(at)?) {
                0 => break,
                label @ 1..=63 => at += 1 + label,
                _ => return None,
            }
        }
        at += 5;
    }
    message.get(HEADER..at)
}

/// Checks one response to these bytes, as it is over UDP or over a stream.
pub fn holds(asked: &[u8], response: &[u8], udp: bool) -> Message {
    assert!(asked.len() >= HEADER && asked[2] & 0x80 == 0, "an answer to what is no question");
    let message = read(response);
    let head = &message.metadata;
    assert_eq!(response[..2], asked[..2], "the id");
    assert_eq!(head.message_type, MessageType::Response);
    assert_eq!(response[2] & (OPCODE | RECURSION_DESIRED), asked[2] & (OPCODE | RECURSION_DESIRED), "opcode and RD");
    assert_eq!(response[3] & AUTHENTIC_AND_Z, 0);
    let read = Message::from_vec(asked).ok();
    let edns = read.as_ref().and_then(|read| read.edns.as_ref());
    let limit = match edns {
        _ if !udp => u16::MAX,
        Some(edns) => edns.max_payload().clamp(PLAIN, PAYLOAD_MAX),
        None => PLAIN,
    };
    assert!(response.len() <= usize::from(limit), "{} bytes, {limit} at most", response.len());
    assert!(udp || !head.truncation, "there is nothing to turn to from a stream");
    if head.truncation || head.response_code != ResponseCode::NoError {
        assert!(message.additionals.is_empty());
    }
    if let [one] = message.queries.as_slice() {
        let requested = read.as_ref().and_then(|read| read.queries.first());
        assert!(requested.is_none_or(|requested| requested == one), "another question");
        if let (Some(requested), [0, 1]) = (question(asked), &asked[4..6]) {
            assert_eq!(question(response), Some(requested), "the question, byte by byte");
        }
    }
    if read.is_none() {
        return message;
    }
    assert_eq!(response[3] & CHECKING_DISABLED, asked[3] & CHECKING_DISABLED, "CD");
    // A denied client gets these only for the usual question.
    let usual = head.response_code != ResponseCode::Refused
        || (question(asked).is_some() && asked[4..11] == [0, 1, 0, 0, 0, 0, 0] && asked[11] < 2);
    if head.response_code != ResponseCode::FormErr && usual {
        assert_eq!(message.edns.is_some(), edns.is_some(), "an OPT record for an OPT record: {message}");
    }
    if let (Some(ours), Some(requested)) = (&message.edns, edns) {
        assert_eq!((ours.version(), ours.flags().dnssec_ok), (0, requested.flags().dnssec_ok));
        assert!(ours.max_payload() >= PLAIN);
    }
    message
}

/// Returns whether the response denies this client access.
pub fn is_prohibited(message: &Message) -> bool {
    let why = message.edns.as_ref().map(|edns| edns.option(EdnsCode::Unknown(15)));
    let prohibited = match why {
        Some(Some(EdnsOption::Unknown(_, code))) => code[..] == PROHIBITED.to_be_bytes(),
        Some(_) => false,
        None => true,
    };
    message.metadata.response_code == ResponseCode::Refused && message.answers.is_empty() && prohibited
}

/// The rcodes that a question may be answered with, by everything but the store.
pub fn rcodes(asked: &[u8]) -> &'static [ResponseCode] {
    use ResponseCode as Rc;
    let Ok(read) = Message::from_vec(asked) else { return &[Rc::FormErr] };
    // A pointer in the question is wrong whatever else the message holds.
    if !read.queries.is_empty() && question(asked).is_none() {
        return &[Rc::FormErr];
    }
    if read.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return &[Rc::BADVERS];
    }
    if read.metadata.op_code != OpCode::Query {
        return &[Rc::NotImp];
    }
    let [query] = read.queries.as_slice() else { return &[Rc::FormErr] };
    let name = query.name().to_ascii().to_lowercase();
    let ours = ZONES.iter().any(|zone| name == *zone || name.ends_with(&format!(".{zone}")));
    match (query.query_class(), query.query_type()) {
        (DNSClass::CH, _) => &[Rc::NoError, Rc::Refused],
        (DNSClass::IN, RecordType::OPT) => &[Rc::FormErr],
        (DNSClass::IN, RecordType::ANY | RecordType::AXFR | RecordType::IXFR) => &[Rc::Refused],
        (DNSClass::IN, _) if ours => &[Rc::NoError, Rc::NXDomain, Rc::ServFail],
        _ => &[Rc::Refused],
    }
}
