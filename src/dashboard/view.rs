//! `/stats/view`: everything that the page shows, in one JSON.
//!
//! `?q=TEXT` leaves only services with that text in their name, or in an instance's address, id, version or dialect.
//! `?after=NUMBER` tells the changes since that one, so that a page that asks again misses none and shows none twice.
//! Whatever there is a million of is cut, and says how much is not shown.
//!
//! Owns: what is shown and how much of it. Does not own: how it looks (the files of `page`).

use super::{Stats, resident_megabytes, thread_count, unix_seconds};
use crate::ops::health;
use hyper::StatusCode;
use serde_json::{Value, json};
use skyhound_core::catalog::{Change, ChangeKind, Snapshot, StoredEntry};
use skyhound_frontends::error::invalid;
use skyhound_frontends::form::Form;
use skyhound_frontends::micro::describe::InstanceDescription;
use skyhound_model::{RemovalReason, details::Details};
use skyhound_net::{HttpError, Peer, Reply, Request, route};
use skyhound_store::LeaseId;
use std::sync::Arc;

/// Views that are made at a time: each may look at every instance there is.
pub(super) const CONCURRENT_MAX: usize = 2;
/// Where changes are said as they happen (server-sent events), from the page's place.
const WATCH_PATH: &str = "v1/watch";
/// Services that are shown.
pub(super) const SERVICES_SHOWN: usize = 200;
/// Instances of a service that are shown.
pub(super) const INSTANCES_PER_SERVICE: usize = 50;
/// Instances that are shown, all services together: a page asks every few seconds. The others are counted.
pub(super) const INSTANCES_SHOWN: usize = 500;
/// Changes that are told at a time; the older ones are left out.
pub(super) const CHANGES_SHOWN: usize = 100;
/// Values in quarantine that are shown.
pub(super) const QUARANTINED_SHOWN: usize = 100;

/// GET.
pub(super) async fn get(stats: Arc<Stats>, request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let query = request.uri().query().unwrap_or_default();
    let mut params = Form::read(query, &["q", "after"], |_, _| Ok(())).map_err(invalid)?;
    let (text, after) = (params.text("q").unwrap_or_default(), params.number("after", &u64::MAX).map_err(invalid)?);
    let (_, parts) = health::state(&stats.app, peer.permit.is_stopping()).await;
    // Closed never: it lives as long as the routes.
    let _turn = stats.views.acquire().await;
    let counters = stats.counters();
    let described = Arc::clone(&stats);
    // Off the executor: with a million instances this takes a while.
    let rendered = tokio::task::spawn_blocking(move || view(&described, &text.to_lowercase(), after));
    let mut view = rendered.await.map_err(|_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "the view failed"))?;
    view["state"] = parts;
    view["counters"] = counters.into();
    Ok(route::json(StatusCode::OK, &view))
}

fn view(stats: &Stats, text: &str, after: Option<u64>) -> Value {
    let (changes, snapshot) = stats.app.catalog.with_history(|history, snapshot| {
        let last = snapshot.changes();
        // A page that is new is told the last few; so is one of a daemon that was there before this one.
        let from = after.filter(|after| *after <= last).unwrap_or(0).max(last.saturating_sub(CHANGES_SHOWN as u64));
        let changes: Vec<_> = history.numbered(from).into_iter().flatten().cloned().collect();
        (changes, Arc::clone(snapshot))
    });
    let (found, more) = services(&snapshot, text);
    let quarantine = snapshot.quarantine().take(QUARANTINED_SHOWN);
    let quarantine: Vec<_> =
        quarantine.map(|bad| json!({ "key": bad.key.to_string(), "reason": bad.reason })).collect();
    json!({
        "version": crate::VERSION,
        "now": unix_seconds(),
        "started": stats.started,
        "memory_mb": resident_megabytes(),
        "threads": thread_count(),
        "position": snapshot.position().to_string(),
        "watch": WATCH_PATH,
        "last_change": snapshot.changes(),
        "changes": changes.iter().map(|change| change_json(change)).collect::<Vec<_>>(),
        "all_services": snapshot.services().count(),
        "services": found,
        "more_services": more,
        "quarantine": quarantine,
    })
}

/// Services that have the text, the first of them with instances; and how many more there are.
fn services(snapshot: &Snapshot, text: &str) -> (Vec<Value>, usize) {
    let (mut described, mut more, mut remaining) = (Vec::new(), 0, INSTANCES_SHOWN);
    for service in snapshot.services() {
        let name_matches = service.contains(text);
        if described.len() == SERVICES_SHOWN && name_matches {
            more += 1;
            continue;
        }
        let (mut instances, mut count) = (Vec::new(), 0);
        let max = INSTANCES_PER_SERVICE.min(remaining);
        for stored in snapshot.instances(service) {
            // Before an instance is looked at closely, which is dear, there has to be room for it or a reason.
            if name_matches && instances.len() == max {
                count += 1;
                continue;
            }
            let instance = instance(stored);
            if name_matches || matches(&instance, text) {
                count += 1;
                if instances.len() < max {
                    instances.push(instance);
                }
            }
        }
        if count == 0 {
            continue;
        }
        if described.len() == SERVICES_SHOWN {
            more += 1;
        } else {
            remaining -= instances.len();
            described.push(json!({ "name": &**service, "count": count, "instances": instances }));
        }
    }
    (described, more)
}

fn matches(instance: &Value, text: &str) -> bool {
    let fields = ["address", "id", "version", "dialect"];
    fields.iter().filter_map(|field| instance[field].as_str()).any(|value| value.to_lowercase().contains(text))
}

fn instance(stored: &StoredEntry) -> Value {
    let described = InstanceDescription::of(stored);
    let details = stored.entry.details.as_ref();
    json!({
        "id": described.node["id"],
        "address": address(stored),
        "version": described.version,
        "priority": stored.entry.priority,
        "weight": stored.entry.weight,
        "dialect": details.map_or("", Details::dialect),
        "held": lifetime(stored),
        "key": stored.key.to_string(),
    })
}

fn address(stored: &StoredEntry) -> String {
    stored.entry.host.as_ref().map(|host| format!("{host} port {}", stored.entry.port)).unwrap_or_default()
}

/// What keeps it there, in words.
fn lifetime(stored: &StoredEntry) -> String {
    match (stored.lease, stored.lease_ttl_s) {
        (None, _) => "until it is removed".into(),
        (Some(lease), Some(term)) if lease.is_ours() => format!("while it lives, and {term} s"),
        (Some(lease), None) if LeaseId::is_ours(lease) => "while it lives".into(),
        (Some(_), Some(term)) => format!("by another program's lease of {term} s"),
        (Some(_), None) => "by another program's lease".into(),
    }
}

fn change_json(change: &Change) -> Value {
    let kind = match change.kind {
        ChangeKind::Put => "put",
        ChangeKind::Removed(RemovalReason::Deregistered) => "delete",
        ChangeKind::Removed(RemovalReason::Expired) => "expire",
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
