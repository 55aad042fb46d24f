//! The response to a question: one pure function of a snapshot, a health and settings.
//!
//! Owns: the order in which the rules apply, and thereby every rcode. Does not own: the rules themselves (the modules
//! below), the fit into a message ([`super::size`]), the message's header and EDNS ([`super::handler`]).

use super::alias::{self, LookupType};
use super::chaos;
use super::dnssec;
use super::lookup_targets::{self, LookupTargets};
use super::negative;
use super::response::{ExtendedError, Question, Response};
use super::rrset;
use super::search::{Found, Hit, Search};
use super::sections::Sections;
use super::settings::DnsSettings;
use super::upstream::{self, StubZone};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};
use skyhound_core::catalog::{Health, Snapshot};
use skyhound_model::Name;

/// Answers a question from a snapshot. `rotation` determines the first record of each set: pass another one each time.
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
    match found {
        Found::Entries(hits) => {
            let sections = records_of(&search, question, target, targets.name_servers, hits);
            if sections.answers.records().is_empty() { negative::nodata(soa()) } else { positive(settings, sections) }
        }
        Found::Quarantined => negative::quarantined(),
        Found::Nothing => missing_name(snapshot, settings, zone, question),
    }
}

fn positive(settings: &DnsSettings, mut sections: Sections) -> Response {
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

/// The response for a name in `zone` of which the store holds nothing.
fn missing_name(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, question: &Question) -> Response {
    let soa = negative::soa(snapshot, settings, zone, &question.name);
    // The apex exists whatever is below it: it has a SOA. NXDOMAIN for it, which CoreDNS sends for an empty zone,
    // denies every name in it (RFC 8020).
    let apex = question.tree_name == *zone;
    if apex || lookup_targets::is_empty_non_terminal(snapshot, settings, zone, &question.tree_name) {
        return negative::nodata(soa);
    }
    match upstream::stub_zone(snapshot, settings, zone, question) {
        Some(StubZone::Delegated(query)) => Response { upstream_queries: vec![query], ..negative::not_authoritative() },
        Some(StubZone::EmptyNonTerminal) => negative::nodata(soa),
        None => negative::nxdomain(soa),
    }
}

/// The records of the question's type that the entries of `target` give to the question's name.
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

/// Marks a response while the store is unavailable: it holds the last known state, may be cached for a short time only
/// (RFC 8767 section 4), and has an extended error (RFC 8914 sections 4.4 and 4.20).
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
