//! What DNS says: one pure function from a snapshot and a question to an answer.
//!
//! Owns: the order in which the rules apply, and so every rcode. Does not own: the rules themselves (the
//! modules below), what fits into a message ([`super::size`]), the message's header and EDNS
//! ([`super::handler`]).

use super::alias::{self, Want};
use super::chaos;
use super::dnssec;
use super::negative;
use super::outside::{self, Outside, Within};
use super::places::{self, Places};
use super::rrset::{self, Sections};
use super::search::{Found, Hit, Search};
use super::settings::DnsSettings;
use super::wire;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name as WireName, Record, RecordType};
use skyhound_core::catalog::{Health, Snapshot};
use skyhound_model::Name;
use skyhound_model::name::NameError;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name in the case it was asked in, which owner names repeat: resolvers mix the case at random and
    /// drop answers that do not (draft-vixie-dnsext-dns0x20).
    pub name: WireName,
    /// The same as a place in the tree.
    pub place: Name,
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub class: DNSClass,
}

impl Question {
    /// A question about a name as it stood on the wire.
    pub fn new(name: WireName, qtype: RecordType, class: DNSClass) -> Result<Self, NameError> {
        Ok(Self { place: wire::place(&name)?, name, qtype, class })
    }
}

/// What is said.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The rcode.
    pub rcode: ResponseCode,
    /// Whether we speak for the zone (AA, RFC 1035 section 4.1.1).
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: the SOA of a negative answer.
    pub authority: Vec<Record>,
    /// The additional section, without the OPT record; in the order of the answers that it helps with, so
    /// that what has to be left out belongs to the last of them.
    pub additional: Vec<Record>,
    /// Why, for clients that speak EDNS.
    pub explanation: Option<Explanation>,
    /// Beside each SRV record of the answer section the weight of its entry before any rounding; what a
    /// subset has to be fair by.
    pub stored_weights: Vec<u16>,
    /// What other servers have to be asked before this is whole. [`super::forward`] does it, for clients
    /// that may have it done; for all others the answer is good as it is.
    pub outside: Vec<Outside>,
}

impl Answer {
    /// An answer without records.
    pub(super) fn of(rcode: ResponseCode, explanation: Option<Explanation>) -> Self {
        Self { rcode, explanation, ..Self::default() }
    }
}

/// Extended DNS errors (RFC 8914 section 4), as far as they are said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Explanation {
    /// The store is away, and this was true when it was last heard.
    Stale = 3,
    /// The store was not read yet.
    NotReady = 14,
    /// That is not for everyone to ask.
    Prohibited = 18,
    /// As [`Self::Stale`], for a name that did not exist.
    StaleNoName = 19,
    /// No zone of ours holds the name.
    NotAuthoritative = 20,
    /// Such questions are not answered.
    NotSupported = 21,
    /// None of the servers that were asked answered.
    NoneReachable = 22,
    /// What stands there cannot be read.
    InvalidData = 24,
}

/// Answers a question from a snapshot. `rotation` is where sets begin: give another one each time.
pub fn answer(
    snapshot: &Snapshot,
    health: Health,
    settings: &DnsSettings,
    question: &Question,
    rotation: u64,
) -> Answer {
    if question.class == DNSClass::CH {
        return chaos::answer(settings, question);
    }
    if let Some(refusal) = negative::refusal(question) {
        return refusal;
    }
    let Some(zone) = settings.zone_of(&question.place) else {
        let outside = outside::whole(snapshot, settings, question).into_iter().collect();
        return Answer { outside, ..negative::not_ours() };
    };
    if health == Health::NeverRead {
        return negative::not_ready();
    }
    let said = dnssec::delegation(snapshot, settings, question)
        .unwrap_or_else(|| in_zone(snapshot, settings, zone, question, rotation));
    if let Health::Stale { .. } = health { stale(said, settings) } else { said }
}

/// What is found, or one of the ways of finding nothing.
#[allow(clippy::large_enum_variant, reason = "lives for a moment, and nearly always as the large one")]
enum Outcome {
    Found(Sections),
    Unreadable,
    NoName,
}

fn in_zone(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, question: &Question, rotation: u64) -> Answer {
    let soa = || negative::soa(snapshot, settings, zone, &question.name);
    let apex = question.place == *zone;
    if apex && question.qtype == RecordType::SOA {
        return Answer { authoritative: true, answers: vec![soa()], ..Answer::default() };
    }
    if let Some(keys) = dnssec::apex(settings, zone, question).filter(|_| apex) {
        return keys;
    }
    let places = Places::of(settings, zone, question);
    let mut search = Search::new(snapshot, settings, rotation);
    if apex {
        search.answers_max = settings.apex_max;
    }
    let (place, found) = places.find(&search);
    let outcome = match found {
        Found::Entries(hits) => Outcome::Found(records_of(&search, question, place, places.name_servers, hits)),
        Found::Quarantined => Outcome::Unreadable,
        Found::Nothing => Outcome::NoName,
    };
    match outcome {
        Outcome::Found(mut sections) if !sections.answers.records().is_empty() => {
            let outside = outside::completing(settings, &mut sections);
            Answer {
                authoritative: true,
                answers: sections.answers.levelled(),
                additional: sections.additional.levelled(),
                stored_weights: sections.stored_weights,
                outside,
                ..Answer::default()
            }
        }
        Outcome::Found(_) => negative::no_data(soa()),
        Outcome::Unreadable => negative::unreadable(),
        // The zone's own name exists whatever stands below it: it has a SOA. NXDOMAIN for it, which CoreDNS
        // says of an empty zone, denies every name in it (RFC 8020).
        Outcome::NoName if apex || places::is_above_one(snapshot, settings, zone, &question.place) => {
            negative::no_data(soa())
        }
        Outcome::NoName => match outside::within(snapshot, settings, zone, question) {
            Some(Within::Theirs(outside)) => Answer { outside: vec![outside], ..negative::not_ours() },
            Some(Within::Above) => negative::no_data(soa()),
            None => negative::no_name(soa()),
        },
    }
}

/// The records of the asked type that the entries of `place` give to the name that was asked.
pub(super) fn records_of<'s>(
    search: &Search<'s>,
    question: &'s Question,
    place: &'s Name,
    name_servers: bool,
    mut hits: Vec<Hit<'s>>,
) -> Sections {
    if places::is_reverse(place) {
        hits.retain(|hit| rrset::is_no_alias(&hit.stored.entry, question.qtype));
    }
    let owner = &question.name;
    let answers = |want| {
        let answers = alias::answers(search, owner, place, &hits, want);
        Sections { answers, ..Sections::default() }
    };
    let mut sections = match question.qtype {
        RecordType::A => answers(Want::V4),
        RecordType::AAAA => answers(Want::V6),
        RecordType::TXT => answers(Want::Text),
        RecordType::SRV => rrset::srv(search, owner, hits),
        RecordType::MX => rrset::mx(search, owner, hits),
        RecordType::NS if name_servers => rrset::ns(search, owner, hits),
        RecordType::CNAME if !places::is_reverse(place) => rrset::cname(search, owner, place),
        RecordType::PTR => rrset::ptr(search, owner, place),
        _ => Sections::default(),
    };
    sections.answers.truncate(search.answers_max);
    sections
}

/// An answer while the store is away: the last that is known, to be cached for a short time only
/// (RFC 8767 section 4), and marked (RFC 8914 sections 4.4 and 4.20).
fn stale(mut said: Answer, settings: &DnsSettings) -> Answer {
    let sections = [&mut said.answers, &mut said.authority, &mut said.additional];
    for record in sections.into_iter().flatten() {
        record.ttl = record.ttl.min(settings.stale_ttl_s);
    }
    said.explanation = said.explanation.or(Some(match said.rcode {
        ResponseCode::NXDomain => Explanation::StaleNoName,
        _ => Explanation::Stale,
    }));
    said
}
