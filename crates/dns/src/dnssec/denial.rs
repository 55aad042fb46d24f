//! Proofs that there is nothing: NSEC3 that are made for the question ("white lies", RFC 7129 appendix B).
//!
//! Owns: which NSEC3 go with an answer that says no, and what they say. Does not own: their signatures, nor
//! whether the answer says no.
//!
//! A zone of ours is never there as a list, from which the neighbours of a name could be taken; so what is
//! denied is the space between the hash before the name's and the one after it. `SkyDNS` does the same. Why not
//! the one NSEC of RFC 9824, which is smaller: it turns every NXDOMAIN into "no data" for who asks with DO, and
//! that is nearly every resolver, on behalf of all its clients; a search list would end at the first name.
//! Lists of types say all that a name can have but what was asked for, so that a resolver which answers other
//! questions from them (RFC 8198) asks us instead.
//!
//! What it costs: a name that does not exist takes one signature (those for the names above it are kept), and
//! who holds the signed answer to `*.<name>` can show it for names below `<name>` that do not exist.

use hickory_proto::ProtoError;
use hickory_proto::dnssec::Nsec3HashAlgorithm;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC3};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The length of a SHA-1.
const HASH: usize = 20;
/// What the zone's own name can have.
const APEX: [RecordType; 11] = [
    RecordType::A,
    RecordType::NS,
    RecordType::SOA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::RRSIG,
    RecordType::DNSKEY,
    RecordType::CDS,
    RecordType::CDNSKEY,
];
/// What a name below it can have. Without CNAME, which would say that nothing else is there: a validator
/// refuses "no data" then (RFC 6840 section 4.3). And without NS, which would make it another zone.
const BELOW_APEX: [RecordType; 7] = [
    RecordType::A,
    RecordType::PTR,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::RRSIG,
];
/// What the zone above says of another zone of ours.
const DELEGATION: [RecordType; 2] = [RecordType::NS, RecordType::RRSIG];

/// What is denied.
pub(super) struct Denial<'d> {
    /// The SOA of the answer. Its owner is the zone; a denial may be cached for as long as it (RFC 9077).
    pub soa: &'d Record,
    pub name: &'d Name,
    pub qtype: RecordType,
    pub rcode: ResponseCode,
    /// Whether the name is a zone of its own, of which the zone above is asked.
    pub delegation: bool,
}

impl Denial<'_> {
    /// The NSEC3 records.
    pub(super) fn records(&self) -> Result<Vec<Record>, ProtoError> {
        if self.rcode != ResponseCode::NXDomain {
            let types = self.types(self.name).iter().copied().filter(|rtype| *rtype != self.qtype);
            return Ok(vec![self.matching(self.name, types)?]);
        }
        // The closest encloser is the name above, whether there is something or not: as good a proof, and
        // nobody takes from a denial that something exists.
        let encloser = self.name.base_name();
        let wildcard = encloser.prepend_label("*")?;
        let mut records = vec![
            self.matching(&encloser, self.types(&encloser).iter().copied())?,
            self.covering(self.name)?,
            self.covering(&wildcard)?,
        ];
        // `*` itself was asked for.
        records.dedup();
        Ok(records)
    }

    fn types(&self, name: &Name) -> &'static [RecordType] {
        match () {
            () if self.delegation => &DELEGATION,
            () if *name == self.soa.name => &APEX,
            () => &BELOW_APEX,
        }
    }

    /// "This name has these types."
    fn matching(&self, name: &Name, types: impl Iterator<Item = RecordType>) -> Result<Record, ProtoError> {
        let at = hash(name)?;
        self.record(at, successor(at), types)
    }

    /// "There is no such name."
    fn covering(&self, name: &Name) -> Result<Record, ProtoError> {
        let at = hash(name)?;
        self.record(predecessor(at), successor(at), std::iter::empty())
    }

    fn record(
        &self,
        owner: [u8; HASH],
        next: [u8; HASH],
        types: impl Iterator<Item = RecordType>,
    ) -> Result<Record, ProtoError> {
        let label = data_encoding::BASE32_DNSSEC.encode(&owner);
        let owner = self.soa.name.prepend_label(label.as_bytes())?;
        // No iterations and no salt (RFC 9276 section 3.1).
        let data = NSEC3::new(Nsec3HashAlgorithm::SHA1, false, 0, Vec::new(), next.to_vec(), types);
        Ok(Record::from_rdata(owner, self.soa.ttl, RData::DNSSEC(DNSSECRData::NSEC3(data))))
    }
}

fn hash(name: &Name) -> Result<[u8; HASH], ProtoError> {
    let digest = Nsec3HashAlgorithm::SHA1.hash(&[], name, 0)?;
    digest.as_ref().try_into().map_err(|_| "a SHA-1 of another length".into())
}

/// The hash after this one; after the last comes the first.
fn successor(mut hash: [u8; HASH]) -> [u8; HASH] {
    for byte in hash.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    hash
}

/// The hash before this one.
fn predecessor(mut hash: [u8; HASH]) -> [u8; HASH] {
    for byte in hash.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != u8::MAX {
            break;
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn denied(name: &str, rcode: ResponseCode) -> Vec<String> {
        let response = testing::ask(&testing::snapshot(&[]), "skydns.test.", RecordType::A);
        let name = Name::from_ascii(name).unwrap();
        let denial =
            Denial { soa: &response.authority[0], name: &name, qtype: RecordType::TXT, rcode, delegation: false };
        let line = |record: &Record| format!("{} {}", record.name, record.data);
        denial.records().unwrap().iter().map(line).collect()
    }

    /// The names and numbers that `SkyDNS` answers.
    #[test]
    fn hashes_are_those_of_skydns() {
        let lines = denied("doesnotexist.skydns.test.", ResponseCode::NXDomain);
        for (line, [owner, next]) in lines.iter().zip([
            ["ah4v7g5qoiri26armrb3bldqi1sng6a2", "ah4v7g5qoiri26armrb3bldqi1sng6a3"],
            ["44ohaq2njb0idnvolt9ggthvsk1e1uv8", "44ohaq2njb0idnvolt9ggthvsk1e1uva"],
            ["lksd858f4cldl7emdord75k5jeks49p8", "lksd858f4cldl7emdord75k5jeks49pa"],
        ]) {
            let line = line.to_ascii_lowercase();
            assert!(line.starts_with(&format!("{owner}.skydns.test. 1 0 0 - {next}")), "{line}");
        }
        assert_eq!(lines.len(), 3, "{lines:?}");
        let lines = denied("104.server1.development.region1.skydns.test.", ResponseCode::NoError);
        let line = lines[0].to_ascii_lowercase();
        assert!(
            line.starts_with("e76clel5e7tqhrtfltbvh0645nekfjv9.skydns.test. 1 0 0 - e76clel5e7tqhrtfltbvh0645nekfjva")
        );
        assert!(line.contains(" aaaa") && !line.contains("txt"), "{line}");
        assert_eq!(denied("*.a.skydns.test.", ResponseCode::NXDomain).len(), 2, "the name and the wildcard are one");
    }

    #[test]
    fn hashes_carry_over() {
        let (zero, ones) = ([0; HASH], [u8::MAX; HASH]);
        assert_eq!((successor(ones), predecessor(zero)), (zero, ones));
        let mut odd = zero;
        odd[HASH - 1] = u8::MAX;
        assert_eq!(predecessor(successor(odd)), odd);
        assert_eq!(successor(odd)[HASH - 2..], [1, 0]);
    }
}
