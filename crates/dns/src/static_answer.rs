//! The answers of static zones, and the choice between static and dynamic zones.
//!
//! Owns: the choice of the zone that answers a name, and the answer of a static one. Does not own: the zones and their files
//! ([`super::static_zones`]); sizes, EDNS, access lists and transports, which are the same for all zones
//! ([`super::handler`]).
//!
//! The zone with the longest name that contains the name of the question answers, static or dynamic; no two have the
//! same name. DS of a zone is answered by its parent zone, if this server is authoritative for that too (RFC 4035
//! section 3.1.4.1). The same requests are refused as for dynamic zones: transfers, ANY, updates, notifications. Static
//! zones are not signed.
//!
//! hickory's `Catalog` finds the zone. Its own responses are not used: they set AA in referrals, and are available as
//! bytes only.

use super::answer::answer;
use super::negative;
use super::response::{Question, Response, ResponsePart};
use super::settings::DnsSettings;
use super::static_zones::{StaticZones, labels, lower_name};
use futures_util::FutureExt;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, LowerName, RData, Record, RecordType};
use hickory_server::zone_handler::{AuthLookup, LookupError, LookupOptions, ZoneHandler};
use skyhound_core::catalog::{Health, Snapshot};
use skyhound_model::Name;
use std::sync::Arc;

/// The maximum number of zones through which one answer follows aliases.
const ZONES_MAX: usize = 8;

/// The zone that answers a question, if a static zone is involved.
enum Route<'s> {
    /// A static zone.
    Static(Arc<dyn ZoneHandler>),
    /// The dynamic parent zone of a static zone, for a question about its DS.
    Parent(&'s Name),
}

impl StaticZones {
    /// The static zone that answers a question.
    pub fn zone_of(&self, settings: &DnsSettings, question: &Question) -> Option<&Name> {
        let Some(Route::Static(zone)) = self.route(settings, question) else { return None };
        self.names().find(|name| lower_name(name) == *zone.origin())
    }

    /// The answer to a question about a static zone; `None` if another part of the server answers it.
    pub(super) fn answer(
        &self,
        snapshot: &Snapshot,
        health: Health,
        settings: &DnsSettings,
        question: &Question,
        rotation: u64,
    ) -> Option<Response> {
        if self.is_empty() || negative::refusal(question).is_some() {
            return None;
        }
        let zone = match self.route(settings, question)? {
            Route::Parent(_) if health == Health::NeverLoaded => return Some(negative::not_ready()),
            // A static zone is not signed and has no DS: an insecure delegation.
            Route::Parent(zone) => {
                return Some(negative::nodata(negative::soa(snapshot, settings, zone, &question.name)));
            }
            Route::Static(zone) => zone,
        };
        let mut response = in_zone(&*zone, question, rotation);
        // Aliases that lead into other zones of this server (RFC 1034 section 4.3.2 step 3a).
        for _ in 0..ZONES_MAX {
            let Some(next) = response.answers.last().and_then(|last| alias_question(last, question, &response.answers))
            else {
                break;
            };
            let continuation = match self.route(settings, &next) {
                Some(Route::Static(zone)) => in_zone(&*zone, &next, rotation),
                None if settings.zone_of(&next.tree_name).is_some() => {
                    answer(snapshot, health, settings, &next, rotation)
                }
                Some(Route::Parent(_)) | None => break,
            };
            if !continuation.authoritative {
                break;
            }
            response.answers.extend(continuation.answers);
            response = Response {
                rcode: continuation.rcode,
                authority: continuation.authority,
                additional: continuation.additional,
                ..response
            };
        }
        Some(response)
    }

    /// Completes an answer about a dynamic zone with the records that static zones have for its aliases and targets, so
    /// that no upstream server is queried for them.
    pub(super) fn complete(&self, settings: &DnsSettings, response: &mut Response) {
        if self.is_empty() || response.upstream_queries.is_empty() {
            return;
        }
        for query in std::mem::take(&mut response.upstream_queries) {
            let question = Question::new(query.name.clone(), query.qtype, DNSClass::IN).ok();
            let route = question.as_ref().filter(|_| query.servers.is_none()).map(|q| (q, self.route(settings, q)));
            match (route, query.part) {
                (Some((question, Some(Route::Static(zone)))), ResponsePart::Answer) => {
                    response.answers.extend(in_zone(&*zone, question, 0).answers);
                }
                (Some((question, Some(Route::Static(zone)))), ResponsePart::Additional) => {
                    response.additional.extend(in_zone(&*zone, question, 0).answers);
                }
                _ => response.upstream_queries.push(query),
            }
        }
    }

    /// Returns the zone that answers a question, unless it is a dynamic one.
    fn route<'s>(&self, settings: &'s DnsSettings, question: &Question) -> Option<Route<'s>> {
        let catalog = self.catalog.load();
        let find = |name: &LowerName| catalog.find(name).and_then(|zones| zones.first().cloned());
        let longer = |zone: Arc<dyn ZoneHandler>, dynamic: Option<&Name>| {
            let is_longer = dynamic.is_none_or(|dynamic| labels(zone.origin()) > dynamic.labels().len());
            is_longer.then_some(zone)
        };
        let name = LowerName::new(&question.name);
        let dynamic = settings.zone_of(&question.tree_name);
        let zone = find(&name).and_then(|zone| longer(zone, dynamic));
        let is_apex = zone.as_ref().map_or(dynamic == Some(&question.tree_name), |zone| *zone.origin() == name);
        if question.qtype != RecordType::DS || !is_apex || name.is_root() {
            return zone.map(Route::Static);
        }
        let is_parent = |other: &&Name| question.tree_name.is_within(other) && **other != question.tree_name;
        let dynamic = settings.zones.iter().filter(is_parent).max_by_key(|zone| zone.labels().len());
        match (find(&name.base_name()).and_then(|zone| longer(zone, dynamic)), dynamic) {
            (Some(parent), _) => Some(Route::Static(parent)),
            (None, Some(parent)) if zone.is_some() => Some(Route::Parent(parent)),
            (None, _) => zone.map(Route::Static),
        }
    }
}

/// The answer of one static zone.
fn in_zone(zone: &dyn ZoneHandler, question: &Question, rotation: u64) -> Response {
    let found = match lookup(zone, &LowerName::new(&question.name), question.qtype) {
        Some(Ok(found)) => found,
        Some(Err(LookupError::NameExists)) => return negative(zone, negative::nodata),
        Some(Err(error)) if error.is_nx_domain() => return negative(zone, negative::nxdomain),
        // Another kind of question, which `refusal` has answered already.
        Some(Err(_)) => return Response { is_static: true, ..negative::not_authoritative() },
        None => return servfail(),
    };
    let mut records: Vec<Record> = found.iter().cloned().collect();
    let additional = found.additionals().into_iter().flatten().cloned().collect();
    // NS records below the apex are a delegation.
    let is_delegation =
        |record: &Record| record.record_type() == RecordType::NS && LowerName::new(&record.name) != *zone.origin();
    if records.first().is_some_and(is_delegation) {
        return Response { authority: records, additional, is_static: true, ..Response::default() };
    }
    if records.windows(2).all(|pair| pair[0].name == pair[1].name && pair[0].record_type() == pair[1].record_type()) {
        let count = records.len().max(1);
        records.rotate_left(usize::try_from(rotation % count as u64).unwrap_or(0));
    }
    for record in records.iter_mut().filter(|record| record.name == question.name) {
        // In the case of the question.
        record.name = question.name.clone();
    }
    Response { authoritative: true, answers: records, additional, is_static: true, ..Response::default() }
}

/// The negative answer `deny`, with the SOA of the zone.
fn negative(zone: &dyn ZoneHandler, deny: fn(Record) -> Response) -> Response {
    let Some(Ok(found)) = lookup(zone, zone.origin(), RecordType::SOA) else { return servfail() };
    let Some(mut soa) = found.iter().next().cloned() else { return servfail() };
    if let RData::SOA(data) = &soa.data {
        // The TTL of a negative answer (RFC 2308 section 3).
        soa.ttl = soa.ttl.min(data.minimum);
    }
    Response { is_static: true, ..deny(soa) }
}

/// SERVFAIL, for a lookup that would have to wait; that of a static zone never does.
fn servfail() -> Response {
    Response { is_static: true, ..Response::empty(ResponseCode::ServFail, None) }
}

/// Looks a name up without waiting: a static zone is in memory.
fn lookup(zone: &dyn ZoneHandler, name: &LowerName, qtype: RecordType) -> Option<Result<AuthLookup, LookupError>> {
    zone.lookup(name, qtype, None, LookupOptions::default()).now_or_never()?.map_result()
}

/// The question about the target of an alias at the end of an answer, unless the answer contains it already.
fn alias_question(last: &Record, question: &Question, answers: &[Record]) -> Option<Question> {
    let RData::CNAME(target) = &last.data else { return None };
    if question.qtype == RecordType::CNAME || answers.iter().any(|record| record.name == target.0) {
        return None;
    }
    Question::new(target.0.clone(), question.qtype, question.class).ok()
}
