//! DNSSEC: signatures for who asks for them (the DO bit, RFC 3225), in zones that have a key.
//!
//! ```text
//! answer ─▶ sets of records ─▶ sign each with the keys of its zone ─▶ size: sets leave with their signatures
//!   └ says no ─▶ denial: NSEC3 ──┘    └ kept from the last time
//! ```
//! Owns: which records are signed, what a zone says about its keys, and what of a signed answer fits. Does not
//! own: the answer itself ([`super::answer()`]), which is the same with and without signatures.
//!
//! Signed while answering, because answers are made while answering: there is no zone file. What is signed is
//! the set that is sent: of a service that DNS shows a part of at a time every part is a set of its own.
//!
//! Only our own records are signed. What other servers said, behind our aliases and for stub zones, is passed
//! on unsigned, and what they say about names in a signed zone is not passed on at all.

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

/// How long what a zone says about its keys may be cached (`SkyDNS`' number). A new key is known everywhere
/// after that.
const KEY_TTL_S: u32 = 3600;
/// How many sets of an answer are signed and sent. The first are what was asked for, the longest chain of aliases
/// among it; beyond these there are addresses behind further aliases, and each would cost a signature.
const SIGNED_RRSETS_MAX: usize = 16;
/// How many sets of the additional section: with the one set of the usual answer, as many as unbound validates
/// at once. Since "`KeyTrap`" (CVE-2023-50387) it pauses after each 8, for longer each time: 64 of them were 2 s.
const ADDITIONAL_RRSETS_MAX: usize = 7;
/// The least that a set takes with its signature: what cannot fit need not be signed.
const SIGNED_RRSET_MIN_LEN: usize = 100;
/// How many bytes the sets of an answer may have in canonical form, where names are not compressed. Validators
/// put a set together with the data of its signature in 64 KiB, and call bogus what does not fit: unbound does.
const CANONICAL_MAX: usize = 65_535 - 18 - 255;
/// What an RRSIG has beside its two names and the signature (RFC 4034 section 3.1, RFC 1035 section 3.2.1),
/// and the ends of those names, which hickory does not count.
const RRSIG_FIXED: usize = 10 + 18 + 2;

/// What a zone's own name says about its keys: to everybody, signed or not.
pub(super) fn apex_keys(settings: &DnsSettings, zone: &Name, question: &Question) -> Option<Response> {
    let of = |data: &dyn Fn(&ZoneKey) -> DNSSECRData| {
        let record = |key: &ZoneKey| Record::from_rdata(question.name.clone(), KEY_TTL_S, RData::DNSSEC(data(key)));
        let answers: Vec<_> = settings.keys_of(zone).map(record).collect();
        (!answers.is_empty()).then(|| Response { authoritative: true, answers, ..Response::default() })
    };
    match question.qtype {
        RecordType::DNSKEY => of(&|key| DNSSECRData::DNSKEY(key.dnskey().clone())),
        // What the parent should say (RFC 7344), for parents that look.
        RecordType::CDS => of(&|key| {
            let ds = key.ds();
            let (tag, digest) = (ds.key_tag(), ds.digest().to_vec());
            DNSSECRData::CDS(CDS::new(tag, Some(ds.algorithm()), ds.digest_type(), digest))
        }),
        RecordType::CDNSKEY => of(&|key| {
            let (flags, public) = (key.dnskey().flags(), key.dnskey().public_key());
            let (algorithm, public) = (Some(public.algorithm()), public.public_bytes().to_vec());
            DNSSECRData::CDNSKEY(CDNSKEY::with_flags(flags, algorithm, public))
        }),
        _ => None,
    }
}

/// DS of a zone below another one of ours that is signed: the zone above answers (RFC 4035 section 3.1.4.1).
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

/// The zone that a zone lies in, if both are ours.
fn parent_zone<'s>(settings: &'s DnsSettings, zone: &Name) -> Option<&'s Name> {
    let around = |other: &&Name| zone.is_within(other) && *other != zone;
    settings.zones.contains(zone).then(|| settings.zones.iter().filter(around))?.max_by_key(|z| z.labels().len())
}

/// The keys, and the signatures that were made with them.
#[derive(Debug)]
pub(super) struct Dnssec {
    settings: Arc<DnsSettings>,
    signer: Signer,
    stats: Arc<DnsStats>,
}

impl Dnssec {
    /// With the keys and for the zones of these settings.
    pub(super) fn new(settings: Arc<DnsSettings>, stats: Arc<DnsStats>) -> Self {
        Self { settings, signer: Signer::default(), stats }
    }

    /// What to sign of an answer, while it is ours alone. `None` when nothing is: nobody asks for signatures
    /// (DO, RFC 3225), there are no keys, or it is none of an authority.
    pub(super) fn signing<'s>(&'s self, request: &'s Request, response: &Response) -> Option<Signing<'s>> {
        let dnssec_ok = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let [query] = &request.queries[..] else { return None };
        let own = (response.answers.len(), response.additional.len());
        let signs = dnssec_ok && response.authoritative && !self.settings.keys.is_empty();
        signs.then_some(Signing { dnssec: self, own, name: &query.name, qtype: query.query_type })
    }

    /// The sets of a section with their signatures, `max` of them. The first `own` records are ours.
    fn section(&self, records: &[Record], own: usize, max: usize, now: u32) -> Vec<Record> {
        let (own, foreign) = records.split_at(own.min(records.len()));
        let mut section = Vec::with_capacity(records.len() + 8);
        for rrset in rrsets(own).into_iter().take(max) {
            let signatures: Vec<_> = self.keys(&rrset[0]).filter_map(|key| self.signature(key, &rrset, now)).collect();
            section.extend(rrset);
            section.extend(signatures);
        }
        section.extend(foreign.iter().filter(|record| self.keys(record).next().is_none()).cloned());
        section
    }

    fn signature(&self, key: &ZoneKey, rrset: &[Record], now: u32) -> Option<Record> {
        self.signer.sign(key, rrset, now, || self.stats.count_signature())
    }

    /// The keys that sign a record: none in a zone without, and outside our zones.
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

    /// The most bytes that the signatures of a set take.
    fn signatures_len(&self, rrset: &[Record]) -> usize {
        let names = |key: &ZoneKey| rrset[0].name.len() + key.owner().len();
        self.keys(&rrset[0]).map(|key| RRSIG_FIXED + names(key) + key.signature_len()).sum()
    }
}

/// An answer on its way to be signed.
pub(super) struct Signing<'s> {
    dnssec: &'s Dnssec,
    /// How many records of the answer and the additional section are ours: what others say comes behind them.
    own: (usize, usize),
    name: &'s WireName,
    qtype: RecordType,
}

impl Signing<'_> {
    /// Signs what is said, and says what of it fits: sets with their signatures. `truncated` when some do not, which
    /// over UDP becomes TC; otherwise `response` is a part of what it was, as there is nothing larger to turn to.
    pub(super) fn fit(&self, response: &mut Response, question: &[u8], max_len: u16, udp: bool, seed: u64) -> Fit {
        let unsigned = std::mem::take(response);
        if fit(&unsigned, question, max_len).truncated || self.is_too_large(&unsigned) {
            if udp {
                // It is asked for again over TCP: nothing has to be signed for that.
                *response = Response { answers: Vec::new(), authority: Vec::new(), additional: Vec::new(), ..unsigned };
                return Fit { answers: 0, authority: 0, additional: 0, truncated: true };
            }
            return self.fit_part(response, &unsigned, question, max_len, seed);
        }
        *response = self.sign(&unsigned, self.own, max_len);
        let fits = whole_rrsets(response, fit(response, question, max_len));
        if fits.truncated && !udp { self.fit_part(response, &unsigned, question, max_len, seed) } else { fits }
    }

    /// A part of an answer of which not even TCP holds all: drawn, and then signed.
    fn fit_part(&self, response: &mut Response, unsigned: &Response, question: &[u8], max_len: u16, seed: u64) -> Fit {
        let mut part = Response { additional: Vec::new(), ..unsigned.clone() };
        part.answers.truncate(self.own.0);
        weighted_shuffle(&mut part, seed);
        let mut remaining = CANONICAL_MAX;
        let fits = |record: &&Record| {
            let rest = remaining.checked_sub(canonical_len(record));
            remaining = rest.unwrap_or_default();
            rest.is_some()
        };
        let max = part.answers.iter().take_while(fits).count();
        part.answers.truncate(max);
        let signatures: usize =
            rrsets(&part.answers).iter().take(SIGNED_RRSETS_MAX).map(|rrset| self.dnssec.signatures_len(rrset)).sum();
        let rest = u16::try_from(usize::from(max_len).saturating_sub(signatures)).unwrap_or(u16::MAX);
        let max = fit(&part, question, rest).answers;
        part.answers.truncate(max);
        *response = self.sign(&part, (max, 0), max_len);
        Fit { truncated: true, ..whole_rrsets(response, fit(response, question, max_len)) }
    }

    /// Whether an answer is more than validators can take, however well it is compressed.
    fn is_too_large(&self, response: &Response) -> bool {
        response.answers.iter().take(self.own.0).map(canonical_len).sum::<usize>() > CANONICAL_MAX
    }

    /// The same with signatures, and with the proof of what is denied.
    fn sign(&self, response: &Response, own: (usize, usize), max_len: u16) -> Response {
        let (dnssec, now) = (self.dnssec, now());
        let mut authority = response.authority.clone();
        authority.extend(self.denial(response).unwrap_or_default());
        let additional_max = ADDITIONAL_RRSETS_MAX.min(usize::from(max_len) / SIGNED_RRSET_MIN_LEN);
        Response {
            answers: dnssec.section(&response.answers, own.0, SIGNED_RRSETS_MAX, now),
            authority: dnssec.section(&authority, authority.len(), SIGNED_RRSETS_MAX, now),
            additional: dnssec.section(&response.additional, own.1, additional_max, now),
            stored_weights: response.stored_weights.clone(),
            upstream_queries: Vec::new(),
            ..*response
        }
    }

    /// What proves that an answer without records is right, in a zone that is signed.
    fn denial(&self, response: &Response) -> Option<Vec<Record>> {
        let ([], [soa]) = (&response.answers[..], &response.authority[..]) else { return None };
        self.dnssec.keys(soa).next()?;
        let delegation = self.qtype == RecordType::DS && *self.name != soa.name && self.dnssec.is_zone(self.name);
        let denial = Denial { soa, name: self.name, qtype: self.qtype, rcode: response.rcode, delegation };
        denial.records().ok()
    }
}

/// Records by owner and type, in the order in which the first of each stands.
fn rrsets(records: &[Record]) -> Vec<Vec<Record>> {
    let mut rrsets: Vec<Vec<Record>> = Vec::new();
    let mut known = HashMap::new();
    for record in records {
        let at = *known.entry((&record.name, record.record_type())).or_insert(rrsets.len());
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

/// What of a signed answer goes out, when `fits` does: whole sets with their signatures. Half a set would not
/// validate, nor would one without a signature.
fn whole_rrsets(response: &Response, fits: Fit) -> Fit {
    Fit {
        answers: rrset_start(&response.answers, fits.answers),
        authority: rrset_start(&response.authority, fits.authority),
        additional: rrset_start(&response.additional, fits.additional),
        truncated: fits.truncated,
    }
}

/// Where the set begins that `at` is in the middle of.
fn rrset_start(records: &[Record], at: usize) -> usize {
    let same = |a: &Record, b: &Record| a.record_type() == b.record_type() && a.name == b.name;
    let is_start = |at: &usize| match records.get(at.saturating_sub(1)..=*at) {
        Some([before, record]) => record.record_type() != RecordType::RRSIG && !same(before, record),
        // The first, and what would stand behind the last.
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
