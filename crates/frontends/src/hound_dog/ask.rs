//! What `/etcd/…` answers: services, their instances, and how the store is.

use super::{Dog, words};
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
const STATUS_DEADLINE: Duration = Duration::from_secs(2);

/// An answer to come.
pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Reply, HttpError>> + Send>>;

/// Each service once, in order.
pub(super) fn services(dog: &Dog) -> Result<Reply, HttpError> {
    let services: Vec<_> = known(dog)?.services().map(ToString::to_string).collect();
    Ok(route::json(StatusCode::OK, &json!({ "services": services })))
}

/// The instances of one service; none of one that nobody offers.
pub(super) fn instances(dog: &Dog, request: &Request) -> Result<Reply, HttpError> {
    let service = request.uri().path().strip_prefix("/etcd/services/").unwrap_or_default();
    // A path is no form: its plus is a plus.
    let service = decode(&service.replace('+', "%2B"))
        .map_err(|problem| HttpError::bad_request(format!("the service {problem}")))?;
    let services = words::places(known(dog)?.instances(&service));
    Ok(route::json(StatusCode::OK, &json!({ "services": services })))
}

/// What is known, once anything is.
fn known(dog: &Dog) -> Result<Arc<Snapshot>, HttpError> {
    dog.app.known("the store was not read yet; what is registered is not known")
}

/// Who leads etcd, and who answered. A store of one leads itself.
pub(super) async fn leader(dog: Arc<Dog>) -> Result<Reply, HttpError> {
    let How { leader, member, .. } = how(&dog).await?;
    Ok(route::json(StatusCode::OK, &json!({ "leader": leader, "member_id": member })))
}

/// The store's version.
pub(super) async fn version(dog: Arc<Dog>) -> Result<Reply, HttpError> {
    Ok(route::json(StatusCode::OK, &json!({ "version": how(&dog).await?.version })))
}

/// How the store is.
struct How {
    version: String,
    leader: u64,
    member: u64,
}

async fn how(dog: &Dog) -> Result<How, HttpError> {
    match timeout(STATUS_DEADLINE, dog.app.registry.store_status()).await {
        Ok(Ok(status)) => {
            let alone = || node_id(&status.place);
            let (leader, member) = match status.member {
                Some(member) => (member.leader_id, member.member_id),
                None => (alone(), alone()),
            };
            Ok(How { version: status.version, leader, member })
        }
        Ok(Err(error)) => Err(HttpError::unavailable(format!("the store does not say how it is: {error}"))),
        Err(_) => Err(HttpError::unavailable(format!("the store does not say how it is within {STATUS_DEADLINE:?}"))),
    }
}

/// A number for this node that outlives a restart: from its host and the place of its store. Never 0.
fn node_id(place: &str) -> u64 {
    let host = rustix::system::uname();
    let hash = Sha1::digest([host.nodename().to_bytes(), b" ", place.as_bytes()].concat());
    let first = hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte));
    first.max(1)
}
