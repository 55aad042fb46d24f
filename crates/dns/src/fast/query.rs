//! Parsing of the shape that nearly all questions have, straight from the datagram.
//!
//! Owns: the definition of a common question. Any other message is `None` and goes to the general path, so that this
//! module never has to decide which error a message has, and a mistake here can only accept too much: the rules are
//! equalities, not ranges.

use super::super::stats::TYPES;
use super::super::wire::HEADER;
use super::super::wire::bits::DNSSEC_OK;
use hickory_proto::rr::RecordType;
use skyhound_model::name::NAME_MAX;

/// The maximum number of labels of a name, without the root's.
const LABELS_MAX: usize = 127;

/// The types that the fast path answers, each with its cell in a node.
pub(super) const CACHED_TYPES: [RecordType; skyhound_core::catalog::answer_slot::CELLS] =
    [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT];

/// A question in the common shape: one of class IN and of a cached type, from a client with EDNS version 0 or none.
pub(super) struct Query {
    /// The name in wire form, in lower case. The lengths in it are below `A` and thus no letters.
    name: [u8; NAME_MAX],
    length: usize,
    /// The offsets of its labels.
    labels: [u8; LABELS_MAX],
    count: usize,
    /// The index of its type in [`CACHED_TYPES`].
    pub cell: usize,
    pub edns: Option<Edns>,
}

/// The fields of the OPT record.
pub(super) struct Edns {
    pub payload: u16,
    pub dnssec_ok: bool,
}

impl Query {
    /// Parses a datagram.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        // A query with opcode 0; AA, TC, RA and Z are not set; RD, AD and CD are arbitrary.
        let [_, _, 0 | 1, flags, 0, 1, 0, 0, 0, 0, 0, opts @ (0 | 1), ..] = *message else { return None };
        if flags & !0x30 != 0 {
            return None;
        }
        let mut query = Self { name: [0; NAME_MAX], length: 0, labels: [0; LABELS_MAX], count: 0, cell: 0, edns: None };
        query.read_name(message.get(HEADER..)?)?;
        let (type_and_class, rest) = message.get(HEADER + query.length..)?.split_at_checked(4)?;
        let [0, qtype, 0, 1] = *type_and_class else { return None };
        query.cell = CACHED_TYPES.iter().position(|cached| u16::from(*cached) == u16::from(qtype))?;
        match (opts, rest) {
            (0, []) => {}
            (1, &[0, 0, 41, high, low, 0, 0, flags @ (0 | DNSSEC_OK), 0, 0, 0]) => {
                query.edns = Some(Edns { payload: u16::from_be_bytes([high, low]), dnssec_ok: flags != 0 });
            }
            _ => return None,
        }
        Some(query)
    }

    /// Parses the name at the front of `bytes`, without pointers, which no client uses in a question.
    fn read_name(&mut self, bytes: &[u8]) -> Option<()> {
        let mut at = 0;
        loop {
            let length = usize::from(*bytes.get(at)?);
            if length == 0 {
                break;
            }
            let next = at + 1 + length;
            if length > 63 || next >= NAME_MAX {
                return None;
            }
            self.labels[self.count] = u8::try_from(at).ok()?;
            self.count += 1;
            at = next;
        }
        self.length = at + 1;
        let name = self.name.get_mut(..self.length)?;
        name.copy_from_slice(bytes.get(..self.length)?);
        name.make_ascii_lowercase();
        Some(())
    }

    /// The name in wire form, in lower case.
    pub(super) fn name(&self) -> &[u8] {
        &self.name[..self.length]
    }

    /// The labels of the name, from the root downwards, in lower case.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.labels[..self.count].iter().rev().map(|at| {
            let at = usize::from(*at);
            &self.name[at + 1..=at + usize::from(self.name[at])]
        })
    }

    /// Returns the offset of the zone in the name, if the name is in the zone. `zone` is in wire form and lower case.
    pub(super) fn zone_at(&self, zone: &[u8]) -> Option<usize> {
        let at = self.name().strip_suffix(zone)?.len();
        let label = u8::try_from(at).is_ok_and(|at| self.labels[..self.count].contains(&at));
        (label || zone.len() == 1).then_some(at)
    }

    /// The length of the question section.
    pub(super) fn question(&self) -> usize {
        self.length + 4
    }

    /// Returns the same question as a message from a client that accepts answers of any size.
    pub(super) fn to_message(&self) -> Vec<u8> {
        let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        message.extend_from_slice(self.name());
        message.extend(u16::from(CACHED_TYPES[self.cell]).to_be_bytes());
        message.extend([0, 1]);
        message.extend([0, 0, 41, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        message
    }

    /// The index of the type in [`TYPES`].
    pub(super) fn type_index(&self) -> usize {
        TYPES.iter().position(|(_, counted)| *counted == Some(CACHED_TYPES[self.cell])).unwrap_or(TYPES.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(name: &[u8], qtype: u8) -> Vec<u8> {
        let head = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        [&head[..], name, &[0, qtype, 0, 1]].concat()
    }

    #[test]
    fn common_question_is_parsed() {
        let plain = message(b"\x03wEb\x04test\0", 33);
        let query = Query::read(&plain).unwrap();
        assert_eq!(query.name(), b"\x03web\x04test\0");
        assert_eq!(query.labels().collect::<Vec<_>>(), [&b"test"[..], b"web"]);
        assert_eq!((CACHED_TYPES[query.cell], query.question()), (RecordType::SRV, 14));
        assert_eq!(query.zone_at(b"\x04test\0"), Some(4));
        assert_eq!(query.zone_at(b"\0"), Some(9));
        assert_eq!(query.zone_at(b"\x03est\0"), None);
        // The bytes of a zone may be the end of a longer label: `\4` and `test` of the label `a\4test`.
        assert_eq!(Query::read(&message(b"\x06a\x04test\0", 1)).unwrap().zone_at(b"\x04test\0"), None);
        let mut edns = plain;
        edns[11] = 1;
        edns.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        let read = Query::read(&edns).unwrap().edns.unwrap();
        assert!(read.payload == 1232 && read.dnssec_ok);
    }

    #[test]
    fn unusual_questions_go_to_the_general_path() {
        let good = message(b"\x03web\x04test\0", 1);
        // Response, opcode, AA, TC, RA, Z, rcode, counts, pointers, class, type.
        for (at, value) in [
            (2, 0x80),
            (2, 0x08),
            (2, 4),
            (2, 2),
            (3, 0x80),
            (3, 0x40),
            (3, 1),
            (5, 0),
            (5, 2),
            (7, 1),
            (9, 1),
            (11, 1),
            (11, 2),
            (12, 0xc0),
            (12, 64),
            (good.len() - 1, 3),
            (good.len() - 3, 255),
            (good.len() - 4, 1),
        ] {
            let mut odd = good.clone();
            odd[at] = value;
            assert!(Query::read(&odd).is_none(), "byte {at} as {value}");
        }
        assert!(Query::read(&[&good[..], &[0]].concat()).is_none(), "a byte after the end");
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_rejected(mut bytes in prop::collection::vec(any::<u8>(), 0..600), like: bool) {
            if like && bytes.len() > 12 {
                bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            }
            let _ = Query::read(&bytes);
        }

        #[test]
        fn names_up_to_the_limit_are_parsed(lengths in prop::collection::vec(1usize..=63, 0..40)) {
            let mut name = Vec::new();
            for length in lengths {
                name.push(u8::try_from(length).unwrap());
                name.extend(std::iter::repeat_n(b'A', length));
            }
            name.push(0);
            let query = Query::read(&message(&name, 1));
            prop_assert_eq!(query.is_some(), name.len() <= 255);
        }
    }
}
