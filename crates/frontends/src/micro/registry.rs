//! `/registry`: which services there are, where one is, registering and removing.
//!
//! The original registers the first node of a body only, and answers 500 to whatever it cannot read; here all nodes
//! count, and what is wrong is a 400 and a sentence.

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

/// What is known, once anything is.
pub(super) fn current_snapshot(app: &App) -> Result<Arc<Snapshot>, HttpError> {
    app.loaded_snapshot("the store was not read yet; ask again")
}

/// GET: all services by name, or one with its nodes.
pub(super) fn get(request: &Request, app: &App) -> Result<Reply, HttpError> {
    let snapshot = current_snapshot(app)?;
    let mut params =
        Form::read(request.uri().query().unwrap_or_default(), &["service"], |_, _| Ok(())).map_err(invalid)?;
    let Some(service) = params.text("service") else {
        let services: Vec<_> = snapshot.services().map(|name| json!({ "name": &**name })).collect();
        return Ok(route::json(StatusCode::OK, &services.into()));
    };
    let found = service_versions(&service, snapshot.instances(&service).map(Arc::as_ref));
    if found.is_empty() {
        return Err(HttpError::new(StatusCode::NOT_FOUND, "Service not found"));
    }
    Ok(route::json(StatusCode::OK, &found.into()))
}

/// POST: registers every node.
pub(super) async fn post(request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let app = &micro.app;
    let request_body = read_request(request, &peer, app, |service| service)
        .await
        .inspect_err(|_| app.metrics.registration(FRONTEND, "invalid"))?;
    let _permit =
        app.registration_permits.acquire().await.inspect_err(|_| app.metrics.registration(FRONTEND, "unavailable"))?;
    let put = |instance| app.registry.put_persistent(instance, request_body.ttl);
    match try_join_all(request_body.instances.into_iter().map(put)).await {
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

/// DELETE: removes every node; one that is not there is removed already.
pub(super) async fn delete(request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let app = &micro.app;
    let request_body = read_request(request, &peer, app, Service::for_removal).await?;
    let removed = request_body.instances.iter().map(|instance| app.registry.remove_persistent(&instance.key));
    try_join_all(removed).await.map_err(refused)?;
    app.metrics.release(FRONTEND, "deregistered");
    Ok(route::text(StatusCode::OK, ""))
}

/// What a body says, checked.
struct ServiceRequest {
    instances: Vec<Instance>,
    ttl: Option<Duration>,
}

async fn read_request(
    request: Request,
    peer: &Peer,
    app: &App,
    with: impl FnOnce(Service) -> Service,
) -> Result<ServiceRequest, HttpError> {
    let mut params = Form::read(request.uri().query().unwrap_or_default(), &["ttl"], |_, _| Ok(())).map_err(invalid)?;
    let ttl = params.text("ttl").map(|ttl| parse_ttl(&ttl)).transpose().map_err(invalid)?;
    let body = http::read_body(request, &app.limits).await?;
    let mut service = with(Service::read(&body).map_err(invalid)?);
    service.ttl_s = ttl.or(service.ttl_s);
    let mut instances = service.instances(&app.naming, peer.addr.ip()).map_err(invalid)?;
    // Who says a node twice means its last word.
    instances.reverse();
    let mut keys = std::collections::HashSet::new();
    instances.retain(|instance| keys.insert(instance.key.clone()));
    Ok(ServiceRequest { instances, ttl: service.ttl_s.map(Duration::from_secs) })
}
