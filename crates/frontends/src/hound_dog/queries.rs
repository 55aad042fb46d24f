//! What `/etcd/…` answers: services, their instances, and how the store is.

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

/// How long the store may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer to come.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Reply, HttpError>> + Send>>;

/// Each service once, in order.
pub(super) fn services(state: &HoundDogState) -> Result<Reply, HttpError> {
    let services: Vec<_> = snapshot(state)?.services().map(ToString::to_string).collect();
    Ok(route::json(StatusCode::OK, &json!({ "services": services })))
}

/// The instances of one service; none of one that nobody offers.
pub(super) fn instances(state: &HoundDogState, request: &Request) -> Result<Reply, HttpError> {
    let service = request.uri().path().strip_prefix("/etcd/services/").unwrap_or_default();
    // A path is no form: its plus is a plus.
    let service = decode(&service.replace('+', "%2B"))
        .map_err(|problem| HttpError::bad_request(format!("the service {problem}")))?;
    let services = messages::endpoints(snapshot(state)?.instances(&service));
    Ok(route::json(StatusCode::OK, &json!({ "services": services })))
}

/// What is known, once anything is.
fn snapshot(state: &HoundDogState) -> Result<Arc<Snapshot>, HttpError> {
    state.app.loaded_snapshot("the store was not read yet; what is registered is not known")
}

/// Who leads etcd, and who answered. A store of one leads itself.
pub(super) async fn leader(state: Arc<HoundDogState>) -> Result<Reply, HttpError> {
    let StoreInfo { leader, member, .. } = store_info(&state).await?;
    Ok(route::json(StatusCode::OK, &json!({ "leader": leader, "member_id": member })))
}

/// The store's version.
pub(super) async fn version(state: Arc<HoundDogState>) -> Result<Reply, HttpError> {
    Ok(route::json(StatusCode::OK, &json!({ "version": store_info(&state).await?.version })))
}

/// How the store is.
struct StoreInfo {
    version: String,
    leader: u64,
    member: u64,
}

async fn store_info(state: &HoundDogState) -> Result<StoreInfo, HttpError> {
    match timeout(STATUS_TIMEOUT, state.app.registry.store_status()).await {
        Ok(Ok(status)) => {
            let own_id = || node_id(&status.location);
            let (leader, member) = match status.member {
                Some(member) => (member.leader_id, member.member_id),
                None => (own_id(), own_id()),
            };
            Ok(StoreInfo { version: status.version, leader, member })
        }
        Ok(Err(error)) => Err(HttpError::unavailable(format!("the store does not say how it is: {error}"))),
        Err(_) => Err(HttpError::unavailable(format!("the store does not say how it is within {STATUS_TIMEOUT:?}"))),
    }
}

/// A number for this node that outlives a restart: from its host and the place of its store. Never 0.
fn node_id(endpoint: &str) -> u64 {
    let host = rustix::system::uname();
    let hash = Sha1::digest([host.nodename().to_bytes(), b" ", endpoint.as_bytes()].concat());
    let first = hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
    first.max(1)
}
