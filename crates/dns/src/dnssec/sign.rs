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
const INCEPTION_OFFSET_S: u32 = 3 * HOUR_S;
/// How long after it. Longer than anything may be cached by twice ([`super::super::settings::TTL_MAX_S`]).
const VALIDITY_S: u32 = 14 * DAY_S;
/// How long it has to be valid yet when it is given out: as long as what it signs may be cached.
const REMAINING_MIN_S: u32 = 7 * DAY_S;
/// By how much the ends of signatures differ, so that what was made at the same time, after a start, is not
/// made again at the same time.
const JITTER_S: u32 = 2 * DAY_S;
/// How many signatures are kept, twice: those in use and those that were until lately. About 200 bytes each.
/// Names that do not exist, of which there are many, push each other out.
const CACHED_SIGNATURES_MAX: usize = 32 * 1024;

/// Makes signatures, and keeps them.
#[derive(Debug, Default)]
pub struct Signer {
    cached: Mutex<SignatureCache>,
    hash: [RandomState; 2],
}

/// What is in use moves to the young; when there are enough of them the old are dropped, and they are the old.
#[derive(Debug, Default)]
struct SignatureCache {
    current: HashMap<u128, CachedSignature>,
    previous: HashMap<u128, CachedSignature>,
}

#[derive(Debug, Clone)]
struct CachedSignature {
    from: u32,
    to: u32,
    signature: Box<[u8]>,
}

impl Signer {
    /// The RRSIG of a whole set: records of one owner, type and TTL. `now` is in seconds since 1970; all times
    /// of signatures are modulo 2³² (RFC 4034 section 3.1.5). `on_signed` is called for one that was not cached.
    pub fn sign(&self, key: &ZoneKey, set: &[Record], now: u32, on_signed: impl FnOnce()) -> Option<Record> {
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
        let cache_key = self.cache_key(&input, &records)?;
        let cached = self.cached(cache_key, now).or_else(|| {
            let jitter = u32::try_from(cache_key % u128::from(JITTER_S)).unwrap_or(0);
            let (from, to) = (now.wrapping_sub(INCEPTION_OFFSET_S), now.wrapping_add(VALIDITY_S - jitter));
            (input.sig_inception, input.sig_expiration) = (SerialNumber::new(from), SerialNumber::new(to));
            let signature = key.sign(&signed_data(&input, &records).ok()?)?.into();
            let new = CachedSignature { from, to, signature };
            self.lock().insert(cache_key, new.clone());
            on_signed();
            Some(new)
        })?;
        (input.sig_inception, input.sig_expiration) = (SerialNumber::new(cached.from), SerialNumber::new(cached.to));
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, cached.signature.into())));
        // The TTL is that of the set (RFC 4034 section 3).
        Some(Record::from_rdata(first.name.clone(), first.ttl, data))
    }

    /// A kept signature that is valid now, and for long enough.
    fn cached(&self, cache_key: u128, now: u32) -> Option<CachedSignature> {
        // In the arithmetic of serials (RFC 1982): differences, as signed numbers.
        let until = |cached: &CachedSignature| cached.to.wrapping_sub(now).cast_signed();
        let since = |cached: &CachedSignature| now.wrapping_sub(cached.from).cast_signed();
        let remaining_min = REMAINING_MIN_S.cast_signed();
        self.lock().find(cache_key).filter(|cached| since(cached) >= 0 && until(cached) >= remaining_min)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SignatureCache> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that a signature is about but its times. The hash has a secret, so that nobody can register what
    /// has the hash of something else.
    fn cache_key(&self, input: &SigInput, records: &[Vec<u8>]) -> Option<u128> {
        let bytes = signed_data(input, records).ok()?;
        let half = |hash: &RandomState| {
            let mut hasher = hash.build_hasher();
            hasher.write(&bytes);
            u128::from(hasher.finish())
        };
        Some(half(&self.hash[0]) << 64 | half(&self.hash[1]))
    }
}

impl SignatureCache {
    fn find(&mut self, cache_key: u128) -> Option<CachedSignature> {
        if let Some(cached) = self.current.get(&cache_key) {
            return Some(cached.clone());
        }
        let cached = self.previous.remove(&cache_key)?;
        self.insert(cache_key, cached.clone());
        Some(cached)
    }

    fn insert(&mut self, cache_key: u128, cached: CachedSignature) {
        if self.current.len() >= CACHED_SIGNATURES_MAX {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(cache_key, cached);
    }
}

/// The records in canonical form and order, each from its owner to its data, each once.
fn canonical(set: &[Record]) -> Result<Vec<Vec<u8>>, ProtoError> {
    let mut records = set.iter().map(canonical_record).collect::<Result<Vec<_>, _>>()?;
    // They go by their data, and the length of the data does not count (RFC 4034 section 6.3).
    records.sort_unstable_by(|(a, a_at), (b, b_at)| a[*a_at..].cmp(&b[*b_at..]));
    records.dedup();
    Ok(records.into_iter().map(|(bytes, _)| bytes).collect())
}

/// A record in canonical form, and where its data begins.
fn canonical_record(record: &Record) -> Result<(Vec<u8>, usize), ProtoError> {
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
fn signed_data(input: &SigInput, records: &[Vec<u8>]) -> Result<Vec<u8>, ProtoError> {
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
    fn signatures_verify_with_hickory() {
        for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ED25519] {
            let (key, signer) = (ZoneKey::for_zone("skydns.test", algorithm), Signer::default());
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
    fn equal_rrsets_are_signed_once() {
        let (key, signer) = (ZoneKey::for_zone("skydns.test", Algorithm::ECDSAP256SHA256), Signer::default());
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
    fn signatures_are_renewed_in_time() {
        let (key, signer) = (ZoneKey::for_zone("skydns.test", Algorithm::ECDSAP256SHA256), Signer::default());
        let set = set("web.skydns.test.");
        // Also where the seconds since 1970 begin again.
        for begin in [NOW, u32::MAX - 10 * DAY_S] {
            let (from, to) = times(&signer.sign(&key, &set, begin, || ()).unwrap());
            assert_eq!(begin.wrapping_sub(from), INCEPTION_OFFSET_S);
            assert!((VALIDITY_S - JITTER_S..=VALIDITY_S).contains(&to.wrapping_sub(begin)));
            let last = to.wrapping_sub(REMAINING_MIN_S);
            assert_eq!(times(&signer.sign(&key, &set, last, || ()).unwrap()), (from, to));
            let again = times(&signer.sign(&key, &set, last.wrapping_add(1), || ()).unwrap());
            assert_eq!(again.0, last.wrapping_add(1).wrapping_sub(INCEPTION_OFFSET_S));
            // A clock that was put back: what is not valid yet is of no use.
            let back = times(&signer.sign(&key, &set, begin, || ()).unwrap());
            assert_eq!(back.0, begin.wrapping_sub(INCEPTION_OFFSET_S));
        }
    }

    #[test]
    fn signature_cache_is_bounded() {
        let mut cached = SignatureCache::default();
        let canonical_record = || CachedSignature { from: 0, to: 0, signature: Box::default() };
        for cache_key in 0..5 * CACHED_SIGNATURES_MAX as u128 {
            cached.insert(cache_key, canonical_record());
            assert!(cached.find(0).is_some(), "what is asked for all the time stays: {cache_key}");
            assert!(cached.current.len() + cached.previous.len() <= 2 * CACHED_SIGNATURES_MAX);
        }
        assert!(cached.find(1).is_none());
    }
}
