//! `/registry`: lists services and the nodes of one, registers and removes nodes.
//!
//! The original registers only the first node of a body, and responds with 500 to an invalid one; here all nodes count,
//! and an invalid body is a 400 with the reason.

use super::describe::service_versions;
use super::service::{Service, parse_ttl};
use super::{FRONTEND, Micro};
use crate::app::App;
use crate::error::{invalid, refused};
use crate::form::Form;
use crate::outcome;
use futures_util::future::try_join_all;
use hyper::StatusCode;
use serde_json::json;
use skyhound_core::catalog::Snapshot;
use skyhound_model::Instance;
use skyhound_net::{HttpError, Peer, Reply, Request, http, route};
use std::sync::Arc;
use std::time::Duration;

/// The current snapshot; 503 before the store was read.
pub(super) fn current_snapshot(app: &App) -> Result<Arc<Snapshot>, HttpError> {
    app.loaded_snapshot("the store was not read yet; retry later")
}

/// Handles GET: all services by name, or one with its nodes.
pub(super) fn get(request: &Request, app: &App) -> Result<Reply, HttpError> {
    let snapshot = current_snapshot(app)?;
    let mut params =
        Form::read(request.uri().query().unwrap_or_default(), &["service"], |_, _| Ok(())).map_err(invalid)?;
    let Some(service) = params.text("service") else {
        let services: Vec<_> = snapshot.services().map(|name| json!({ "name": &**name })).collect();
        return Ok(route::json(StatusCode::OK, &services.into()));
    };
    let versions = service_versions(&service, snapshot.instances(&service).map(Arc::as_ref));
    if versions.is_empty() {
        return Err(HttpError::new(StatusCode::NOT_FOUND, "Service not found"));
    }
    Ok(route::json(StatusCode::OK, &versions.into()))
}

/// Handles POST: registers every node.
pub(super) async fn post(request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let app = &micro.app;
    let service_request = read_request(request, &peer, app, |service| service)
        .await
        .inspect_err(|_| app.metrics.registration(FRONTEND, "invalid"))?;
    let _permit =
        app.registration_permits.acquire().await.inspect_err(|_| app.metrics.registration(FRONTEND, "unavailable"))?;
    let put = |instance| app.registry.put_persistent(instance, service_request.ttl);
    match try_join_all(service_request.instances.into_iter().map(put)).await {
        Ok(_) => {
            app.metrics.registration(FRONTEND, "ok");
            Ok(route::text(StatusCode::OK, ""))
        }
        Err(error) => {
            app.metrics.registration(FRONTEND, outcome(&error));
            Err(refused(error))
        }
    }
}

/// Handles DELETE: removes every node; a missing one counts as removed.
pub(super) async fn delete(request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let app = &micro.app;
    let service_request = read_request(request, &peer, app, Service::for_removal).await?;
    let removed = service_request.instances.iter().map(|instance| app.registry.remove_persistent(&instance.key));
    try_join_all(removed).await.map_err(refused)?;
    app.metrics.release(FRONTEND, "deregistered");
    Ok(route::text(StatusCode::OK, ""))
}

/// A validated request body.
struct ServiceRequest {
    instances: Vec<Instance>,
    ttl: Option<Duration>,
}

async fn read_request(
    request: Request,
    peer: &Peer,
    app: &App,
    prepare: impl FnOnce(Service) -> Service,
) -> Result<ServiceRequest, HttpError> {
    let mut params = Form::read(request.uri().query().unwrap_or_default(), &["ttl"], |_, _| Ok(())).map_err(invalid)?;
    let ttl = params.text("ttl").map(|ttl| parse_ttl(&ttl)).transpose().map_err(invalid)?;
    let body = http::read_body(request, &app.limits).await?;
    let mut service = prepare(Service::parse(&body).map_err(invalid)?);
    service.ttl_s = ttl.or(service.ttl_s);
    let mut instances = service.instances(&app.naming, peer.addr.ip()).map_err(invalid)?;
    // Of a node that is given twice the last one counts.
    instances.reverse();
    let mut keys = std::collections::HashSet::new();
    instances.retain(|instance| keys.insert(instance.key.clone()));
    Ok(ServiceRequest { instances, ttl: service.ttl_s.map(Duration::from_secs) })
}
