//! Keeping leases alive: one stream for all of them.
//!
//! etcd answers the questions on a keep-alive stream one after another, in their order. The client crate
//! gives out a keeper for a single lease, but its stream takes any: the keeper's id is set for each
//! question (its fields are public with the crate's feature `pub-response-field`).
//!
//! Owns: the stream, and opening it again when it broke. Does not own: when leases are kept.

use super::peers::{Link, Peers, Resend};
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
    stream: Mutex<Option<Stream>>,
}

struct Stream {
    link: Arc<Link>,
    ask: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

/// Why a stream is of no use any more.
enum Broken {
    /// It ended, or said what it should not.
    Ended(String),
    /// It did not answer in time: its endpoint hangs.
    Silent,
}

impl Keepalive {
    /// Gives each lease a fresh term; says in the same order which are still there.
    pub(super) async fn keep(&self, peers: &Peers, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        let limit = peers.settings.request_timeout;
        let mut place = self.stream.lock().await;
        // Taken out while in use: if this call is dropped half way, so is the stream with its open questions.
        if let Some(mut stream) = place.take() {
            match stream.keep(leases, limit).await {
                Ok(alive) => {
                    *place = Some(stream);
                    return Ok(alive);
                }
                // It broke since it was last used, which says nothing about etcd now.
                Err(Broken::Ended(reason)) => tracing::debug!(reason, "etcd's keep-alive stream ended"),
                Err(broken @ Broken::Silent) => return Err(stream.give_up(peers, broken).await),
            }
        }
        let (mut alive, stream) = Self::open(peers, leases).await?;
        if let Some(mut stream) = stream {
            match stream.keep(&leases[alive.len()..], limit).await {
                Ok(rest) => alive.extend(rest),
                Err(broken) => return Err(stream.give_up(peers, broken).await),
            }
            *place = Some(stream);
        }
        Ok(alive)
    }

    /// Opens a stream with the first lease that is still there. Also returns what became of the leases up
    /// to and including that one. No stream when all are gone.
    async fn open(peers: &Peers, leases: &[LeaseId]) -> Result<(Vec<bool>, Option<Stream>), StoreError> {
        let mut alive = Vec::with_capacity(leases.len());
        for lease in leases {
            let stream = peers.call(Resend::Yes, |link| Stream::open(link, *lease)).await?;
            alive.push(stream.is_some());
            if stream.is_some() {
                return Ok((alive, stream));
            }
        }
        Ok((alive, None))
    }
}

impl Stream {
    /// Opens a stream by keeping a lease. `None` when that lease is gone.
    async fn open(link: Arc<Link>, LeaseId(id): LeaseId) -> Result<Option<Self>, Error> {
        match link.client.lease_client().keep_alive(id).await {
            Ok((ask, answers)) => Ok(Some(Self { link, ask, answers })),
            // The crate's word for an answer with a term of 0.
            Err(Error::LeaseKeepAliveError(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for all leases while it reads the answers, so that neither direction can fill up and stop both.
    async fn keep(&mut self, leases: &[LeaseId], limit: Duration) -> Result<Vec<bool>, Broken> {
        let Self { ask, answers, .. } = self;
        let asking = async {
            for LeaseId(id) in leases {
                ask.id = *id;
                ask.keep_alive().await.map_err(|error| Broken::Ended(error.to_string()))?;
            }
            Ok(())
        };
        let answering = async {
            let mut alive = Vec::with_capacity(leases.len());
            for LeaseId(id) in leases {
                match timeout(limit, answers.message()).await {
                    Ok(Ok(Some(answer))) if answer.id() == *id => alive.push(answer.ttl() > 0),
                    Ok(Ok(Some(answer))) => {
                        return Err(Broken::Ended(format!(
                            "it spoke of lease {:x} when asked for {id:x}",
                            answer.id()
                        )));
                    }
                    Ok(Ok(None)) => return Err(Broken::Ended("closed by etcd".into())),
                    Ok(Err(error)) => return Err(Broken::Ended(error.to_string())),
                    Err(_) => return Err(Broken::Silent),
                }
            }
            Ok(alive)
        };
        tokio::try_join!(asking, answering).map(|((), alive)| alive)
    }

    async fn give_up(self, peers: &Peers, broken: Broken) -> StoreError {
        peers.leave(&self.link).await;
        let url = &self.link.url;
        StoreError::Unreachable(match broken {
            Broken::Ended(reason) => format!("{url}: the keep-alive stream broke: {reason}"),
            Broken::Silent => format!("{url}: a lease was not kept within {:?}", peers.settings.request_timeout),
        })
    }
}
