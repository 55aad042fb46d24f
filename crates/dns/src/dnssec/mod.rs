//! DNSSEC: signatures for clients that request them (the DO bit, RFC 3225), in zones that have a key.
//!
//! ```text
//! answer ─▶ RRsets ─▶ sign each with the keys of its zone ─▶ size: RRsets are sent with their signatures
//!   └ negative ─▶ denial: NSEC3 ──┘    └ cached signatures
//! ```
//! Owns: which records are signed, the key records of a zone, and the part of a signed answer that fits. Does not own:
//! the answer itself ([`super::answer()`]), which is the same with and without signatures.
//!
//! Records are signed when they are sent, because answers are computed then: there is no zone file. The signed unit is
//! the RRset that is sent: of a service of which a response contains a subset, every subset is an RRset.
//!
//! Only records of this server are signed. Records of other servers, for targets of aliases and for stub zones, are
//! passed on unsigned, and their records about names in a signed zone are not passed on at all.

mod denial;
pub mod key;
pub mod sign;

use super::message::Request;
use super::negative;
use super::response::{Question, Response};
use super::settings::DnsSettings;
use super::size::{Fit, fit, weighted_shuffle};
use super::stats::DnsStats;
use super::wire;
use denial::Denial;
use hickory_proto::dnssec::PublicKey;
use hickory_proto::dnssec::rdata::{CDNSKEY, CDS, DNSSECRData};
use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use key::ZoneKey;
use sign::Signer;
use skyhound_core::catalog::Snapshot;
use skyhound_model::Name;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The TTL of a zone's key records (`SkyDNS`' number). A new key is indexes everywhere after that.
const KEY_TTL_S: u32 = 3600;
/// The maximum number of RRsets of a section that are signed and sent. The first are those of the question, including
/// the longest chain of aliases; the RRsets after these are addresses of further aliases' targets, and each would cost
/// a signature.
const SIGNED_RRSETS_MAX: usize = 16;
/// The maximum number of RRsets of the additional section: with the one RRset of the usual answer, as many as unbound
/// validates at once. Since "`KeyTrap`" (CVE-2023-50387) it pauses after each 8, for longer each time: 64 of them took
/// 2 s.
const ADDITIONAL_RRSETS_MAX: usize = 7;
/// The minimum length of an RRset with its signature: RRsets that cannot fit are not signed.
const SIGNED_RRSET_MIN_LEN: usize = 100;
/// The maximum length of an answer section in canonical form, where names are not compressed. Validators put an RRset
/// together with the data of its signature into 64 KiB, and treat a larger one as bogus: unbound does.
const CANONICAL_MAX: usize = 65_535 - 18 - 255;
/// The length of an RRSIG without its two names and the signature (RFC 4034 section 3.1, RFC 1035 section 3.2.1), and
/// with the ends of those names, which hickory does not count.
const RRSIG_FIXED: usize = 10 + 18 + 2;

/// Returns the key records at the apex of a zone, which are for all clients, with or without DO.
pub(super) fn apex_keys(settings: &DnsSettings, zone: &Name, question: &Question) -> Option<Response> {
    let response = |data: &dyn Fn(&ZoneKey) -> DNSSECRData| {
        let record = |key: &ZoneKey| Record::from_rdata(question.name.clone(), KEY_TTL_S, RData::DNSSEC(data(key)));
        let answers: Vec<_> = settings.keys_of(zone).map(record).collect();
        (!answers.is_empty()).then(|| Response { authoritative: true, answers, ..Response::default() })
    };
    match question.qtype {
        RecordType::DNSKEY => response(&|key| DNSSECRData::DNSKEY(key.dnskey().clone())),
        // The DS records that the parent should have (RFC 7344), for parents that poll them.
        RecordType::CDS => response(&|key| {
            let ds = key.ds();
            let (tag, digest) = (ds.key_tag(), ds.digest().to_vec());
            DNSSECRData::CDS(CDS::new(tag, Some(ds.algorithm()), ds.digest_type(), digest))
        }),
        RecordType::CDNSKEY => response(&|key| {
            let (flags, public) = (key.dnskey().flags(), key.dnskey().public_key());
            let (algorithm, public) = (Some(public.algorithm()), public.public_bytes().to_vec());
            DNSSECRData::CDNSKEY(CDNSKEY::with_flags(flags, algorithm, public))
        }),
        _ => None,
    }
}

/// Returns the DS records of a zone whose parent zone is served and signed here: the parent zone answers (RFC 4035
/// section 3.1.4.1).
pub(super) fn delegation_signer(snapshot: &Snapshot, settings: &DnsSettings, question: &Question) -> Option<Response> {
    let parent_zone = parent_zone(settings, &question.tree_name).filter(|_| question.qtype == RecordType::DS)?;
    settings.keys_of(parent_zone).next()?;
    let ds =
        |key: &ZoneKey| Record::from_rdata(question.name.clone(), KEY_TTL_S, RData::DNSSEC(DNSSECRData::DS(key.ds())));
    let answers: Vec<_> = settings.keys_of(&question.tree_name).map(ds).collect();
    if answers.is_empty() {
        return Some(negative::nodata(negative::soa(snapshot, settings, parent_zone, &question.name)));
    }
    Some(Response { authoritative: true, answers, ..Response::default() })
}

/// Returns the zone that contains another zone, if this server is authoritative for both.
fn parent_zone<'s>(settings: &'s DnsSettings, zone: &Name) -> Option<&'s Name> {
    let is_parent = |other: &&Name| zone.is_within(other) && *other != zone;
    settings.zones.contains(zone).then(|| settings.zones.iter().filter(is_parent))?.max_by_key(|z| z.labels().len())
}

/// The keys, and the cache of signatures that were made with them.
#[derive(Debug)]
pub(super) struct Dnssec {
    settings: Arc<DnsSettings>,
    signer: Signer,
    stats: Arc<DnsStats>,
}

impl Dnssec {
    /// Creates the signing state for the keys and zones of these settings.
    pub(super) fn new(settings: Arc<DnsSettings>, stats: Arc<DnsStats>) -> Self {
        Self { settings, signer: Signer::default(), stats }
    }

    /// Returns the signing of an answer before upstream records are added. `None` if it is not signed: the client does
    /// not request signatures (DO, RFC 3225), there are no keys, or it is not authoritative.
    pub(super) fn signing<'s>(&'s self, request: &'s Request, response: &Response) -> Option<Signing<'s>> {
        let dnssec_ok = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let [query] = &request.queries[..] else { return None };
        let own_counts = (response.answers.len(), response.additional.len());
        let signs = dnssec_ok && response.authoritative && !self.settings.keys.is_empty();
        signs.then_some(Signing { dnssec: self, own_counts, name: &query.name, qtype: query.query_type })
    }

    /// Returns at most `max` RRsets of a section with their signatures. The first `own_count` records are this
    /// server's.
    fn section(&self, records: &[Record], own_count: usize, max: usize, now: u32) -> Vec<Record> {
        let (own, upstream) = records.split_at(own_count.min(records.len()));
        let mut section = Vec::with_capacity(records.len() + 8);
        for rrset in rrsets(own).into_iter().take(max) {
            let signatures: Vec<_> = self.keys(&rrset[0]).filter_map(|key| self.signature(key, &rrset, now)).collect();
            section.extend(rrset);
            section.extend(signatures);
        }
        section.extend(upstream.iter().filter(|record| self.keys(record).next().is_none()).cloned());
        section
    }

    fn signature(&self, key: &ZoneKey, rrset: &[Record], now: u32) -> Option<Record> {
        self.signer.sign(key, rrset, now, || self.stats.count_signature())
    }

    /// The keys that sign a record: none in a zone without keys, and outside this server's zones.
    fn keys(&self, record: &Record) -> impl Iterator<Item = &ZoneKey> {
        let tree_name = wire::to_tree_name(&record.name).ok().filter(|_| record.dns_class == DNSClass::IN);
        let zone = tree_name.as_ref().and_then(|tree_name| match record.record_type() {
            RecordType::DS => parent_zone(&self.settings, tree_name),
            _ => self.settings.zone_of(tree_name),
        });
        zone.into_iter().flat_map(|zone| self.settings.keys_of(zone))
    }

    fn is_zone(&self, name: &WireName) -> bool {
        let settings = &self.settings;
        wire::to_tree_name(name).is_ok_and(|tree_name| {
            settings.zones.iter().chain(settings.static_zones.names()).any(|zone| *zone == tree_name)
        })
    }

    /// The maximum length of the signatures of an RRset.
    fn signatures_len(&self, rrset: &[Record]) -> usize {
        let names = |key: &ZoneKey| rrset[0].name.len() + key.owner().len();
        self.keys(&rrset[0]).map(|key| RRSIG_FIXED + names(key) + key.signature_len()).sum()
    }
}

/// An answer before it is signed.
pub(super) struct Signing<'s> {
    dnssec: &'s Dnssec,
    /// The number of this server's records in the answer and the additional section: upstream records follow them.
    own_counts: (usize, usize),
    name: &'s WireName,
    qtype: RecordType,
}

impl Signing<'_> {
    /// Signs the response and returns the part that fits: RRsets with their signatures. `truncated` is true if some do
    /// not fit, which over UDP becomes TC; over other transports `response` is a subset then, as there is no larger
    /// transport to retry with.
    pub(super) fn fit(&self, response: &mut Response, question: &[u8], max_len: u16, udp: bool, seed: u64) -> Fit {
        let unsigned = std::mem::take(response);
        if fit(&unsigned, question, max_len).truncated || self.is_too_large(&unsigned) {
            if udp {
                // The client retries over TCP: no signature is necessary for that.
                *response = Response { answers: Vec::new(), authority: Vec::new(), additional: Vec::new(), ..unsigned };
                return Fit { answers: 0, authority: 0, additional: 0, truncated: true };
            }
            return self.fit_subset(response, &unsigned, question, max_len, seed);
        }
        *response = self.sign(&unsigned, self.own_counts, max_len);
        let fits = whole_rrsets(response, fit(response, question, max_len));
        if fits.truncated && !udp { self.fit_subset(response, &unsigned, question, max_len, seed) } else { fits }
    }

    /// Draws a subset of an answer that does not fit even over TCP, and then signs it.
    fn fit_subset(
        &self,
        response: &mut Response,
        unsigned: &Response,
        question: &[u8],
        max_len: u16,
        seed: u64,
    ) -> Fit {
        let mut subset = Response { additional: Vec::new(), ..unsigned.clone() };
        subset.answers.truncate(self.own_counts.0);
        weighted_shuffle(&mut subset, seed);
        let mut remaining = CANONICAL_MAX;
        let fits = |record: &&Record| {
            let rest = remaining.checked_sub(canonical_len(record));
            remaining = rest.unwrap_or_default();
            rest.is_some()
        };
        let max = subset.answers.iter().take_while(fits).count();
        subset.answers.truncate(max);
        let signatures: usize =
            rrsets(&subset.answers).iter().take(SIGNED_RRSETS_MAX).map(|rrset| self.dnssec.signatures_len(rrset)).sum();
        let rest = u16::try_from(usize::from(max_len).saturating_sub(signatures)).unwrap_or(u16::MAX);
        let max = fit(&subset, question, rest).answers;
        subset.answers.truncate(max);
        *response = self.sign(&subset, (max, 0), max_len);
        Fit { truncated: true, ..whole_rrsets(response, fit(response, question, max_len)) }
    }

    /// Returns whether an answer is larger than validators accept, independently of its compression.
    fn is_too_large(&self, response: &Response) -> bool {
        response.answers.iter().take(self.own_counts.0).map(canonical_len).sum::<usize>() > CANONICAL_MAX
    }

    /// Returns the response with signatures, and with the denial of existence of a negative one.
    fn sign(&self, response: &Response, own_counts: (usize, usize), max_len: u16) -> Response {
        let (dnssec, now) = (self.dnssec, now());
        let mut authority = response.authority.clone();
        authority.extend(self.denial(response).unwrap_or_default());
        let additional_max = ADDITIONAL_RRSETS_MAX.min(usize::from(max_len) / SIGNED_RRSET_MIN_LEN);
        Response {
            answers: dnssec.section(&response.answers, own_counts.0, SIGNED_RRSETS_MAX, now),
            authority: dnssec.section(&authority, authority.len(), SIGNED_RRSETS_MAX, now),
            additional: dnssec.section(&response.additional, own_counts.1, additional_max, now),
            stored_weights: response.stored_weights.clone(),
            upstream_queries: Vec::new(),
            ..*response
        }
    }

    /// Returns the records that prove an answer without records, in a zone that is signed.
    fn denial(&self, response: &Response) -> Option<Vec<Record>> {
        let ([], [soa]) = (&response.answers[..], &response.authority[..]) else { return None };
        self.dnssec.keys(soa).next()?;
        let delegation = self.qtype == RecordType::DS && *self.name != soa.name && self.dnssec.is_zone(self.name);
        let denial = Denial { soa, name: self.name, qtype: self.qtype, rcode: response.rcode, delegation };
        denial.records().ok()
    }
}

/// Groups records by owner and type, in the order of each group's first record.
fn rrsets(records: &[Record]) -> Vec<Vec<Record>> {
    let mut rrsets: Vec<Vec<Record>> = Vec::new();
    let mut indexes = HashMap::new();
    for record in records {
        let at = *indexes.entry((&record.name, record.record_type())).or_insert(rrsets.len());
        match rrsets.get_mut(at) {
            Some(rrset) => rrset.push(record.clone()),
            None => rrsets.push(vec![record.clone()]),
        }
    }
    rrsets
}

/// The length of a record in canonical form (RFC 4034 section 6.2).
fn canonical_len(record: &Record) -> usize {
    record.name.len() + 1 + 10 + record.data.to_bytes().map_or(0, |data| data.len())
}

/// Reduces `fits`, the part of a signed answer that fits, to whole RRsets with their signatures. Half an RRset would
/// not validate, nor would one without a signature.
fn whole_rrsets(response: &Response, fits: Fit) -> Fit {
    Fit {
        answers: rrset_start(&response.answers, fits.answers),
        authority: rrset_start(&response.authority, fits.authority),
        additional: rrset_start(&response.additional, fits.additional),
        truncated: fits.truncated,
    }
}

/// Returns the start of the RRset that contains `at`.
fn rrset_start(records: &[Record], at: usize) -> usize {
    let same = |a: &Record, b: &Record| a.record_type() == b.record_type() && a.name == b.name;
    let is_start = |at: &usize| match records.get(at.saturating_sub(1)..=*at) {
        Some([before, record]) => record.record_type() != RecordType::RRSIG && !same(before, record),
        // The first record, and the position after the last.
        _ => true,
    };
    (0..=at).rev().find(is_start).unwrap_or(0)
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(since & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
