//! `/stats/view`: everything that the page shows, in one JSON.
//!
//! `?q=TEXT` leaves only services with that text in their name, or in an instance's address, id, version or dialect.
//! `?after=NUMBER` tells the changes since that one, so that a page that asks again misses none and shows none twice.
//! Whatever there is a million of is cut, and says how much is not shown.
//!
//! Owns: what is shown and how much of it. Does not own: how it looks (the files of `page`).

use super::{Stats, megabytes, now, threads};
use crate::ops::health;
use hyper::StatusCode;
use serde_json::{Value, json};
use skyhound_core::catalog::{Change, Kind, Snapshot, Stored};
use skyhound_frontends::error::invalid;
use skyhound_frontends::form::Form;
use skyhound_frontends::micro::shown::Shown;
use skyhound_model::{Departure, details::Details};
use skyhound_net::{HttpError, Peer, Reply, Request, route};
use skyhound_store::LeaseId;
use std::sync::Arc;

/// Views that are made at a time: each may look at every instance there is.
pub(super) const AT_ONCE: usize = 2;
/// Where changes are said as they happen (server-sent events), from the page's place.
const WATCH: &str = "v1/watch";
/// Services that are shown.
pub(super) const SERVICES: usize = 200;
/// Instances of a service that are shown.
pub(super) const INSTANCES: usize = 50;
/// Instances that are shown, all services together: a page asks every few seconds. The others are counted.
pub(super) const INSTANCES_ALL: usize = 500;
/// Changes that are told at a time; the older ones are left out.
pub(super) const CHANGES: usize = 100;
/// Values in quarantine that are shown.
pub(super) const QUARANTINED: usize = 100;

/// GET.
pub(super) async fn get(stats: Arc<Stats>, request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let query = request.uri().query().unwrap_or_default();
    let mut said = Form::read(query, &["q", "after"], |_, _| Ok(())).map_err(invalid)?;
    let (text, after) = (said.text("q").unwrap_or_default(), said.number("after", &u64::MAX).map_err(invalid)?);
    let (_, parts) = health::state(&stats.app, peer.seat.is_stopping()).await;
    // Closed never: it lives as long as the routes.
    let _turn = stats.views.acquire().await;
    let counters = stats.counters();
    let shown = Arc::clone(&stats);
    // Off the executor: with a million instances this takes a while.
    let made = tokio::task::spawn_blocking(move || view(&shown, &text.to_lowercase(), after));
    let mut view = made.await.map_err(|_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "the view failed"))?;
    view["state"] = parts;
    view["counters"] = counters.into();
    Ok(route::json(StatusCode::OK, &view))
}

fn view(stats: &Stats, text: &str, after: Option<u64>) -> Value {
    let (changes, snapshot) = stats.app.catalog.with_history(|history, snapshot| {
        let last = snapshot.changes();
        // A page that is new is told the last few; so is one of a daemon that was there before this one.
        let from = after.filter(|after| *after <= last).unwrap_or(0).max(last.saturating_sub(CHANGES as u64));
        let changes: Vec<_> = history.numbered(from).into_iter().flatten().cloned().collect();
        (changes, Arc::clone(snapshot))
    });
    let (found, more) = services(&snapshot, text);
    let quarantine = snapshot.quarantine().take(QUARANTINED);
    let quarantine: Vec<_> =
        quarantine.map(|bad| json!({ "key": bad.key.to_string(), "reason": bad.reason })).collect();
    json!({
        "version": crate::VERSION,
        "now": now(),
        "started": stats.started,
        "memory_mb": megabytes(),
        "threads": threads(),
        "position": snapshot.position().to_string(),
        "watch": WATCH,
        "last_change": snapshot.changes(),
        "changes": changes.iter().map(|change| told(change)).collect::<Vec<_>>(),
        "all_services": snapshot.services().count(),
        "services": found,
        "more_services": more,
        "quarantine": quarantine,
    })
}

/// Services that have the text, the first of them with instances; and how many more there are.
fn services(snapshot: &Snapshot, text: &str) -> (Vec<Value>, usize) {
    let (mut shown, mut more, mut room) = (Vec::new(), 0, INSTANCES_ALL);
    for service in snapshot.services() {
        let named = service.contains(text);
        if shown.len() == SERVICES && named {
            more += 1;
            continue;
        }
        let (mut instances, mut count) = (Vec::new(), 0);
        let most = INSTANCES.min(room);
        for stored in snapshot.instances(service) {
            // Before an instance is looked at closely, which is dear, there has to be room for it or a reason.
            if named && instances.len() == most {
                count += 1;
                continue;
            }
            let instance = instance(stored);
            if named || has(&instance, text) {
                count += 1;
                if instances.len() < most {
                    instances.push(instance);
                }
            }
        }
        if count == 0 {
            continue;
        }
        if shown.len() == SERVICES {
            more += 1;
        } else {
            room -= instances.len();
            shown.push(json!({ "name": &**service, "count": count, "instances": instances }));
        }
    }
    (shown, more)
}

fn has(instance: &Value, text: &str) -> bool {
    let fields = ["address", "id", "version", "dialect"];
    fields.iter().filter_map(|field| instance[field].as_str()).any(|value| value.to_lowercase().contains(text))
}

fn instance(stored: &Stored) -> Value {
    let shown = Shown::of(stored);
    let details = stored.entry.details.as_ref();
    json!({
        "id": shown.node["id"],
        "address": address(stored),
        "version": shown.version,
        "priority": stored.entry.priority,
        "weight": stored.entry.weight,
        "dialect": details.map_or("", Details::dialect),
        "held": held(stored),
        "key": stored.key.to_string(),
    })
}

fn address(stored: &Stored) -> String {
    stored.entry.host.as_ref().map(|host| format!("{host} port {}", stored.entry.port)).unwrap_or_default()
}

/// What keeps it there, in words.
fn held(stored: &Stored) -> String {
    match (stored.lease, stored.lease_ttl_s) {
        (None, _) => "until it is removed".into(),
        (Some(lease), Some(term)) if lease.is_ours() => format!("while it lives, and {term} s"),
        (Some(lease), None) if LeaseId::is_ours(lease) => "while it lives".into(),
        (Some(_), Some(term)) => format!("by another program's lease of {term} s"),
        (Some(_), None) => "by another program's lease".into(),
    }
}

fn told(change: &Change) -> Value {
    let kind = match change.kind {
        Kind::Put => "put",
        Kind::Gone(Departure::Left) => "delete",
        Kind::Gone(Departure::Expired) => "expire",
    };
    let dialect = change.instance.entry.details.as_ref().map_or("", Details::dialect);
    json!({
        "number": change.number,
        "kind": kind,
        "service": &*change.service,
        "address": address(&change.instance),
        "dialect": dialect,
    })
}
