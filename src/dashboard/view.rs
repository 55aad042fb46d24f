//! `/stats/view`: the data of the page, in one JSON object.
//!
//! `?q=TEXT` selects services with that text in their name, or in the address, id, version or frontend of an instance.
//! `?after=NUMBER` selects the changes after that one, so that a page that polls misses none and shows none twice.
//! Lists that may have a million elements are truncated, and the number of omitted elements is returned with them.
//!
//! Owns: the selection of data, and its limits. Does not own: the presentation (the files of `page`).

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

/// The limit of views that are built at a time: each may read every instance.
pub(super) const CONCURRENT_MAX: usize = 2;
/// The path of the change stream (server-sent events), relative to the page.
const WATCH_PATH: &str = "v1/watch";
/// The limit of services in a view.
pub(super) const SERVICES_SHOWN: usize = 200;
/// The limit of instances of one service in a view.
pub(super) const INSTANCES_PER_SERVICE: usize = 50;
/// The limit of instances of all services in a view: a page polls every few seconds. The others are counted.
pub(super) const INSTANCES_SHOWN: usize = 500;
/// The limit of changes in a view; older ones are omitted.
pub(super) const CHANGES_SHOWN: usize = 100;
/// The limit of quarantined values in a view.
pub(super) const QUARANTINED_SHOWN: usize = 100;

/// Handles GET.
pub(super) async fn get(stats: Arc<Stats>, request: Request, peer: Peer) -> Result<Reply, HttpError> {
    let query = request.uri().query().unwrap_or_default();
    let mut params = Form::read(query, &["q", "after"], |_, _| Ok(())).map_err(invalid)?;
    let (text, after) = (params.text("q").unwrap_or_default(), params.number("after", &u64::MAX).map_err(invalid)?);
    let (_, parts) = health::state(&stats.app, peer.permit.is_stopping()).await;
    // Never closed: the semaphore lives as long as the routes.
    let _permit = stats.views.acquire().await;
    let counters = stats.counters();
    let shared = Arc::clone(&stats);
    // Outside the executor: a million instances take a while.
    let built = tokio::task::spawn_blocking(move || view(&shared, &text.to_lowercase(), after));
    let mut view = built
        .await
        .map_err(|_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot build the view; see the log"))?;
    view["state"] = parts;
    view["counters"] = counters.into();
    Ok(route::json(StatusCode::OK, &view))
}

fn view(stats: &Stats, text: &str, after: Option<u64>) -> Value {
    let (changes, snapshot) = stats.app.catalog.with_history(|history, snapshot| {
        let last = snapshot.changes();
        // A new page gets the last changes; so does a page of the daemon that ran before this one.
        let from = after.filter(|after| *after <= last).unwrap_or(0).max(last.saturating_sub(CHANGES_SHOWN as u64));
        let changes: Vec<_> = history.numbered(from).into_iter().flatten().cloned().collect();
        (changes, Arc::clone(snapshot))
    });
    let (services, more) = services(&snapshot, text);
    let quarantine = snapshot.quarantine().take(QUARANTINED_SHOWN);
    let quarantine: Vec<_> =
        quarantine.map(|value| json!({ "key": value.key.to_string(), "reason": value.reason })).collect();
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
        "service_count": snapshot.services().count(),
        "services": services,
        "more_services": more,
        "quarantine": quarantine,
    })
}

/// Returns the services that match the text, the first of them with instances, and the number of omitted services.
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
            // An instance is formatted, which is expensive, only if it has to be matched or will be shown.
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
    let fields = ["address", "id", "version", "frontend"];
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
        "frontend": details.map_or("", Details::frontend),
        "lifetime": lifetime(stored),
        "key": stored.key.to_string(),
    })
}

fn address(stored: &StoredEntry) -> String {
    stored.entry.host.as_ref().map(|host| format!("{host} port {}", stored.entry.port)).unwrap_or_default()
}

/// Describes the condition under which the entry stays.
fn lifetime(stored: &StoredEntry) -> String {
    match (stored.lease, stored.lease_ttl_s) {
        (None, _) => "until removed".into(),
        (Some(lease), Some(ttl_s)) if lease.is_ours() => format!("lease of {ttl_s} s, renewed while the client lives"),
        (Some(lease), None) if LeaseId::is_ours(lease) => "lease, renewed while the client lives".into(),
        (Some(_), Some(ttl_s)) => format!("lease of {ttl_s} s of another program"),
        (Some(_), None) => "lease of another program".into(),
    }
}

fn change_json(change: &Change) -> Value {
    let kind = match change.kind {
        ChangeKind::Put => "put",
        ChangeKind::Removed(RemovalReason::Deregistered) => "delete",
        ChangeKind::Removed(RemovalReason::Expired) => "expire",
    };
    let frontend = change.instance.entry.details.as_ref().map_or("", Details::frontend);
    json!({
        "number": change.number,
        "kind": kind,
        "service": &*change.service,
        "address": address(&change.instance),
        "frontend": frontend,
    })
}
