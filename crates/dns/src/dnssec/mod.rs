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

use super::answer::{Answer, Question};
use super::message::Request;
use super::negative;
use super::settings::DnsSettings;
use super::size::{Fit, draw, fit};
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
const SETS_MAX: usize = 16;
/// How many sets of the additional section: with the one set of the usual answer, as many as unbound validates
/// at once. Since "`KeyTrap`" (CVE-2023-50387) it pauses after each 8, for longer each time: 64 of them were 2 s.
const HELPFUL_MAX: usize = 7;
/// The least that a set takes with its signature: what cannot fit need not be signed.
const SIGNED_SET_MIN: usize = 100;
/// How many bytes the sets of an answer may have in canonical form, where names are not compressed. Validators
/// put a set together with the data of its signature in 64 KiB, and call bogus what does not fit: unbound does.
const CANONICAL_MAX: usize = 65_535 - 18 - 255;
/// What an RRSIG has beside its two names and the signature (RFC 4034 section 3.1, RFC 1035 section 3.2.1),
/// and the ends of those names, which hickory does not count.
const RRSIG_FIXED: usize = 10 + 18 + 2;

/// What a zone's own name says about its keys: to everybody, signed or not.
pub(super) fn apex(settings: &DnsSettings, zone: &Name, question: &Question) -> Option<Answer> {
    let of = |data: &dyn Fn(&ZoneKey) -> DNSSECRData| {
        let record = |key: &ZoneKey| Record::from_rdata(question.name.clone(), KEY_TTL_S, RData::DNSSEC(data(key)));
        let answers: Vec<_> = settings.keys_of(zone).map(record).collect();
        (!answers.is_empty()).then(|| Answer { authoritative: true, answers, ..Answer::default() })
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
pub(super) fn delegation(snapshot: &Snapshot, settings: &DnsSettings, question: &Question) -> Option<Answer> {
    let above = above(settings, &question.place).filter(|_| question.qtype == RecordType::DS)?;
    settings.keys_of(above).next()?;
    let ds =
        |key: &ZoneKey| Record::from_rdata(question.name.clone(), KEY_TTL_S, RData::DNSSEC(DNSSECRData::DS(key.ds())));
    let answers: Vec<_> = settings.keys_of(&question.place).map(ds).collect();
    if answers.is_empty() {
        return Some(negative::no_data(negative::soa(snapshot, settings, above, &question.name)));
    }
    Some(Answer { authoritative: true, answers, ..Answer::default() })
}

/// The zone that a zone lies in, if both are ours.
fn above<'s>(settings: &'s DnsSettings, zone: &Name) -> Option<&'s Name> {
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
    pub(super) fn signing<'s>(&'s self, request: &'s Request, said: &Answer) -> Option<Signing<'s>> {
        let asks = request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let [query] = &request.queries[..] else { return None };
        let own = (said.answers.len(), said.additional.len());
        let signs = asks && said.authoritative && !self.settings.keys.is_empty();
        signs.then_some(Signing { dnssec: self, own, name: &query.name, qtype: query.query_type })
    }

    /// The sets of a section with their signatures, `most` of them. The first `own` records are ours.
    fn section(&self, records: &[Record], own: usize, most: usize, now: u32) -> Vec<Record> {
        let (own, others) = records.split_at(own.min(records.len()));
        let mut section = Vec::with_capacity(records.len() + 8);
        for set in sets(own).into_iter().take(most) {
            let signatures: Vec<_> = self.keys(&set[0]).filter_map(|key| self.signature(key, &set, now)).collect();
            section.extend(set);
            section.extend(signatures);
        }
        section.extend(others.iter().filter(|record| self.keys(record).next().is_none()).cloned());
        section
    }

    fn signature(&self, key: &ZoneKey, set: &[Record], now: u32) -> Option<Record> {
        self.signer.sign(key, set, now, || self.stats.made_signature())
    }

    /// The keys that sign a record: none in a zone without, and outside our zones.
    fn keys(&self, record: &Record) -> impl Iterator<Item = &ZoneKey> {
        let place = wire::place(&record.name).ok().filter(|_| record.dns_class == DNSClass::IN);
        let zone = place.as_ref().and_then(|place| match record.record_type() {
            RecordType::DS => above(&self.settings, place),
            _ => self.settings.zone_of(place),
        });
        zone.into_iter().flat_map(|zone| self.settings.keys_of(zone))
    }

    fn is_zone(&self, name: &WireName) -> bool {
        wire::place(name).is_ok_and(|place| self.settings.zones.contains(&place))
    }

    /// The most bytes that the signatures of a set take.
    fn size(&self, set: &[Record]) -> usize {
        let names = |key: &ZoneKey| set[0].name.len() + key.owner().len();
        self.keys(&set[0]).map(|key| RRSIG_FIXED + names(key) + key.signature_len()).sum()
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
    /// Signs what is said, and says what of it fits: sets with their signatures. `cut` when some do not, which
    /// over UDP becomes TC; otherwise `said` is a part of what it was, as there is nothing larger to turn to.
    pub(super) fn fit(&self, said: &mut Answer, question: &[u8], room: u16, udp: bool, seed: u64) -> Fit {
        let plain = std::mem::take(said);
        if fit(&plain, question, room).cut || self.is_too_large(&plain) {
            if udp {
                // It is asked for again over TCP: nothing has to be signed for that.
                *said = Answer { answers: Vec::new(), authority: Vec::new(), additional: Vec::new(), ..plain };
                return Fit { answers: 0, authority: 0, additional: 0, cut: true };
            }
            return self.fit_part(said, &plain, question, room, seed);
        }
        *said = self.sign(&plain, self.own, room);
        let fits = whole(said, fit(said, question, room));
        if fits.cut && !udp { self.fit_part(said, &plain, question, room, seed) } else { fits }
    }

    /// A part of an answer of which not even TCP holds all: drawn, and then signed.
    fn fit_part(&self, said: &mut Answer, plain: &Answer, question: &[u8], room: u16, seed: u64) -> Fit {
        let mut part = Answer { additional: Vec::new(), ..plain.clone() };
        part.answers.truncate(self.own.0);
        draw(&mut part, seed);
        let mut left = CANONICAL_MAX;
        let fits = |record: &&Record| {
            let rest = left.checked_sub(canonical_len(record));
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        let most = part.answers.iter().take_while(fits).count();
        part.answers.truncate(most);
        let signatures: usize = sets(&part.answers).iter().take(SETS_MAX).map(|set| self.dnssec.size(set)).sum();
        let rest = u16::try_from(usize::from(room).saturating_sub(signatures)).unwrap_or(u16::MAX);
        let most = fit(&part, question, rest).answers;
        part.answers.truncate(most);
        *said = self.sign(&part, (most, 0), room);
        Fit { cut: true, ..whole(said, fit(said, question, room)) }
    }

    /// Whether an answer is more than validators can take, however well it is compressed.
    fn is_too_large(&self, said: &Answer) -> bool {
        said.answers.iter().take(self.own.0).map(canonical_len).sum::<usize>() > CANONICAL_MAX
    }

    /// The same with signatures, and with the proof of what is denied.
    fn sign(&self, said: &Answer, own: (usize, usize), room: u16) -> Answer {
        let (dnssec, now) = (self.dnssec, now());
        let mut authority = said.authority.clone();
        authority.extend(self.denial(said).unwrap_or_default());
        let helpful = HELPFUL_MAX.min(usize::from(room) / SIGNED_SET_MIN);
        Answer {
            answers: dnssec.section(&said.answers, own.0, SETS_MAX, now),
            authority: dnssec.section(&authority, authority.len(), SETS_MAX, now),
            additional: dnssec.section(&said.additional, own.1, helpful, now),
            stored_weights: said.stored_weights.clone(),
            outside: Vec::new(),
            ..*said
        }
    }

    /// What proves that an answer without records is right, in a zone that is signed.
    fn denial(&self, said: &Answer) -> Option<Vec<Record>> {
        let ([], [soa]) = (&said.answers[..], &said.authority[..]) else { return None };
        self.dnssec.keys(soa).next()?;
        let delegation = self.qtype == RecordType::DS && *self.name != soa.name && self.dnssec.is_zone(self.name);
        let denial = Denial { soa, name: self.name, qtype: self.qtype, rcode: said.rcode, delegation };
        denial.records().ok()
    }
}

/// Records by owner and type, in the order in which the first of each stands.
fn sets(records: &[Record]) -> Vec<Vec<Record>> {
    let mut sets: Vec<Vec<Record>> = Vec::new();
    let mut known = HashMap::new();
    for record in records {
        let at = *known.entry((&record.name, record.record_type())).or_insert(sets.len());
        match sets.get_mut(at) {
            Some(set) => set.push(record.clone()),
            None => sets.push(vec![record.clone()]),
        }
    }
    sets
}

/// The length of a record in canonical form (RFC 4034 section 6.2).
fn canonical_len(record: &Record) -> usize {
    record.name.len() + 1 + 10 + record.data.to_bytes().map_or(0, |data| data.len())
}

/// What of a signed answer goes out, when `fits` does: whole sets with their signatures. Half a set would not
/// validate, nor would one without a signature.
fn whole(said: &Answer, fits: Fit) -> Fit {
    Fit {
        answers: begin(&said.answers, fits.answers),
        authority: begin(&said.authority, fits.authority),
        additional: begin(&said.additional, fits.additional),
        cut: fits.cut,
    }
}

/// Where the set begins that `at` is in the middle of.
fn begin(records: &[Record], at: usize) -> usize {
    let same = |a: &Record, b: &Record| a.record_type() == b.record_type() && a.name == b.name;
    let begins = |at: &usize| match records.get(at.saturating_sub(1)..=*at) {
        Some([before, record]) => record.record_type() != RecordType::RRSIG && !same(before, record),
        // The first, and what would stand behind the last.
        _ => true,
    };
    (0..=at).rev().find(begins).unwrap_or(0)
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(since & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
