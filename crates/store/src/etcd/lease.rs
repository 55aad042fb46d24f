//! Keeping leases alive: one stream for all of them.
//!
//! etcd answers the questions on a keep-alive stream one after another, in their order. The client crate
//! gives out a keeper for a single lease, but its stream takes any: the keeper's id is set for each
//! question (its fields are public with the crate's feature `pub-response-field`).
//!
//! Owns: the stream, and opening it again when it broke. Does not own: when leases are kept.

use super::endpoints::{EndpointClient, Endpoints, Resend};
use crate::{LeaseId, StoreError};
use etcd_client::{Error, LeaseKeepAliveStream, LeaseKeeper};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The stream, when there is one.
#[derive(Default)]
pub(super) struct Keepalive {
    /// Held for a whole round of questions and answers: the answers of two rounds would mix.
    stream: Mutex<Option<KeepAliveStream>>,
}

struct KeepAliveStream {
    endpoint: Arc<EndpointClient>,
    keeper: LeaseKeeper,
    responses: LeaseKeepAliveStream,
}

/// Why a stream is of no use any more.
enum StreamError {
    /// It ended, or said what it should not.
    Ended(String),
    /// It did not answer in time: its endpoint hangs.
    TimedOut,
}

impl Keepalive {
    /// Gives each lease a fresh term; says in the same order which are still there.
    pub(super) async fn renew(&self, endpoints: &Endpoints, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        let limit = endpoints.settings.request_timeout;
        let mut slot = self.stream.lock().await;
        // Taken out while in use: if this call is dropped half way, so is the stream with its open questions.
        if let Some(mut stream) = slot.take() {
            match stream.renew(leases, limit).await {
                Ok(alive) => {
                    *slot = Some(stream);
                    return Ok(alive);
                }
                // It broke since it was last used, which says nothing about etcd now.
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

    /// Opens a stream with the first lease that is still there. Also returns what became of the leases up
    /// to and including that one. No stream when all are gone.
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
    /// Opens a stream by keeping a lease. `None` when that lease is gone.
    async fn open(endpoint: Arc<EndpointClient>, LeaseId(id): LeaseId) -> Result<Option<Self>, Error> {
        match endpoint.client.lease_client().keep_alive(id).await {
            Ok((keeper, responses)) => Ok(Some(Self { endpoint, keeper, responses })),
            // The crate's word for an answer with a term of 0.
            Err(Error::LeaseKeepAliveError(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for all leases while it reads the answers, so that neither direction can fill up and stop both.
    async fn renew(&mut self, leases: &[LeaseId], limit: Duration) -> Result<Vec<bool>, StreamError> {
        let Self { keeper, responses, .. } = self;
        let asking = async {
            for LeaseId(id) in leases {
                keeper.id = *id;
                keeper.keep_alive().await.map_err(|error| StreamError::Ended(error.to_string()))?;
            }
            Ok(())
        };
        let answering = async {
            let mut alive = Vec::with_capacity(leases.len());
            for LeaseId(id) in leases {
                match timeout(limit, responses.message()).await {
                    Ok(Ok(Some(response))) if response.id() == *id => alive.push(response.ttl() > 0),
                    Ok(Ok(Some(response))) => {
                        return Err(StreamError::Ended(format!(
                            "it spoke of lease {:x} when asked for {id:x}",
                            response.id()
                        )));
                    }
                    Ok(Ok(None)) => return Err(StreamError::Ended("closed by etcd".into())),
                    Ok(Err(error)) => return Err(StreamError::Ended(error.to_string())),
                    Err(_) => return Err(StreamError::TimedOut),
                }
            }
            Ok(alive)
        };
        tokio::try_join!(asking, answering).map(|((), alive)| alive)
    }

    async fn into_store_error(self, endpoints: &Endpoints, error: StreamError) -> StoreError {
        endpoints.fail_over(&self.endpoint).await;
        let url = &self.endpoint.url;
        StoreError::Unreachable(match error {
            StreamError::Ended(reason) => format!("{url}: the keep-alive stream broke: {reason}"),
            StreamError::TimedOut => {
                format!("{url}: a lease was not kept within {:?}", endpoints.settings.request_timeout)
            }
        })
    }
}
