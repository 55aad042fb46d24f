//! The shortest response to a message: its header, its question, and an OPT record if it had one.
//!
//! Owns: the response to a rejected client, written into the datagram's own buffer. It is at most one EDNS option
//! longer than the message, and thus no use for amplification with forged addresses. Does not own: the decision to
//! reject ([`super::gate`]). Reads no more of a message than the response repeats.

use crate::response::ExtendedError;
use crate::wire::bits::{CHECKING_DISABLED, DNSSEC_OK, OPCODE, OPT, RECURSION_DESIRED, RESPONSE, TRUNCATED};
use crate::wire::{EDE, HEADER, questions_end};
use hickory_proto::op::ResponseCode;

/// The kind of response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MinimalResponse {
    /// TC and no records, so that the client retries over TCP.
    Truncated,
    /// REFUSED.
    Refused,
}

impl MinimalResponse {
    /// Answers the first `length` bytes of `message` in their place and returns the length of the response. It is 0, no
    /// response, for a response, because two servers would answer each other forever, and for a message without a
    /// header.
    pub(super) fn answer(self, message: &mut [u8], length: usize, payload_max: u16) -> usize {
        let Some(query) = message.get(..length).filter(|m| m.len() >= HEADER && m[2] & RESPONSE == 0) else { return 0 };
        let question = questions_end(query).filter(|_| query[4..6] == [0, 1]);
        let opt = question.and_then(|end| dnssec_ok(query, end));
        let mut at = question.unwrap_or(HEADER);
        if let Some(dnssec_ok) = opt {
            at = self.write_opt(message, at, dnssec_ok, payload_max);
        }
        let rcode = if self == Self::Refused { ResponseCode::Refused.low() } else { ResponseCode::NoError.low() };
        let truncated = if self == Self::Truncated { TRUNCATED } else { 0 };
        message[2] = RESPONSE | message[2] & (OPCODE | RECURSION_DESIRED) | truncated;
        message[3] = message[3] & CHECKING_DISABLED | rcode;
        message[4..HEADER].copy_from_slice(&[0, u8::from(question.is_some()), 0, 0, 0, 0, 0, u8::from(opt.is_some())]);
        at
    }

    /// Writes an OPT record after the question, over the bytes of the query, and returns the position of its end.
    fn write_opt(self, message: &mut [u8], at: usize, dnssec_ok: bool, payload_max: u16) -> usize {
        let [high, low] = payload_max.to_be_bytes();
        let [_, info_code] = (ExtendedError::Prohibited as u16).to_be_bytes();
        let [_, option] = EDE.to_be_bytes();
        let flags = if dnssec_ok { DNSSEC_OK } else { 0 };
        let record = [0, 0, 41, high, low, 0, 0, flags, 0, 0, 6, 0, option, 0, 2, 0, info_code];
        let record = match self {
            Self::Refused => record.as_slice(),
            Self::Truncated => &[0, 0, 41, high, low, 0, 0, flags, 0, 0, 0],
        };
        match message.get_mut(at..at + record.len()) {
            Some(room) => {
                room.copy_from_slice(record);
                at + record.len()
            }
            // Only in tests a buffer is as small as the message.
            None => at,
        }
    }
}

/// Returns the DO bit of the OPT record after the question, if there is one.
fn dnssec_ok(message: &[u8], at: usize) -> Option<bool> {
    let [0, 0, 0, 0, 0, 1..=255] = message[6..HEADER] else { return None };
    match *message.get(at..at + OPT)? {
        [0, 0, 41, _, _, _, _, flags, ..] => Some(flags & DNSSEC_OK != 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::rdata::opt::EdnsOption;
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    fn query(edns: Option<bool>) -> Message {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii("wEb.skydns.test.").unwrap(), RecordType::MX));
        if let Some(dnssec_ok) = edns {
            let mut edns = Edns::new();
            edns.set_dnssec_ok(dnssec_ok);
            edns.options_mut().insert(EdnsOption::Unknown(10, vec![1; 8]));
            message.set_edns(edns);
        }
        message
    }

    fn response(kind: MinimalResponse, query: &[u8]) -> Vec<u8> {
        let mut buffer = [0xee; 4096];
        buffer[..query.len()].copy_from_slice(query);
        let length = kind.answer(&mut buffer, query.len(), 1232);
        buffer[..length].to_vec()
    }

    #[test]
    fn minimal_response_repeats_the_question() {
        for edns in [None, Some(false), Some(true)] {
            let query = query(edns);
            let bytes = query.to_vec().unwrap();
            for (kind, rcode) in
                [(MinimalResponse::Truncated, ResponseCode::NoError), (MinimalResponse::Refused, ResponseCode::Refused)]
            {
                let answer = Message::from_vec(&response(kind, &bytes)).unwrap();
                assert_eq!((answer.metadata.id, answer.metadata.response_code), (4711, rcode));
                assert_eq!(answer.metadata.truncation, kind == MinimalResponse::Truncated);
                assert!(answer.metadata.recursion_desired && !answer.metadata.authoritative);
                assert_eq!(answer.queries, query.queries);
                assert!(answer.answers.is_empty() && answer.authorities.is_empty() && answer.additionals.is_empty());
                let opt = answer.edns.as_ref();
                assert_eq!(
                    opt.map(|edns| (edns.flags().dnssec_ok, edns.max_payload())),
                    edns.map(|dnssec| (dnssec, 1232))
                );
                let option_count = opt.map(|edns| edns.options().as_ref().len());
                assert_eq!(option_count, edns.map(|_| usize::from(kind == MinimalResponse::Refused)));
            }
        }
    }

    #[test]
    fn responses_are_dropped_and_partial_questions_get_a_header() {
        let mut bytes = query(None).to_vec().unwrap();
        assert_eq!(response(MinimalResponse::Refused, &bytes[..20]).len(), HEADER);
        assert_eq!(response(MinimalResponse::Refused, &bytes[..11]).len(), 0);
        bytes[2] |= RESPONSE;
        assert_eq!(response(MinimalResponse::Refused, &bytes).len(), 0);
    }

    proptest! {
        #[test]
        fn minimal_responses_never_amplify(bytes in prop::collection::vec(any::<u8>(), 0..300), like: bool) {
            let mut bytes = bytes;
            if like && bytes.len() > HEADER {
                bytes[2..HEADER].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            }
            for kind in [MinimalResponse::Truncated, MinimalResponse::Refused] {
                let response = response(kind, &bytes);
                prop_assert!(response.len() <= bytes.len() + 6);
                prop_assert!(response.is_empty() || (response[..2] == bytes[..2] && Message::from_vec(&response).is_ok()));
            }
        }
    }
}
