//! Signatures: one for each set of records and key, made when it is first asked for and kept.
//!
//! Owns: what is signed (RFC 4034 section 3.1.8.1, over the canonical form of section 6), for how long, and
//! which signatures are kept. Does not own: which sets ([`super`]), the arithmetic (`key`).
//!
//! A signature is kept under a hash of all that it is about. So a set that changes has another one, and one
//! that turns round by rotation, or is asked for in another case, has the same: nothing has to be told of
//! changes. Who is asked with the same hash for another set, which takes 2⁶⁴ sets, says what does not validate.

use super::key::ZoneKey;
use hickory_proto::ProtoError;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::rr::{RData, Record, SerialNumber};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};

const HOUR_S: u32 = 3600;
const DAY_S: u32 = 24 * HOUR_S;
/// How long before it is made a signature is valid: clocks of validators are wrong by hours, and by zones.
const BEFORE_S: u32 = 3 * HOUR_S;
/// How long after it. Longer than anything may be cached by twice ([`super::super::settings::TTL_MAX_S`]).
const VALID_S: u32 = 14 * DAY_S;
/// How long it has to be valid yet when it is given out: as long as what it signs may be cached.
const LEFT_S: u32 = 7 * DAY_S;
/// By how much the ends of signatures differ, so that what was made at the same time, after a start, is not
/// made again at the same time.
const JITTER_S: u32 = 2 * DAY_S;
/// How many signatures are kept, twice: those in use and those that were until lately. About 200 bytes each.
/// Names that do not exist, of which there are many, push each other out.
const KEPT_MAX: usize = 32 * 1024;

/// Makes signatures, and keeps them.
#[derive(Debug, Default)]
pub struct Signer {
    kept: Mutex<Generations>,
    hash: [RandomState; 2],
}

/// What is in use moves to the young; when there are enough of them the old are dropped, and they are the old.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u128, Kept>,
    old: HashMap<u128, Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    from: u32,
    to: u32,
    signature: Box<[u8]>,
}

impl Signer {
    /// The RRSIG of a whole set: records of one owner, type and TTL. `now` is in seconds since 1970; all times
    /// of signatures are modulo 2³² (RFC 4034 section 3.1.5). `made` hears of one that was not kept.
    pub fn sign(&self, key: &ZoneKey, set: &[Record], now: u32, made: impl FnOnce()) -> Option<Record> {
        let first = set.first()?;
        let mut input = SigInput {
            type_covered: first.record_type(),
            algorithm: key.algorithm(),
            // A `*` that stands first is not counted: the owner then is what was asked, literally, and the
            // count says that nothing was expanded (RFC 4034 section 3.1.3).
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: SerialNumber::new(0),
            sig_inception: SerialNumber::new(0),
            key_tag: key.tag(),
            signer_name: key.owner().clone(),
        };
        let records = canonical(set).ok()?;
        let id = self.id(&input, &records)?;
        let kept = self.kept(id, now).or_else(|| {
            let jitter = u32::try_from(id % u128::from(JITTER_S)).unwrap_or(0);
            let (from, to) = (now.wrapping_sub(BEFORE_S), now.wrapping_add(VALID_S - jitter));
            (input.sig_inception, input.sig_expiration) = (SerialNumber::new(from), SerialNumber::new(to));
            let signature = key.sign(&signed(&input, &records).ok()?)?.into();
            let new = Kept { from, to, signature };
            self.lock().keep(id, new.clone());
            made();
            Some(new)
        })?;
        (input.sig_inception, input.sig_expiration) = (SerialNumber::new(kept.from), SerialNumber::new(kept.to));
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, kept.signature.into())));
        // The TTL is that of the set (RFC 4034 section 3).
        Some(Record::from_rdata(first.name.clone(), first.ttl, data))
    }

    /// A kept signature that is valid now, and for long enough.
    fn kept(&self, id: u128, now: u32) -> Option<Kept> {
        // In the arithmetic of serials (RFC 1982): differences, as signed numbers.
        let until = |kept: &Kept| kept.to.wrapping_sub(now).cast_signed();
        let since = |kept: &Kept| now.wrapping_sub(kept.from).cast_signed();
        let left = LEFT_S.cast_signed();
        self.lock().find(id).filter(|kept| since(kept) >= 0 && until(kept) >= left)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that a signature is about but its times. The hash has a secret, so that nobody can register what
    /// has the hash of something else.
    fn id(&self, input: &SigInput, records: &[Vec<u8>]) -> Option<u128> {
        let bytes = signed(input, records).ok()?;
        let half = |hash: &RandomState| {
            let mut hasher = hash.build_hasher();
            hasher.write(&bytes);
            u128::from(hasher.finish())
        };
        Some(half(&self.hash[0]) << 64 | half(&self.hash[1]))
    }
}

impl Generations {
    fn find(&mut self, id: u128) -> Option<Kept> {
        if let Some(kept) = self.young.get(&id) {
            return Some(kept.clone());
        }
        let kept = self.old.remove(&id)?;
        self.keep(id, kept.clone());
        Some(kept)
    }

    fn keep(&mut self, id: u128, kept: Kept) {
        if self.young.len() >= KEPT_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, kept);
    }
}

/// The records in canonical form and order, each from its owner to its data, each once.
fn canonical(set: &[Record]) -> Result<Vec<Vec<u8>>, ProtoError> {
    let mut records = set.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    // They go by their data, and the length of the data does not count (RFC 4034 section 6.3).
    records.sort_unstable_by(|(a, a_at), (b, b_at)| a[*a_at..].cmp(&b[*b_at..]));
    records.dedup();
    Ok(records.into_iter().map(|(bytes, _)| bytes).collect())
}

/// A record in canonical form, and where its data begins.
fn one(record: &Record) -> Result<(Vec<u8>, usize), ProtoError> {
    let mut bytes = Vec::with_capacity(64);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_canonical_form(true);
    encoder.set_name_encoding(NameEncoding::UncompressedLowercase);
    record.name.emit(&mut encoder)?;
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.record_type().emit(&mut encoder)?;
    record.dns_class.emit(&mut encoder)?;
    encoder.emit_u32(record.ttl)?;
    let length = encoder.place::<u16>()?;
    let data_at = encoder.offset();
    record.data.emit(&mut encoder)?;
    let written = u16::try_from(encoder.offset() - data_at).map_err(|_| "a record of more than 64 KiB")?;
    length.replace(&mut encoder, written)?;
    Ok((bytes, data_at))
}

/// The bytes that are signed.
fn signed(input: &SigInput, records: &[Vec<u8>]) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::with_capacity(64 + records.iter().map(Vec::len).sum::<usize>());
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_canonical_form(true);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    input.emit(&mut encoder)?;
    for record in records {
        bytes.extend_from_slice(record);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ask, snapshot};
    use hickory_proto::dnssec::{Algorithm, Verifier};
    use hickory_proto::rr::RecordType;

    const NOW: u32 = 1_800_000_000;

    fn set(name: &str) -> Vec<Record> {
        let tree = snapshot(&[
            ("web/a", r#"{"host":"10.0.0.10","port":1}"#),
            ("web/b", r#"{"host":"10.0.0.9","port":256}"#),
            ("web/c", r#"{"host":"a.long.name.example.org","port":2}"#),
        ]);
        ask(&tree, name, RecordType::SRV).answers
    }

    fn rrsig(record: &Record) -> &RRSIG {
        match &record.data {
            RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => rrsig,
            other => panic!("no RRSIG: {other}"),
        }
    }

    fn times(record: &Record) -> (u32, u32) {
        let input = rrsig(record).input();
        (input.sig_inception.get(), input.sig_expiration.get())
    }

    #[test]
    fn another_library_finds_them_right() {
        for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ED25519] {
            let (key, signer) = (ZoneKey::new_for("skydns.test", algorithm), Signer::default());
            for name in ["web.skydns.test.", "WEB.skyDNS.test.", "*.skydns.test."] {
                let set = set(name);
                assert_eq!(set.len(), 3);
                let made = signer.sign(&key, &set, NOW, || ()).unwrap();
                let verify = |set: &[Record]| {
                    let owner = &set[0].name;
                    key.dnskey().verify_rrsig(owner, set[0].dns_class, rrsig(&made), set.iter())
                };
                verify(&set).unwrap();
                assert!(verify(&set[1..]).is_err(), "a part is not the set");
                assert_eq!((&made.name, made.ttl), (&set[0].name, set[0].ttl));
            }
        }
    }

    #[test]
    fn what_says_the_same_is_signed_once() {
        let (key, signer) = (ZoneKey::new_for("skydns.test", Algorithm::ECDSAP256SHA256), Signer::default());
        let mut set = set("web.skydns.test.");
        let first = signer.sign(&key, &set, NOW, || ()).unwrap();
        set.rotate_left(1);
        // ECDSA draws: the same bytes twice are the same signature.
        assert_eq!(signer.sign(&key, &set, NOW + DAY_S, || ()).unwrap().data, first.data);
        assert_eq!(signer.sign(&key, &self::set("Web.SkyDNS.test."), NOW, || ()).unwrap().data, first.data);
        set[0].ttl += 1;
        assert_ne!(signer.sign(&key, &set[..1], NOW, || ()).unwrap().data, first.data);
    }

    #[test]
    fn signatures_are_made_again_in_time() {
        let (key, signer) = (ZoneKey::new_for("skydns.test", Algorithm::ECDSAP256SHA256), Signer::default());
        let set = set("web.skydns.test.");
        // Also where the seconds since 1970 begin again.
        for begin in [NOW, u32::MAX - 10 * DAY_S] {
            let (from, to) = times(&signer.sign(&key, &set, begin, || ()).unwrap());
            assert_eq!(begin.wrapping_sub(from), BEFORE_S);
            assert!((VALID_S - JITTER_S..=VALID_S).contains(&to.wrapping_sub(begin)));
            let last = to.wrapping_sub(LEFT_S);
            assert_eq!(times(&signer.sign(&key, &set, last, || ()).unwrap()), (from, to));
            let again = times(&signer.sign(&key, &set, last.wrapping_add(1), || ()).unwrap());
            assert_eq!(again.0, last.wrapping_add(1).wrapping_sub(BEFORE_S));
            // A clock that was put back: what is not valid yet is of no use.
            let back = times(&signer.sign(&key, &set, begin, || ()).unwrap());
            assert_eq!(back.0, begin.wrapping_sub(BEFORE_S));
        }
    }

    #[test]
    fn as_many_are_kept_as_are_to_be() {
        let mut kept = Generations::default();
        let one = || Kept { from: 0, to: 0, signature: Box::default() };
        for id in 0..5 * KEPT_MAX as u128 {
            kept.keep(id, one());
            assert!(kept.find(0).is_some(), "what is asked for all the time stays: {id}");
            assert!(kept.young.len() + kept.old.len() <= 2 * KEPT_MAX);
        }
        assert!(kept.find(1).is_none());
    }
}
