//! Denial of existence: NSEC3 records that are made for the question ("white lies", RFC 7129 appendix B).
//!
//! Owns: the NSEC3 records of a negative answer and their contents. Does not own: their signatures, nor whether an
//! answer is negative.
//!
//! A dynamic zone never exists as a list, from which the neighbours of a name could be taken; the denied interval is
//! therefore from the hash before the name's to the one after it. `SkyDNS` does the same. The single NSEC of RFC 9824,
//! which is smaller, was rejected: it turns every NXDOMAIN into NODATA for clients with DO, which nearly every resolver
//! is, on behalf of all its clients; a search list would end at the first name. Type bitmaps list all types that a name
//! can have except for that of the question, so that a resolver which answers other questions from them (RFC 8198)
//! queries this server instead.
//!
//! Costs: a name that does not exist needs one signature (those for the names above it are cached), and a client with
//! the signed answer to `*.<name>` can replay it for names below `<name>` that do not exist.

use hickory_proto::ProtoError;
use hickory_proto::dnssec::Nsec3HashAlgorithm;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC3};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The length of a SHA-1 digest.
const HASH: usize = 20;
/// The types that the apex can have.
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
/// The types that a name below the apex can have. Without CNAME, which would mean that no other type exists: a
/// validator rejects NODATA then (RFC 6840 section 4.3). And without NS, which would make it a delegation.
const BELOW_APEX: [RecordType; 7] = [
    RecordType::A,
    RecordType::PTR,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::RRSIG,
];
/// The types that a parent zone has at a delegation to another zone of this server.
const DELEGATION: [RecordType; 2] = [RecordType::NS, RecordType::RRSIG];

/// A negative answer that is to be proven.
pub(super) struct Denial<'d> {
    /// The SOA of the answer. Its owner is the zone; a denial may be cached as long as it (RFC 9077).
    pub soa: &'d Record,
    pub name: &'d Name,
    pub qtype: RecordType,
    pub rcode: ResponseCode,
    /// True if the name is the apex of another zone, and the question is for its parent zone.
    pub delegation: bool,
}

impl Denial<'_> {
    /// Returns the NSEC3 records.
    pub(super) fn records(&self) -> Result<Vec<Record>, ProtoError> {
        if self.rcode != ResponseCode::NXDomain {
            let types = self.types(self.name).iter().copied().filter(|rtype| *rtype != self.qtype);
            return Ok(vec![self.matching(self.name, types)?]);
        }
        // The name one label shorter is used as the closest encloser, whether it exists or not: it is as valid a
        // proof, and no resolver concludes from a denial that a name exists.
        let encloser = self.name.base_name();
        let wildcard = encloser.prepend_label("*")?;
        let mut records = vec![
            self.matching(&encloser, self.types(&encloser).iter().copied())?,
            self.covering(self.name)?,
            self.covering(&wildcard)?,
        ];
        // The question was for `*` itself.
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

    /// Returns the record that states the types of a name.
    fn matching(&self, name: &Name, types: impl Iterator<Item = RecordType>) -> Result<Record, ProtoError> {
        let at = hash(name)?;
        self.record(at, successor(at), types)
    }

    /// Returns the record that denies a name.
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
    digest.as_ref().try_into().map_err(|_| "a SHA-1 digest has a wrong length".into())
}

/// Returns the hash after this one; the first follows the last.
fn successor(mut hash: [u8; HASH]) -> [u8; HASH] {
    for byte in hash.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    hash
}

/// Returns the hash before this one.
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

    /// The expected hashes are those of `SkyDNS`' answers.
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
        assert_eq!(denied("*.a.skydns.test.", ResponseCode::NXDomain).len(), 2, "the name is the wildcard");
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
