//! The renewal of leases: one keep-alive stream for all of them.
//!
//! etcd responds to the requests on a keep-alive stream in their order. The client crate returns a keeper for a single
//! lease, but its stream accepts any lease: the keeper's id is set for each request (its fields are public with the
//! crate's feature `pub-response-field`).
//!
//! Owns: the stream, and opening it again after it ended. Does not own: the time of renewals.

use super::endpoints::{EndpointClient, Endpoints, Resend};
use crate::{LeaseId, StoreError};
use etcd_client::{Error, LeaseKeepAliveStream, LeaseKeeper};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The keep-alive stream, if one is open.
#[derive(Default)]
pub(super) struct Keepalive {
    /// Locked for a whole round of requests and responses: the responses of two rounds would mix.
    stream: Mutex<Option<KeepAliveStream>>,
}

struct KeepAliveStream {
    endpoint: Arc<EndpointClient>,
    keeper: LeaseKeeper,
    responses: LeaseKeepAliveStream,
}

/// The reason why a stream cannot be used again.
enum StreamError {
    /// The stream ended or sent an unexpected response.
    Ended(String),
    /// A response did not arrive in time: the endpoint hangs.
    TimedOut,
}

impl Keepalive {
    /// Renews each lease, and returns in the same order which of them exist.
    pub(super) async fn renew(&self, endpoints: &Endpoints, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        let limit = endpoints.settings.request_timeout;
        let mut slot = self.stream.lock().await;
        // Taken out while in use: if this call is dropped half way, so is the stream with its pending requests.
        if let Some(mut stream) = slot.take() {
            match stream.renew(leases, limit).await {
                Ok(alive) => {
                    *slot = Some(stream);
                    return Ok(alive);
                }
                // It ended since its last use, which gives no information about etcd now.
                Err(StreamError::Ended(reason)) => tracing::debug!(reason, "etcd's keep-alive stream ended"),
                Err(error @ StreamError::TimedOut) => return Err(stream.into_store_error(endpoints, error).await),
            }
        }
        let (mut alive, stream) = Self::open(endpoints, leases).await?;
        if let Some(mut stream) = stream {
            match stream.renew(&leases[alive.len()..], limit).await {
                Ok(rest) => alive.extend(rest),
                Err(error) => return Err(stream.into_store_error(endpoints, error).await),
            }
            *slot = Some(stream);
        }
        Ok(alive)
    }

    /// Opens a stream with the first lease that exists. Also returns the results of the leases up to and including that
    /// one. Returns no stream if none of them exists.
    async fn open(
        endpoints: &Endpoints,
        leases: &[LeaseId],
    ) -> Result<(Vec<bool>, Option<KeepAliveStream>), StoreError> {
        let mut alive = Vec::with_capacity(leases.len());
        for lease in leases {
            let stream = endpoints.call(Resend::Yes, |endpoint| KeepAliveStream::open(endpoint, *lease)).await?;
            alive.push(stream.is_some());
            if stream.is_some() {
                return Ok((alive, stream));
            }
        }
        Ok((alive, None))
    }
}

impl KeepAliveStream {
    /// Opens a stream by renewing a lease; `None` if that lease does not exist.
    async fn open(endpoint: Arc<EndpointClient>, LeaseId(id): LeaseId) -> Result<Option<Self>, Error> {
        match endpoint.client.lease_client().keep_alive(id).await {
            Ok((keeper, responses)) => Ok(Some(Self { endpoint, keeper, responses })),
            // The crate's error for a response with a TTL of 0.
            Err(Error::LeaseKeepAliveError(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the requests while it reads the responses, so that a full direction cannot block the other.
    async fn renew(&mut self, leases: &[LeaseId], limit: Duration) -> Result<Vec<bool>, StreamError> {
        let Self { keeper, responses, .. } = self;
        let sending = async {
            for LeaseId(id) in leases {
                keeper.id = *id;
                keeper.keep_alive().await.map_err(|error| StreamError::Ended(error.to_string()))?;
            }
            Ok(())
        };
        let receiving = async {
            let mut alive = Vec::with_capacity(leases.len());
            for LeaseId(id) in leases {
                match timeout(limit, responses.message()).await {
                    Ok(Ok(Some(response))) if response.id() == *id => alive.push(response.ttl() > 0),
                    Ok(Ok(Some(response))) => {
                        return Err(StreamError::Ended(format!(
                            "a response for lease {:x} instead of {id:x}",
                            response.id()
                        )));
                    }
                    Ok(Ok(None)) => return Err(StreamError::Ended("etcd closed the stream".into())),
                    Ok(Err(error)) => return Err(StreamError::Ended(error.to_string())),
                    Err(_) => return Err(StreamError::TimedOut),
                }
            }
            Ok(alive)
        };
        tokio::try_join!(sending, receiving).map(|((), alive)| alive)
    }

    async fn into_store_error(self, endpoints: &Endpoints, error: StreamError) -> StoreError {
        endpoints.fail_over(&self.endpoint).await;
        let url = &self.endpoint.url;
        StoreError::Unreachable(match error {
            StreamError::Ended(reason) => format!("{url}: the keep-alive stream ended: {reason}"),
            StreamError::TimedOut => {
                format!("{url}: no renewal of a lease within {:?}", endpoints.settings.request_timeout)
            }
        })
    }
}
