//! `/registry`: which services there are, where one is, registering and removing.
//!
//! The original registers the first node of a body only, and answers 500 to whatever it cannot read; here all nodes
//! count, and what is wrong is a 400 and a sentence.

use super::service::{Service, term};
use super::shown::versions;
use super::{DIALECT, Micro};
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
pub(super) fn known(app: &App) -> Result<Arc<Snapshot>, HttpError> {
    app.known("the store was not read yet; ask again")
}

/// GET: all services by name, or one with its nodes.
pub(super) fn get(request: &Request, app: &App) -> Result<Reply, HttpError> {
    let snapshot = known(app)?;
    let mut said =
        Form::read(request.uri().query().unwrap_or_default(), &["service"], |_, _| Ok(())).map_err(invalid)?;
    let Some(service) = said.text("service") else {
        let services: Vec<_> = snapshot.services().map(|name| json!({ "name": &**name })).collect();
        return Ok(route::json(StatusCode::OK, &services.into()));
    };
    let found = versions(&service, snapshot.instances(&service).map(Arc::as_ref));
    if found.is_empty() {
        return Err(HttpError::new(StatusCode::NOT_FOUND, "Service not found"));
    }
    Ok(route::json(StatusCode::OK, &found.into()))
}

/// POST: registers every node.
pub(super) async fn post(request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let app = &micro.app;
    let said =
        read(request, &peer, app, |said| said).await.inspect_err(|_| app.metrics.registration(DIALECT, "invalid"))?;
    let _turn = app.turns.turn().await.inspect_err(|_| app.metrics.registration(DIALECT, "unavailable"))?;
    let put = |instance| app.registry.put_lasting(instance, said.term);
    match try_join_all(said.instances.into_iter().map(put)).await {
        Ok(_) => {
            app.metrics.registration(DIALECT, "ok");
            Ok(route::text(StatusCode::OK, ""))
        }
        Err(error) => {
            app.metrics.registration(DIALECT, outcome(&error));
            Err(refused(error))
        }
    }
}

/// DELETE: removes every node; one that is not there is removed already.
pub(super) async fn delete(request: Request, peer: Peer, micro: Arc<Micro>) -> Result<Reply, HttpError> {
    let app = &micro.app;
    let said = read(request, &peer, app, Service::to_remove).await?;
    let removed = said.instances.iter().map(|instance| app.registry.remove_lasting(&instance.key));
    try_join_all(removed).await.map_err(refused)?;
    app.metrics.release(DIALECT, "removed");
    Ok(route::text(StatusCode::OK, ""))
}

/// What a body says, checked.
struct Said {
    instances: Vec<Instance>,
    term: Option<Duration>,
}

async fn read(
    request: Request,
    peer: &Peer,
    app: &App,
    with: impl FnOnce(Service) -> Service,
) -> Result<Said, HttpError> {
    let mut said = Form::read(request.uri().query().unwrap_or_default(), &["ttl"], |_, _| Ok(())).map_err(invalid)?;
    let ttl = said.text("ttl").map(|ttl| term(&ttl)).transpose().map_err(invalid)?;
    let body = http::body(request, &app.limits).await?;
    let mut service = with(Service::read(&body).map_err(invalid)?);
    service.ttl_s = ttl.or(service.ttl_s);
    let mut instances = service.instances(&app.naming, peer.addr.ip()).map_err(invalid)?;
    // Who says a node twice means its last word.
    instances.reverse();
    let mut keys = std::collections::HashSet::new();
    instances.retain(|instance| keys.insert(instance.key.clone()));
    Ok(Said { instances, term: service.ttl_s.map(Duration::from_secs) })
}
