//! A response in wire form, with every name compressed.
//!
//! Owns: the layout of a message and the offsets of its names. Does not own: the content, nor the data of types without
//! a name to compress (hickory's encoder writes those).
//!
//! hickory's encoder compresses the first 120 names of a message, because it compares each name with all earlier ones
//! (CVE-2024-8508 of other servers). Here a name is found by its hash: the cost of a message is proportional to its
//! length, and 64 KiB hold as many records as possible.

use super::wire::HEADER;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use std::collections::HashMap;

/// The end of the offsets that a pointer can hold: it has 14 bits (RFC 1035 section 4.1.4).
const POINTER_LIMIT: usize = 0x4000;
/// The option code of padding (RFC 7830).
const PADDING: u16 = 12;
/// The length to whose multiples encrypted responses are padded (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 468;

/// The error of a record that was not written.
struct DoesNotFit;

/// The writer of a message: the question, then records in the order of the sections.
pub(super) struct ResponseWriter {
    bytes: Vec<u8>,
    limit: usize,
    /// The first offset of each name and each suffix of one. Names are compared byte by byte: a name in another case is
    /// another name here, because a pointer would change its case.
    name_offsets: HashMap<Box<[u8]>, u16>,
}

impl ResponseWriter {
    /// Starts a message with the question section in its wire form. `None` if that exceeds the limit.
    pub(super) fn new(question: &[u8], limit: u16) -> Option<Self> {
        let limit = usize::from(limit);
        let mut bytes = Vec::with_capacity(512);
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(question);
        let mut writer = Self { bytes, limit, name_offsets: HashMap::new() };
        // The first name of a message has no earlier name to point at, and so is uncompressed.
        let name = question.get(..name_len(question)).unwrap_or_default();
        writer.remember(name, name.len(), HEADER);
        (writer.bytes.len() <= limit).then_some(writer)
    }

    /// Writes records until one does not fit; returns the number written.
    pub(super) fn records(&mut self, records: &[Record]) -> usize {
        for (written, record) in records.iter().enumerate() {
            let start = self.bytes.len();
            if self.record(record).is_err() || self.bytes.len() > self.limit {
                self.bytes.truncate(start);
                self.name_offsets.retain(|_, offset| usize::from(*offset) < start);
                return written;
            }
        }
        records.len()
    }

    /// Finishes the message. `opt` is the OPT record for its end, and whether the message is padded.
    pub(super) fn finish(mut self, metadata: Metadata, counts: HeaderCounts, opt: Option<(Edns, bool)>) -> Vec<u8> {
        let mut counts = counts;
        if let Some((mut edns, padded)) = opt {
            edns.set_rcode_high(metadata.response_code.high());
            if padded {
                self.pad(&mut edns);
            }
            if let Ok(bytes) = edns.to_bytes() {
                self.bytes.extend(bytes);
                counts.additionals += 1;
            }
        }
        // Numbers and flags: this cannot fail.
        if let Ok(header) = (Header { metadata, counts }).to_bytes() {
            self.bytes[..HEADER].copy_from_slice(&header);
        }
        self.bytes
    }

    /// Adds the padding that makes the length a multiple of [`PADDING_BLOCK`], or the limit of a message.
    fn pad(&self, edns: &mut Edns) {
        edns.options_mut().insert(EdnsOption::Unknown(PADDING, Vec::new()));
        let length = self.bytes.len() + edns.to_bytes().map_or(0, |bytes| bytes.len());
        let padded = length.next_multiple_of(PADDING_BLOCK).min(usize::from(u16::MAX).max(length));
        edns.options_mut().remove(PADDING.into());
        edns.options_mut().insert(EdnsOption::Unknown(PADDING, vec![0; padded - length]));
    }

    fn record(&mut self, record: &Record) -> Result<(), DoesNotFit> {
        self.name(&record.name, true);
        self.number(record.record_type().into());
        self.number(record.dns_class.into());
        self.bytes.extend(record.ttl.to_be_bytes());
        let length_at = self.bytes.len();
        self.number(0);
        self.data(&record.data)?;
        let length = u16::try_from(self.bytes.len() - length_at - 2).map_err(|_| DoesNotFit)?;
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Writes the data of a record. Names are compressed in the types of RFC 1035 only (RFC 3597 section 4).
    fn data(&mut self, data: &RData) -> Result<(), DoesNotFit> {
        match data {
            RData::CNAME(name) => self.name(&name.0, true),
            RData::NS(name) => self.name(&name.0, true),
            RData::PTR(name) => self.name(&name.0, true),
            RData::MX(mx) => {
                self.number(mx.preference);
                self.name(&mx.exchange, true);
            }
            RData::SOA(soa) => {
                self.name(&soa.mname, true);
                self.name(&soa.rname, true);
                self.bytes.extend(soa.serial.to_be_bytes());
                self.bytes
                    .extend([soa.refresh, soa.retry, soa.expire].iter().flat_map(|seconds| seconds.to_be_bytes()));
                self.bytes.extend(soa.minimum.to_be_bytes());
            }
            RData::SRV(srv) => {
                self.number(srv.priority);
                self.number(srv.weight);
                self.number(srv.port);
                // RFC 2782, "Target". Later names may still point at it.
                self.name(&srv.target, false);
            }
            other => {
                let mut bytes = Vec::new();
                let mut encoder = BinEncoder::new(&mut bytes);
                encoder.set_name_encoding(NameEncoding::Uncompressed);
                other.emit(&mut encoder).map_err(|_| DoesNotFit)?;
                self.bytes.extend(bytes);
            }
        }
        Ok(())
    }

    fn number(&mut self, number: u16) {
        self.bytes.extend(number.to_be_bytes());
    }

    /// Writes a name, its longest suffix that was written before as a pointer.
    fn name(&mut self, name: &Name, compress: bool) {
        let mut wire = Vec::with_capacity(name.len());
        for label in name {
            // 1 to 63 in every `Name`.
            wire.push(u8::try_from(label.len()).unwrap_or(0));
            wire.extend_from_slice(label);
        }
        let earlier = suffixes(&wire).find_map(|at| Some((at, *self.name_offsets.get(&wire[at..])?)));
        let start = self.bytes.len();
        match earlier {
            Some((at, offset)) if compress => {
                self.bytes.extend_from_slice(&wire[..at]);
                self.number(offset | 0xc000);
            }
            _ => {
                self.bytes.extend_from_slice(&wire);
                self.bytes.push(0);
            }
        }
        self.remember(&wire, earlier.map_or(wire.len(), |(at, _)| at), start);
    }

    /// Remembers the suffixes of a name that was written at `start`, of those that begin before `until`.
    fn remember(&mut self, name: &[u8], until: usize, start: usize) {
        for at in suffixes(name).take_while(|at| *at < until && start + at < POINTER_LIMIT) {
            let offset = u16::try_from(start + at).unwrap_or(0);
            self.name_offsets.entry(name[at..].into()).or_insert(offset);
        }
    }
}

/// The offsets of the labels of a name in wire form, without the root's.
fn suffixes(name: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let label = at;
        at += 1 + usize::from(*name.get(at)?);
        Some(label)
    })
}

/// The length of the name at the front of `bytes`, without the root's label.
fn name_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length @ 1..=63) = bytes.get(at).copied() {
        at += 1 + usize::from(length);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::RecordType;
    use hickory_proto::rr::rdata::{A, CNAME, MX, NS, SOA, SRV, TXT};
    use proptest::prelude::*;

    fn question(name: &Name) -> Vec<u8> {
        Query::query(name.clone(), RecordType::SRV).to_bytes().unwrap()
    }

    fn encoded(qname: &Name, records: &[Record], limit: u16) -> (Vec<u8>, usize) {
        let mut writer = ResponseWriter::new(&question(qname), limit).unwrap();
        let count = writer.records(records);
        let counts = HeaderCounts { queries: 1, answers: u16::try_from(count).unwrap(), ..HeaderCounts::default() };
        (writer.finish(Metadata::new(7, MessageType::Response, OpCode::Query), counts, None), count)
    }

    fn name() -> impl Strategy<Value = Name> {
        let label = prop::sample::select(vec!["a", "b", "B", "web", "test", "x\u{7f}"]);
        prop::collection::vec(label, 0..5)
            .prop_map(|labels| Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap())
    }

    fn data() -> impl Strategy<Value = RData> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| RData::A(A(ip.into()))),
            name().prop_map(|name| RData::CNAME(CNAME(name))),
            name().prop_map(|name| RData::NS(NS(name))),
            (any::<u16>(), name()).prop_map(|(preference, name)| RData::MX(MX::new(preference, name))),
            (any::<u16>(), name()).prop_map(|(number, name)| RData::SRV(SRV::new(1, number, 80, name))),
            (name(), name()).prop_map(|(one, two)| RData::SOA(SOA::new(one, two, 9, 8, 7, 6, 5))),
            "[a-z]{0,200}".prop_map(|text| RData::TXT(TXT::new(vec![text]))),
        ]
    }

    proptest! {
        #[test]
        fn encoded_messages_parse_and_are_no_longer_than_hickorys(
            qname in name(), limit in 600u16..,
            records in prop::collection::vec((name(), data()), 0..300),
        ) {
            let records: Vec<_> = records.into_iter().map(|(name, data)| Record::from_rdata(name, 30, data)).collect();
            let (bytes, count) = encoded(&qname, &records, limit);
            prop_assert!(bytes.len() <= usize::from(limit));
            let parsed = Message::from_vec(&bytes).unwrap();
            prop_assert_eq!(&parsed.answers, &records[..count], "in their order and case");
            let mut library = parsed.clone();
            library.answers.truncate(100); // hickory compresses no further names
            let (ours, _) = encoded(&qname, &library.answers, u16::MAX);
            prop_assert!(ours.len() <= library.to_vec().unwrap().len());
        }
    }

    #[test]
    fn names_are_compressed_to_the_last() {
        let qname = Name::from_ascii("Web.skydns.test.").unwrap();
        let records: Vec<_> = (0..4000u16)
            .map(|i| {
                Record::from_rdata(
                    qname.clone(),
                    30,
                    RData::A(A([10, 0, i.to_be_bytes()[0], i.to_be_bytes()[1]].into())),
                )
            })
            .collect();
        let (bytes, count) = encoded(&qname, &records, u16::MAX);
        assert_eq!((count, bytes.len()), (4000, 12 + 17 + 4 + 4000 * 16));
        assert!(
            Message::from_vec(&bytes)
                .unwrap()
                .answers
                .iter()
                .all(|record| record.name.to_string() == "Web.skydns.test.")
        );
    }

    #[test]
    fn encrypted_responses_are_padded_to_whole_blocks() {
        let writer = ResponseWriter::new(&question(&Name::from_ascii("web.skydns.test.").unwrap()), u16::MAX).unwrap();
        let metadata = Metadata::new(7, MessageType::Response, OpCode::Query);
        let bytes =
            writer.finish(metadata, HeaderCounts { queries: 1, ..HeaderCounts::default() }, Some((Edns::new(), true)));
        assert_eq!(bytes.len(), PADDING_BLOCK);
        assert!(Message::from_vec(&bytes).unwrap().edns.is_some());
    }
}
