//! Signatures: one for each RRset and key, signature for the first question and then cached.
//!
//! Owns: the signed bytes (RFC 4034 section 3.1.8.1, over the canonical form of section 6), the validity period, and
//! the cache of signatures. Does not own: the choice of RRsets ([`super`]), the cryptography (`key`).
//!
//! A signature is cached under a hash of all that it covers. So an RRset that changes has another one, and one that
//! rotates, or is queried in another case, has the same: the cache needs no invalidation. A collision with another
//! RRset, for which 2⁶⁴ RRsets are necessary, results in a response that does not validate.

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
/// The time before its creation from which a signature is valid: validators' clocks are wrong by hours, and by time
/// zones.
const INCEPTION_OFFSET_S: u32 = 3 * HOUR_S;
/// The time after its creation until which a signature is valid. More than twice the maximum TTL
/// ([`super::super::settings::TTL_MAX_S`]).
const VALIDITY_S: u32 = 14 * DAY_S;
/// The minimum remaining validity of a signature that is sent: as long as the RRset that it covers may be cached.
const REMAINING_MIN_S: u32 = 7 * DAY_S;
/// The maximum difference between the expirations of signatures that were signature at the same time, after a start, so
/// that they are not renewed at the same time.
const JITTER_S: u32 = 2 * DAY_S;
/// The capacity of each generation of the cache: the current and the previous one. About 200 bytes for each signature.
/// Signatures of names that do not exist, of which there are many, evict each other.
const CACHED_SIGNATURES_MAX: usize = 32 * 1024;

/// Makes signatures, and caches them.
#[derive(Debug, Default)]
pub struct Signer {
    cached: Mutex<SignatureCache>,
    hash: [RandomState; 2],
}

/// The cache of signatures in two generations. A signature that is used moves to the current one; when that is full, it
/// replaces the previous one.
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
    /// Returns the RRSIG of a whole RRset: records of one owner, type and TTL. `now` is in seconds since 1970; all
    /// times of signatures are modulo 2³² (RFC 4034 section 3.1.5). `on_signed` is called for a signature that was not
    /// cached.
    pub fn sign(&self, key: &ZoneKey, set: &[Record], now: u32, on_signed: impl FnOnce()) -> Option<Record> {
        let first = set.first()?;
        let mut input = SigInput {
            type_covered: first.record_type(),
            algorithm: key.algorithm(),
            // A `*` as the first label is not counted: the owner then is the name of the question, literally, and
            // the count states that no wildcard was expanded (RFC 4034 section 3.1.3).
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
        // The TTL is that of the RRset (RFC 4034 section 3).
        Some(Record::from_rdata(first.name.clone(), first.ttl, data))
    }

    /// Returns a cached signature that is valid now, and for long enough.
    fn cached(&self, cache_key: u128, now: u32) -> Option<CachedSignature> {
        // In serial number arithmetic (RFC 1982): differences, as signed numbers.
        let until = |cached: &CachedSignature| cached.to.wrapping_sub(now).cast_signed();
        let since = |cached: &CachedSignature| now.wrapping_sub(cached.from).cast_signed();
        let remaining_min = REMAINING_MIN_S.cast_signed();
        self.lock().find(cache_key).filter(|cached| since(cached) >= 0 && until(cached) >= remaining_min)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SignatureCache> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the hash of all that a signature covers, without its times. It is keyed with a secret, so that a client
    /// cannot register an entry with the hash of another one.
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

/// Returns the records in canonical form and order, each from its owner to its data, without duplicates.
fn canonical(set: &[Record]) -> Result<Vec<Vec<u8>>, ProtoError> {
    let mut records = set.iter().map(canonical_record).collect::<Result<Vec<_>, _>>()?;
    // They are ordered by their data, without the length of the data (RFC 4034 section 6.3).
    records.sort_unstable_by(|(a, a_at), (b, b_at)| a[*a_at..].cmp(&b[*b_at..]));
    records.dedup();
    Ok(records.into_iter().map(|(bytes, _)| bytes).collect())
}

/// Returns a record in canonical form, and the offset of its data.
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

/// Returns the bytes that are signed.
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
                let signature = signer.sign(&key, &set, NOW, || ()).unwrap();
                let verify = |set: &[Record]| {
                    let owner = &set[0].name;
                    key.dnskey().verify_rrsig(owner, set[0].dns_class, rrsig(&signature), set.iter())
                };
                verify(&set).unwrap();
                assert!(verify(&set[1..]).is_err(), "a subset is another RRset");
                assert_eq!((&signature.name, signature.ttl), (&set[0].name, set[0].ttl));
            }
        }
    }

    #[test]
    fn equal_rrsets_are_signed_once() {
        let (key, signer) = (ZoneKey::for_zone("skydns.test", Algorithm::ECDSAP256SHA256), Signer::default());
        let mut set = set("web.skydns.test.");
        let first = signer.sign(&key, &set, NOW, || ()).unwrap();
        set.rotate_left(1);
        // ECDSA signatures are random: equal ones come from the cache.
        assert_eq!(signer.sign(&key, &set, NOW + DAY_S, || ()).unwrap().data, first.data);
        assert_eq!(signer.sign(&key, &self::set("Web.SkyDNS.test."), NOW, || ()).unwrap().data, first.data);
        set[0].ttl += 1;
        assert_ne!(signer.sign(&key, &set[..1], NOW, || ()).unwrap().data, first.data);
    }

    #[test]
    fn signatures_are_renewed_in_time() {
        let (key, signer) = (ZoneKey::for_zone("skydns.test", Algorithm::ECDSAP256SHA256), Signer::default());
        let set = set("web.skydns.test.");
        // Also when the seconds since 1970 wrap.
        for begin in [NOW, u32::MAX - 10 * DAY_S] {
            let (from, to) = times(&signer.sign(&key, &set, begin, || ()).unwrap());
            assert_eq!(begin.wrapping_sub(from), INCEPTION_OFFSET_S);
            assert!((VALIDITY_S - JITTER_S..=VALIDITY_S).contains(&to.wrapping_sub(begin)));
            let last = to.wrapping_sub(REMAINING_MIN_S);
            assert_eq!(times(&signer.sign(&key, &set, last, || ()).unwrap()), (from, to));
            let again = times(&signer.sign(&key, &set, last.wrapping_add(1), || ()).unwrap());
            assert_eq!(again.0, last.wrapping_add(1).wrapping_sub(INCEPTION_OFFSET_S));
            // After the clock was set back, a signature that is not valid yet is not used.
            let back = times(&signer.sign(&key, &set, begin, || ()).unwrap());
            assert_eq!(back.0, begin.wrapping_sub(INCEPTION_OFFSET_S));
        }
    }

    #[test]
    fn signature_cache_is_bounded() {
        let mut cached = SignatureCache::default();
        let signature = || CachedSignature { from: 0, to: 0, signature: Box::default() };
        for cache_key in 0..5 * CACHED_SIGNATURES_MAX as u128 {
            cached.insert(cache_key, signature());
            assert!(cached.find(0).is_some(), "a signature in use is not evicted: {cache_key}");
            assert!(cached.current.len() + cached.previous.len() <= 2 * CACHED_SIGNATURES_MAX);
        }
        assert!(cached.find(1).is_none());
    }
}
