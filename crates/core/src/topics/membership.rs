//! This node's memberships of queue groups in the store: one key for each group, attached to a lease of this node.
//!
//! ```text
//! ROOT/%queues/TOPIC/QUEUE/NODE = number of members
//! ```
//! One task compares the members here with the memberships that the feed delivered, and writes the difference. Every
//! removal of a key (an expired lease, a restore, an operator) is therefore one case. A membership counts once the feed
//! has delivered it, on this node as on all others.
//!
//! Owns: those keys, their lease, and leaving before a shutdown. Does not own: the effect of a membership
//! ([`super::members`]).

use super::{DEADLINE, RETRY, Topics};
use skyhound_base::Backoff;
use skyhound_model::Key;
use skyhound_store::{COMMIT_MAX, LeaseId, Op, RENEWALS_PER_TTL, Revision, StoreError, Write};
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

/// The path of memberships below the root.
pub(super) const MEMBERS: &str = "/%queues/";

/// Maintains the memberships in the store until the topics are dropped.
pub(super) async fn maintain(topics: Weak<Topics>, changed: Arc<Notify>, ttl: Duration) {
    let every = ttl / RENEWALS_PER_TTL;
    let [min, max] = RETRY;
    let (mut due, mut backoff) = (Instant::now() + every, Backoff::new(min, max.min(every)));
    while let Some(strong) = topics.upgrade() {
        let synced = strong.sync(&mut due, every).await;
        let error = synced.as_ref().err().map(ToString::to_string);
        let before = std::mem::replace(&mut strong.lock().membership_error, error);
        drop(strong);
        match synced {
            Ok(()) => {
                if before.is_some() {
                    info!("storing memberships of queue groups again");
                }
                backoff.reset();
                tokio::select! {
                    () = changed.notified() => {}
                    () = sleep_until(due) => {}
                }
            }
            Err(error) => {
                if before.is_none() {
                    warn!(%error, "cannot store memberships of queue groups; new members receive nothing until then");
                } else {
                    debug!(%error, "still cannot store memberships of queue groups");
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

impl Topics {
    /// Removes this node's memberships of all queue groups, and waits until the members have taken the messages that were
    /// chosen for them. No member can join afterwards. Callers need a timeout: the store may be unavailable, and a member
    /// may not read.
    pub async fn leave_queues(&self) {
        self.lock().leaving = true;
        self.changed.notify_one();
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.position.subscribe().wait_for(|_| self.lock().members.stored_here().is_empty()).await;
        loop {
            let mut dequeued = pin!(self.dequeued.notified());
            // No notification after this line is missed.
            dequeued.as_mut().enable();
            if self.lock().queues_are_empty() {
                break;
            }
            dequeued.await;
        }
        let lease = self.lease().take();
        if let Some(lease) = lease
            && let Err(error) = self.store.revoke(lease).await
        {
            debug!(%lease, %error, "cannot revoke the lease of memberships; it expires");
        }
    }

    /// Renews the lease if that is due, and writes until nothing differs.
    async fn sync(&self, due: &mut Instant, every: Duration) -> Result<(), StoreError> {
        if Instant::now() >= *due {
            self.renew_lease().await?;
            *due = Instant::now() + every;
        }
        while Instant::now() < *due {
            let differences = self.lock().differences();
            if differences.is_empty() {
                break;
            }
            let written = self.write(&differences).await?;
            // Further differences are visible only after the feed has delivered this write. If the feed is interrupted
            // for longer, the write is repeated.
            let _ = timeout(every, self.position.subscribe().wait_for(|delivered| *delivered >= Some(written))).await;
        }
        Ok(())
    }

    async fn renew_lease(&self) -> Result<(), StoreError> {
        let lease = *self.lease();
        if let Some(lease) = lease
            && self.store.renew(&[lease]).await? != [true]
        {
            // The feed delivers the removals.
            warn!(%lease, "the lease of memberships of queue groups expired; writing them again");
            self.lease().take_if(|current| *current == lease);
        }
        Ok(())
    }

    async fn write(&self, differences: &[(String, u32)]) -> Result<Revision, StoreError> {
        let mut lease = *self.lease();
        if lease.is_none() && differences.iter().any(|(_, count)| *count > 0) {
            lease = Some(self.store.grant(self.ttl).await?);
            *self.lease() = lease;
        }
        let mut written = Revision(0);
        for chunk in differences.chunks(COMMIT_MAX) {
            let writes = chunk.iter().map(|(queue, count)| self.membership(queue, *count, lease)).collect();
            written = match timeout(DEADLINE, self.store.commit(writes)).await {
                Ok(Ok(commit)) => commit.revision,
                Ok(Err(error)) => {
                    if matches!(error, StoreError::LeaseNotFound) {
                        self.lease().take_if(|current| Some(*current) == lease);
                    }
                    return Err(error);
                }
                Err(_) => return Err(StoreError::Unreachable(format!("no response within {DEADLINE:?}"))),
            };
        }
        Ok(written)
    }

    fn membership(&self, queue: &str, count: u32, lease: Option<LeaseId>) -> Write {
        let key = Key::from(format!("{}{MEMBERS}{queue}/{}", self.root, self.node));
        let op = match count {
            0 => Op::Delete { key },
            _ => Op::Put { key, value: count.to_string().into(), lease },
        };
        Write { guards: Vec::new(), ops: vec![op] }
    }

    fn lease(&self) -> MutexGuard<'_, Option<LeaseId>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
