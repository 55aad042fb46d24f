//! Publishing: one put in the store for each topic of a message.
//!
//! Owns: the limits of a message, its commits, and the lease that removes it. Does not own: delivery
//! ([`super::follow`]).

use super::{DEADLINE, Topics};
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::{COMMIT_MAX, LeaseId, Op, StoreError, Write};
use std::sync::{MutexGuard, PoisonError};
use tokio::time::{Instant, timeout};

/// The limit for the length of a message, in bytes. etcd accepts requests of 1.5 MiB in total by default.
pub const MESSAGE_MAX: usize = 1024 * 1024;
/// The limit of topics of one message: one commit, unless the message is long.
pub const TOPICS_MAX: usize = COMMIT_MAX;

/// The recipients of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients<'a> {
    /// All subscriptions, whatever their topics.
    All,
    /// The subscriptions of these topics; each name once, at most [`TOPICS_MAX`].
    Topics(&'a [String]),
}

/// The reason that a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The message is over [`MESSAGE_MAX`].
    #[error("the message is {0} bytes; {MESSAGE_MAX} is the limit")]
    TooLarge(usize),
    /// The store is unavailable or slow. It may have the message all the same, also for a part of the topics only.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store cannot accept the message.
    #[error("{0}")]
    Rejected(String),
}

/// The lease of the messages of now. It is never renewed.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageLease {
    id: LeaseId,
    granted: Instant,
}

impl Topics {
    /// Publishes a message. After it returns, the store has the message, and every node will deliver it.
    pub async fn publish(&self, to: Recipients<'_>, body: Bytes) -> Result<(), PublishError> {
        if body.len() > MESSAGE_MAX {
            return Err(PublishError::TooLarge(body.len()));
        }
        let keys: Vec<Key> = match to {
            Recipients::All => vec![Key::from(&self.root)],
            Recipients::Topics(topics) => {
                topics.iter().map(|topic| Key::from(format!("{}/{topic}", self.root))).collect()
            }
        };
        // On the way to etcd each put contains a copy of the message.
        let per_commit = (MESSAGE_MAX / body.len().max(1)).clamp(1, COMMIT_MAX);
        for keys in keys.chunks(per_commit) {
            match timeout(DEADLINE, self.put(keys, &body)).await {
                Ok(Ok(())) => {}
                Ok(Err(StoreError::Rejected(reason))) => return Err(PublishError::Rejected(reason)),
                Ok(Err(error)) => return Err(PublishError::Unavailable(error.to_string())),
                Err(_) => return Err(PublishError::Unavailable(format!("no response within {DEADLINE:?}"))),
            }
        }
        Ok(())
    }

    async fn put(&self, keys: &[Key], body: &Bytes) -> Result<(), StoreError> {
        match self.put_on(self.message_lease().await?, keys, body).await {
            // The lease expired, or the history of a restored store does not contain it. Nothing was put.
            Err(StoreError::LeaseNotFound) => {
                self.lock_message_lease().take();
                self.put_on(self.message_lease().await?, keys, body).await
            }
            result => result,
        }
    }

    async fn put_on(&self, lease: Option<LeaseId>, keys: &[Key], body: &Bytes) -> Result<(), StoreError> {
        let put = |key: &Key| Op::Put { key: key.clone(), value: body.clone(), lease };
        let writes = keys.iter().map(|key| Write { guards: Vec::new(), ops: vec![put(key)] });
        self.store.commit(writes.collect()).await.map(drop)
    }

    /// Returns the lease for a message of now, which is granted for the retention and used for half of it; `None` if
    /// messages stay for ever.
    async fn message_lease(&self) -> Result<Option<LeaseId>, StoreError> {
        let Some(retention) = self.retention else { return Ok(None) };
        let current = self.lock_message_lease().filter(|lease| lease.granted.elapsed() < retention / 2);
        if let Some(lease) = current {
            return Ok(Some(lease.id));
        }
        // Two publishers at the same time grant one lease each; the one that is not stored expires all the same.
        let id = self.store.grant(retention).await?;
        *self.lock_message_lease() = Some(MessageLease { id, granted: Instant::now() });
        Ok(Some(id))
    }

    fn lock_message_lease(&self) -> MutexGuard<'_, Option<MessageLease>> {
        self.message_lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
