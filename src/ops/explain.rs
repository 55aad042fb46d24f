//! `/explain?name=…&type=…`: a DNS answer with the entries behind it. `/quarantine`: the values of the store that
//! cannot be parsed.
//!
//! Owns: the JSON of both. Does not own: the reasons ([`mod@skyhound_dns::explain`]).

use hickory_proto::rr::Record;
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use skyhound_core::catalog::{Catalog, Quarantined};
use skyhound_dns::explain::{self, EXPLAIN_MAX, EntryExplanation, ExplainedResponse, explain};
use skyhound_dns::static_zones::ZoneState;
use skyhound_dns::{DnsSettings, Question};
use skyhound_model::details::Details;
use skyhound_net::{HttpError, Reply, Request, Route, route};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// `/explain` and `/quarantine`.
pub fn routes(catalog: &Arc<Catalog>, settings: DnsSettings) -> Vec<Route> {
    let (catalog, quarantined) = (Arc::clone(catalog), Arc::clone(catalog));
    let settings = Arc::new(settings);
    vec![
        Route::get("/explain", move |request: Request, _| {
            let (catalog, settings) = (Arc::clone(&catalog), Arc::clone(&settings));
            async move { explain_route(request.uri().query().unwrap_or_default(), catalog, settings).await }
        }),
        Route::get("/quarantine", move |_, _| {
            let catalog = Arc::clone(&quarantined);
            async move { Ok(quarantine(&catalog)) }
        }),
    ]
}

async fn explain_route(query: &str, catalog: Arc<Catalog>, settings: Arc<DnsSettings>) -> Result<Reply, HttpError> {
    let question = parse_question(query).map_err(HttpError::bad_request)?;
    // Outside the executor: it reads the lookup target entry by entry.
    let body = tokio::task::spawn_blocking(move || {
        let (snapshot, health) = (catalog.snapshot(), catalog.health());
        let explained = explain(&snapshot, health, &settings, &question);
        let mut body = json(&question, &explained);
        body["revision"] = snapshot.revision().0.into();
        body["catalog"] = health.as_str().into();
        body
    });
    match body.await {
        Ok(body) => Ok(route::json(StatusCode::OK, &body)),
        Err(_) => Err(HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot explain the answer; see the log")),
    }
}

/// Parses `name=…&type=…`; the type defaults to SRV.
fn parse_question(query: &str) -> Result<Question, String> {
    let (mut name, mut qtype) = (None, None);
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value =
            percent_decode_str(value).decode_utf8().map_err(|_| format!("the parameter `{key}` is not UTF-8"))?;
        match key {
            "name" => name = Some(value),
            "type" => qtype = Some(value),
            _ => {}
        }
    }
    let name = name.ok_or("the parameter `name` is missing: /explain?name=web.services.skydns.local&type=SRV")?;
    explain::parse_question(&name, qtype.as_deref().unwrap_or("SRV"))
}

fn json(question: &Question, explained: &ExplainedResponse) -> Value {
    let response = &explained.response;
    let upstream_queries: Vec<_> =
        response.upstream_queries.iter().map(|query| format!("{} {}", query.name, query.qtype)).collect();
    json!({
        "name": question.tree_name.to_string(),
        "type": question.qtype.to_string(),
        "zone": explained.zone.as_ref().map(ToString::to_string),
        "static_zone": explained.static_zone.as_ref().map(static_zone_json),
        "lookup_target": explained.target.to_string(),
        "answer": {
            "rcode": response.rcode.to_string(),
            "extended_error": response.extended_error.map(skyhound_dns::ExtendedError::as_str),
            "answer": lines(&response.answers),
            "authority": lines(&response.authority),
            "additional": lines(&response.additional),
            "upstream_queries": upstream_queries,
        },
        "entries": explained.entries.iter().map(entry_json).collect::<Vec<_>>(),
        "more_entries": explained.more_entries,
        "quarantined": explained.quarantined.iter().map(|value| quarantined_json(value)).collect::<Vec<_>>(),
    })
}

fn static_zone_json(zone: &ZoneState) -> Value {
    let loaded = zone.loaded.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({
        "file": zone.file.display().to_string(),
        "serial": zone.serial,
        "records": zone.records,
        "loaded": loaded,
        "problem": zone.problem,
    })
}

fn entry_json(explained: &EntryExplanation) -> Value {
    let stored = &explained.stored;
    json!({
        "name": explained.name.to_string(),
        "key": stored.key.to_string(),
        "revision": stored.revision.0,
        "lease": stored.lease.map(|lease| lease.to_string()),
        "lease_seconds": stored.lease_ttl_s,
        "ttl": explained.ttl_s,
        "frontend": stored.entry.details.as_ref().map(Details::frontend),
        "records": lines(&explained.records),
        "omission": explained.omission,
    })
}

fn quarantined_json(value: &Quarantined) -> Value {
    json!({ "key": value.key.to_string(), "reason": value.reason, "revision": value.revision.0 })
}

/// Formats each record as `owner TTL TYPE data`.
fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)).collect()
}

/// Returns the quarantined values in the order of keys.
fn quarantine(catalog: &Catalog) -> Reply {
    let snapshot = catalog.snapshot();
    let quarantined: Vec<_> = snapshot.quarantine().take(EXPLAIN_MAX).map(|value| quarantined_json(value)).collect();
    let body = json!({
        "revision": snapshot.revision().0,
        "count": snapshot.quarantine().count(),
        "quarantined": quarantined,
    });
    route::json(StatusCode::OK, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_type_are_parsed() {
        let question = parse_question("name=web%2Eservices.skydns.local&type=a&x=y").unwrap();
        assert_eq!(
            (question.tree_name.to_string(), question.qtype.to_string()),
            ("web.services.skydns.local.".into(), "A".into())
        );
        assert_eq!(parse_question("name=web").unwrap().qtype.to_string(), "SRV");
        assert!(parse_question("").unwrap_err().starts_with("the parameter `name` is missing"));
        assert!(parse_question("name=%ff").unwrap_err().contains("UTF-8"));
        assert!(parse_question("name=a..b").unwrap_err().contains("empty label"));
    }
}
