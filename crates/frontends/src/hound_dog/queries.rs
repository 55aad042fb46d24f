//! The responses of `GET /etcd/…`: services, their instances, and the status of the store.

use super::{HoundDogState, messages};
use crate::form::decode;
use hyper::StatusCode;
use serde_json::json;
use sha1::{Digest, Sha1};
use skyhound_core::catalog::Snapshot;
use skyhound_net::{HttpError, Reply, Request, route};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The time that the store has to report its status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// A response in preparation.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Reply, HttpError>> + Send>>;

/// Lists each service once, in order.
pub(super) fn services(state: &HoundDogState) -> Result<Reply, HttpError> {
    let services: Vec<_> = snapshot(state)?.services().map(ToString::to_string).collect();
    Ok(route::json(StatusCode::OK, &json!({ "services": services })))
}

/// Lists the instances of a service; an unknown service has none.
pub(super) fn instances(state: &HoundDogState, request: &Request) -> Result<Reply, HttpError> {
    let service = request.uri().path().strip_prefix("/etcd/services/").unwrap_or_default();
    // A path is not a form: its plus is a plus.
    let service = decode(&service.replace('+', "%2B"))
        .map_err(|problem| HttpError::bad_request(format!("the service {problem}")))?;
    let services = messages::endpoints(snapshot(state)?.instances(&service));
    Ok(route::json(StatusCode::OK, &json!({ "services": services })))
}

/// The current snapshot; 503 before the store was read.
fn snapshot(state: &HoundDogState) -> Result<Arc<Snapshot>, HttpError> {
    state.app.loaded_snapshot("the store was not read yet; retry later")
}

/// The ids of etcd's leader and of the member that answered. A store of one node is its own leader.
pub(super) async fn leader(state: Arc<HoundDogState>) -> Result<Reply, HttpError> {
    let StoreInfo { leader, member, .. } = store_info(&state).await?;
    Ok(route::json(StatusCode::OK, &json!({ "leader": leader, "member_id": member })))
}

/// The version of the store.
pub(super) async fn version(state: Arc<HoundDogState>) -> Result<Reply, HttpError> {
    Ok(route::json(StatusCode::OK, &json!({ "version": store_info(&state).await?.version })))
}

/// The status of the store.
struct StoreInfo {
    version: String,
    leader: u64,
    member: u64,
}

async fn store_info(state: &HoundDogState) -> Result<StoreInfo, HttpError> {
    match timeout(STATUS_TIMEOUT, state.app.registry.store_status()).await {
        Ok(Ok(status)) => {
            let (leader, member) = if let Some(member) = status.member {
                (member.leader_id, member.member_id)
            } else {
                let id = node_id(&status.location);
                (id, id)
            };
            Ok(StoreInfo { version: status.version, leader, member })
        }
        Ok(Err(error)) => Err(HttpError::unavailable(format!("the status of the store is unavailable: {error}"))),
        Err(_) => Err(HttpError::unavailable(format!("the store did not report its status within {STATUS_TIMEOUT:?}"))),
    }
}

/// The id of this node, stable across restarts: a hash of its host and the location of its store. Never 0.
fn node_id(location: &str) -> u64 {
    let host = rustix::system::uname();
    let hash = Sha1::digest([host.nodename().to_bytes(), b" ", location.as_bytes()].concat());
    let first = hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
    first.max(1)
}
