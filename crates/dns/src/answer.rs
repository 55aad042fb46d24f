//! What DNS says: one pure function from a snapshot and a question to an answer.
//!
//! Owns: the order in which the rules apply, and so every rcode. Does not own: the rules themselves (the
//! modules below), what fits into a message ([`super::size`]), the message's header and EDNS
//! ([`super::handler`]).

use super::alias::{self, LookupType};
use super::chaos;
use super::dnssec;
use super::lookup_targets::{self, LookupTargets};
use super::negative;
use super::rrset::{self, Sections};
use super::search::{Found, Hit, Search};
use super::settings::DnsSettings;
use super::upstream::{self, StubZone, UpstreamQuery};
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
    pub tree_name: Name,
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub class: DNSClass,
}

impl Question {
    /// A question about a name as it stood on the wire.
    pub fn new(name: WireName, qtype: RecordType, class: DNSClass) -> Result<Self, NameError> {
        Ok(Self { tree_name: wire::to_tree_name(&name)?, name, qtype, class })
    }
}

/// What is said.
#[derive(Debug, Clone, Default)]
pub struct Response {
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
    pub extended_error: Option<ExtendedError>,
    /// Beside each SRV record of the answer section the weight of its entry before any rounding; what a
    /// subset has to be fair by.
    pub stored_weights: Vec<u16>,
    /// What other servers have to be asked before this is whole. [`super::forwarder`] does it, for clients
    /// that may have it done; for all others the answer is good as it is.
    pub upstream_queries: Vec<UpstreamQuery>,
    /// Whether it comes from a static zone, which is not signed.
    pub is_static: bool,
}

impl Response {
    /// An answer without records.
    pub(super) fn empty(rcode: ResponseCode, extended_error: Option<ExtendedError>) -> Self {
        Self { rcode, extended_error, ..Self::default() }
    }
}

/// Extended DNS errors (RFC 8914 section 4), as far as they are said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ExtendedError {
    /// The store is away, and this was true when it was last heard.
    Stale = 3,
    /// The store was not read yet.
    NotReady = 14,
    /// That is not for everyone to ask.
    Prohibited = 18,
    /// As [`Self::Stale`], for a name that did not exist.
    StaleNxDomain = 19,
    /// No zone of ours holds the name.
    NotAuthoritative = 20,
    /// Such questions are not answered.
    NotSupported = 21,
    /// None of the servers that were asked answered.
    NoReachableAuthority = 22,
    /// What stands there cannot be read.
    InvalidData = 24,
}

impl ExtendedError {
    /// The name that `/explain` gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "Stale",
            Self::NotReady => "NotReady",
            Self::Prohibited => "Prohibited",
            Self::StaleNxDomain => "StaleNoName",
            Self::NotAuthoritative => "NotAuthoritative",
            Self::NotSupported => "NotSupported",
            Self::NoReachableAuthority => "NoneReachable",
            Self::InvalidData => "InvalidData",
        }
    }
}

/// Answers a question from a snapshot. `rotation` is where sets begin: give another one each time.
pub fn answer(
    snapshot: &Snapshot,
    health: Health,
    settings: &DnsSettings,
    question: &Question,
    rotation: u64,
) -> Response {
    if question.class == DNSClass::CH {
        return chaos::answer(settings, question);
    }
    if let Some(refusal) = negative::refusal(question) {
        return refusal;
    }
    let Some(zone) = settings.zone_of(&question.tree_name) else {
        let upstream_queries = upstream::whole_question(snapshot, settings, question).into_iter().collect();
        return Response { upstream_queries, ..negative::not_authoritative() };
    };
    if health == Health::NeverLoaded {
        return negative::not_ready();
    }
    let response = dnssec::delegation_signer(snapshot, settings, question)
        .unwrap_or_else(|| in_zone(snapshot, settings, zone, question, rotation));
    if let Health::Stale { .. } = health { mark_stale(response, settings) } else { response }
}

/// What is found, or one of the ways of finding nothing.
#[allow(clippy::large_enum_variant, reason = "lives for a moment, and nearly always as the large one")]
enum Outcome {
    Found(Sections),
    Quarantined,
    NxDomain,
}

fn in_zone(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, question: &Question, rotation: u64) -> Response {
    let soa = || negative::soa(snapshot, settings, zone, &question.name);
    let apex = question.tree_name == *zone;
    if apex && question.qtype == RecordType::SOA {
        return Response { authoritative: true, answers: vec![soa()], ..Response::default() };
    }
    if let Some(keys) = dnssec::apex_keys(settings, zone, question).filter(|_| apex) {
        return keys;
    }
    let targets = LookupTargets::new(settings, zone, question);
    let mut search = Search::new(snapshot, settings, rotation);
    if apex {
        search.answers_max = settings.apex_max;
    }
    let (target, found) = targets.find(&search);
    let outcome = match found {
        Found::Entries(hits) => Outcome::Found(records_of(&search, question, target, targets.name_servers, hits)),
        Found::Quarantined => Outcome::Quarantined,
        Found::Nothing => Outcome::NxDomain,
    };
    match outcome {
        Outcome::Found(mut sections) if !sections.answers.records().is_empty() => {
            let upstream_queries = upstream::completing_queries(settings, &mut sections);
            Response {
                authoritative: true,
                answers: sections.answers.with_uniform_ttl(),
                additional: sections.additional.with_uniform_ttl(),
                stored_weights: sections.stored_weights,
                upstream_queries,
                ..Response::default()
            }
        }
        Outcome::Found(_) => negative::nodata(soa()),
        Outcome::Quarantined => negative::quarantined(),
        // The zone's own name exists whatever stands below it: it has a SOA. NXDOMAIN for it, which CoreDNS
        // says of an empty zone, denies every name in it (RFC 8020).
        Outcome::NxDomain
            if apex || lookup_targets::is_empty_non_terminal(snapshot, settings, zone, &question.tree_name) =>
        {
            negative::nodata(soa())
        }
        Outcome::NxDomain => match upstream::stub_zone(snapshot, settings, zone, question) {
            Some(StubZone::Delegated(query)) => {
                Response { upstream_queries: vec![query], ..negative::not_authoritative() }
            }
            Some(StubZone::EmptyNonTerminal) => negative::nodata(soa()),
            None => negative::nxdomain(soa()),
        },
    }
}

/// The records of the asked type that the entries of `target` give to the name that was asked.
pub(super) fn records_of<'s>(
    search: &Search<'s>,
    question: &'s Question,
    target: &'s Name,
    name_servers: bool,
    mut hits: Vec<Hit<'s>>,
) -> Sections {
    if lookup_targets::is_reverse(target) {
        hits.retain(|hit| rrset::is_no_alias(&hit.stored.entry, question.qtype));
    }
    let owner = &question.name;
    let answers = |lookup| {
        let answers = alias::answers(search, owner, target, &hits, lookup);
        Sections { answers, ..Sections::default() }
    };
    let mut sections = match question.qtype {
        RecordType::A => answers(LookupType::A),
        RecordType::AAAA => answers(LookupType::Aaaa),
        RecordType::TXT => answers(LookupType::Txt),
        RecordType::SRV => rrset::srv(search, owner, hits),
        RecordType::MX => rrset::mx(search, owner, hits),
        RecordType::NS if name_servers => rrset::ns(search, owner, hits),
        RecordType::CNAME if !lookup_targets::is_reverse(target) => rrset::cname(search, owner, target),
        RecordType::PTR => rrset::ptr(search, owner, target),
        _ => Sections::default(),
    };
    sections.answers.truncate(search.answers_max);
    sections
}

/// An answer while the store is away: the last that is known, to be cached for a short time only
/// (RFC 8767 section 4), and marked (RFC 8914 sections 4.4 and 4.20).
fn mark_stale(mut response: Response, settings: &DnsSettings) -> Response {
    let sections = [&mut response.answers, &mut response.authority, &mut response.additional];
    for record in sections.into_iter().flatten() {
        record.ttl = record.ttl.min(settings.stale_ttl_s);
    }
    response.extended_error = response.extended_error.or(Some(match response.rcode {
        ResponseCode::NXDomain => ExtendedError::StaleNxDomain,
        _ => ExtendedError::Stale,
    }));
    response
}
