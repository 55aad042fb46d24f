//! This node's members of queues, as the store has them: one key for each queue, on a lease of this node.
//!
//! ```text
//! ROOT/%queues/TOPIC/QUEUE/NODE = how many
//! ```
//! One task compares who is here with what the feed says of us, and writes the difference, so that whatever takes a
//! key away (a lease that ran out, a restore, somebody's hand) is one case. A membership counts once the feed has told
//! it, on this node as on all others.
//!
//! Owns: those keys, their lease, and leaving before a stop. Does not own: what follows from a membership
//! ([`super::members`]).

use super::{DEADLINE, RETRY, Topics};
use skyhound_base::Backoff;
use skyhound_model::Key;
use skyhound_store::{COMMIT_MAX, LeaseId, Op, RENEWALS_PER_TTL, Revision, StoreError, Write};
use std::pin::pin;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

/// Where memberships are, below the root.
pub(super) const MEMBERS: &str = "/%queues/";

/// Keeps the memberships in the store as they are here, as long as anybody has the topics.
pub(super) async fn maintain(topics: Weak<Topics>, changed: Arc<Notify>, ttl: Duration) {
    let every = ttl / RENEWALS_PER_TTL;
    let [min, max] = RETRY;
    let (mut due, mut backoff) = (Instant::now() + every, Backoff::new(min, max.min(every)));
    while let Some(strong) = topics.upgrade() {
        let synced = strong.sync(&mut due, every).await;
        let before =
            std::mem::replace(&mut strong.lock().membership_error, synced.as_ref().err().map(ToString::to_string));
        drop(strong);
        match synced {
            Ok(()) => {
                if before.is_some() {
                    info!("members of queues are written again");
                }
                backoff.reset();
                tokio::select! {
                    () = changed.notified() => {}
                    () = sleep_until(due) => {}
                }
            }
            Err(error) => {
                if before.is_none() {
                    warn!(%error, "members of queues cannot be written for now");
                } else {
                    debug!(%error, "members of queues still cannot be written");
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

impl Topics {
    /// Has this node's members leave all queues, and waits until what was theirs is on its way to them. Nobody can
    /// become one any more. Bound it: the store may be away, and a member may not read.
    pub async fn leave_queues(&self) {
        self.lock().leaving = true;
        self.changed.notify_one();
        // The sender lives as long as `self`.
        let _ = self.position.subscribe().wait_for(|_| self.lock().members.own().is_empty()).await;
        loop {
            let mut dequeued = pin!(self.dequeued.notified());
            // From here on none is missed.
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
            debug!(%lease, %error, "the lease of members is left to run out");
        }
    }

    /// Keeps the lease when that is due, and writes until nothing differs.
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
            // Only then can be seen what else differs. If the feed is away for so long, it is written once more.
            let _ = timeout(every, self.position.subscribe().wait_for(|delivered| *delivered >= Some(written))).await;
        }
        Ok(())
    }

    async fn renew_lease(&self) -> Result<(), StoreError> {
        let lease = *self.lease();
        if let Some(lease) = lease
            && self.store.renew(&[lease]).await? != [true]
        {
            // The feed tells what went with it.
            warn!(%lease, "the lease of members of queues ran out; they are written again");
            self.lease().take_if(|now| *now == lease);
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
        for part in differences.chunks(COMMIT_MAX) {
            let writes = part.iter().map(|(queue, count)| self.membership(queue, *count, lease)).collect();
            written = match timeout(DEADLINE, self.store.commit(writes)).await {
                Ok(Ok(commit)) => commit.revision,
                Ok(Err(error)) => {
                    if matches!(error, StoreError::LeaseNotFound) {
                        self.lease().take_if(|now| Some(*now) == lease);
                    }
                    return Err(error);
                }
                Err(_) => return Err(StoreError::Unreachable(format!("not within {DEADLINE:?}"))),
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

    fn lease(&self) -> std::sync::MutexGuard<'_, Option<LeaseId>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
