//! What one peer registered: for each id what it wants, and the claim that follows.
//!
//! A row says what is wanted and waits for nothing; one job for each id brings the claim there, so that a thousand
//! services of a peer hub go into a few group commits, and ten rows about one id into one write. The protocol has no
//! answer to a register row: what the store cannot take now is tried again for as long as it is wanted.
//!
//! Owns: claims, and what must not be told to the peer because it said it itself. Does not own: rows ([`super::peer`]).

use super::hub::{Holder, Hub};
use super::meta;
use super::reconcile::reconcile;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use skyhound_core::catalog::StoredEntry;
use skyhound_core::registry::{Claim, RegisterError};
use skyhound_model::{Instance, RemovalReason};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// The most services of one peer. A hub that peers with this one has all of its own behind one connection.
pub(super) const SERVICES_MAX: usize = 8192;
/// Jobs under way at a time; with more the peer is not read. Half a group commit.
const JOBS_MAX: usize = 64;
/// The pause before the store is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a peer holds what it said of another's service: then that other one has taken it up, if it is there.
const PROVISIONAL_TTL: Duration = Duration::from_secs(5);
/// The pause before something that a job is busy with is looked at again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long jobs under way may take when the daemon stops.
const LAST_JOBS_TIMEOUT: Duration = Duration::from_secs(2);

/// The services of a peer.
#[derive(Debug)]
pub(super) struct PeerServices {
    hub: Arc<Hub>,
    peer: Arc<Notify>,
    held: HashMap<String, HeldService>,
    jobs: FuturesUnordered<BoxFuture<'static, Reconciled>>,
    /// Ids that this peer freed: it is not told what it did itself, up to the end of it.
    suppressed: HashSet<String>,
    /// When something is due, or earlier.
    due: Option<Instant>,
}

/// One of them.
#[derive(Debug)]
struct HeldService {
    /// `None`: it is to go.
    desired: Option<Instance>,
    /// A job has it while there is one.
    claim: Option<Claim>,
    busy: bool,
    holder: Arc<Holder>,
    retry: Option<Instant>,
    /// It is another's: until when this peer's word is held, and how it was written.
    provisional: Option<(Instant, Option<Arc<StoredEntry>>)>,
    /// The catalog has told its end.
    removed: bool,
}

/// What a job came to.
#[derive(Debug)]
pub(super) struct Reconciled {
    id: String,
    claim: Option<Claim>,
    result: Result<(), RegisterError>,
}

impl PeerServices {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let (peer, jobs) = (Arc::default(), FuturesUnordered::new());
        Self { hub, peer, held: HashMap::new(), jobs, suppressed: HashSet::new(), due: None }
    }

    /// Whether no more should be read from the peer for now.
    pub(super) fn are_busy(&self) -> bool {
        self.jobs.len() >= JOBS_MAX
    }

    pub(super) fn are_full(&self) -> bool {
        self.held.len() >= SERVICES_MAX
    }

    /// Whether an id is this peer's own.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.held.contains_key(id)
    }

    /// It wants this; as a guest for what is another's.
    pub(super) fn register(&mut self, id: &str, desired: Instance, provisional: bool) {
        self.suppressed.remove(id);
        if let Some(held) = self.held.get_mut(id) {
            held.desired = Some(desired);
        } else {
            let provisional = provisional.then(|| (Instant::now() + PROVISIONAL_TTL, None));
            if let Some((until, _)) = &provisional {
                self.due_at(*until);
            }
            let holder = self.hub.add_holder(id, &self.peer);
            let held = HeldService {
                desired: Some(desired),
                claim: None,
                busy: false,
                holder,
                retry: None,
                provisional,
                removed: false,
            };
            self.held.insert(id.to_owned(), held);
        }
        self.start(id);
    }

    /// It is to go. `false` when it is not this peer's.
    pub(super) fn free(&mut self, id: &str) -> bool {
        let Some(held) = self.held.get_mut(id) else { return false };
        held.desired = None;
        self.start(id);
        true
    }

    /// The peer has freed another's service: it need not hear of the end.
    pub(super) fn suppress_removal(&mut self, id: &str) {
        if self.suppressed.len() < SERVICES_MAX {
            self.suppressed.insert(id.to_owned());
        }
    }

    /// Brings a claim closer to what is wanted, unless a job does so already.
    fn start(&mut self, id: &str) {
        let Some(held) = self.held.get_mut(id) else { return };
        if held.busy {
            return;
        }
        (held.busy, held.retry) = (true, None);
        let (hub, id) = (Arc::clone(&self.hub), id.to_owned());
        let (claim, desired) = (held.claim.take(), held.desired.clone());
        self.jobs.push(Box::pin(async move {
            let (claim, result) = reconcile(&hub, claim, desired).await;
            Reconciled { id, claim, result }
        }));
    }

    /// The next job that is done; for ever when there is none. Safe to cancel.
    pub(super) async fn next_reconciled(&mut self) -> Reconciled {
        match self.jobs.next().await {
            Some(reconciled) => reconciled,
            None => std::future::pending().await,
        }
    }

    /// Takes a job's end in. Returns what the peer should hear of it.
    pub(super) fn on_reconciled(&mut self, reconciled: Reconciled) -> Option<(String, String)> {
        let Reconciled { id, claim, result } = reconciled;
        let held = self.held.get_mut(&id)?;
        (held.busy, held.claim) = (false, claim);
        if let (Some(claim), Some(provisional)) = (&held.claim, &mut held.provisional) {
            provisional.1 = self.hub.app.catalog.snapshot().entry(&claim.instance().key).cloned();
        }
        let reached = held.claim.as_ref().map(Claim::instance) == held.desired.as_ref();
        match result {
            Ok(()) if reached && held.desired.is_none() => {
                let end_received = held.removed;
                self.forget(&id);
                if !end_received {
                    self.suppress_removal(&id);
                }
                None
            }
            Ok(()) if reached => None,
            // Wanted otherwise since.
            Ok(()) => {
                self.start(&id);
                None
            }
            Err(RegisterError::Rejected(sentence)) => {
                self.forget(&id);
                Some((id, sentence))
            }
            // Given up by the peer before it came about.
            Err(_) if held.desired.is_none() && held.claim.is_none() => {
                self.forget(&id);
                None
            }
            Err(error) => {
                let at = Instant::now() + RETRY;
                held.retry = Some(at);
                self.due_at(at);
                Some((id, format!("{error}; it is tried again")))
            }
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(held) = self.held.remove(id) {
            self.hub.remove_holder(id, &held.holder);
        }
    }

    /// Waits until somebody else has freed something.
    pub(super) fn freed(&self) -> impl Future<Output = ()> + use<> {
        let peer = Arc::clone(&self.peer);
        async move { peer.notified().await }
    }

    /// Gives up what somebody else has freed. Returns the ids.
    pub(super) fn give_up_freed(&mut self) -> Vec<String> {
        let freed = self.held.iter().filter(|(_, held)| held.desired.is_some() && held.holder.is_freed());
        let freed: Vec<_> = freed.map(|(id, _)| id.clone()).collect();
        for id in &freed {
            self.free(id);
        }
        freed
    }

    /// When [`Self::tick`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn due_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Does what is due: tries again, and lets go of what another has taken up.
    pub(super) fn tick(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let again: Vec<_> = self.held.iter().filter(|(_, held)| due(held.retry)).map(|(id, _)| id.clone()).collect();
        for id in again {
            self.start(&id);
        }
        let expired =
            self.held.iter().filter(|(_, held)| !held.busy && due(held.provisional.as_ref().map(|(until, _)| *until)));
        let expired: Vec<_> = expired.map(|(id, _)| id.clone()).collect();
        for id in expired {
            if self.is_taken_over(&id) {
                let claim = self.held.get_mut(&id).and_then(|held| held.claim.take());
                self.forget(&id);
                // Not a removal: the other one's word stands there.
                drop(claim);
            } else if let Some(held) = self.held.get_mut(&id) {
                // Nobody else is there: it is this peer's now.
                held.provisional = None;
            }
        }
        let waiting =
            self.held.values().filter_map(|held| held.retry.or(held.provisional.as_ref().map(|(until, _)| *until)));
        self.due = waiting.min().map(|at| at.max(now + BUSY_PAUSE));
    }

    /// Whether somebody else holds an id that this peer described.
    fn is_taken_over(&self, id: &str) -> bool {
        let Some(HeldService { claim: Some(claim), provisional: Some((_, written)), .. }) = self.held.get(id) else {
            return false;
        };
        let snapshot = self.hub.app.catalog.snapshot();
        let now = snapshot.entry(&claim.instance().key).map(|stored| stored.lease);
        // On another lease: another node has written it since.
        self.hub.holders(id) > 1 || now != written.as_ref().map(|stored| stored.lease)
    }

    /// The catalog says that an entry was put. Returns whether the peer is to hear it, and as its own.
    pub(super) fn on_put(&mut self, id: &str) -> PutDelivery {
        if self.suppressed.contains(id) {
            return PutDelivery::Skip;
        }
        let Some(held) = self.held.get_mut(id) else { return PutDelivery::AsForeign };
        let (Some(claim), Some(desired), false) = (&held.claim, &held.desired, held.busy) else {
            return PutDelivery::Skip;
        };
        // Not what the event says: that may be older than what this peer said last.
        let snapshot = self.hub.app.catalog.snapshot();
        let Some(stored) = snapshot.entry(&claim.instance().key) else { return PutDelivery::Skip };
        if held.provisional.is_some() || stored.entry == desired.entry || meta::registered_id(stored) != Some(id) {
            return PutDelivery::Skip;
        }
        let stored = Arc::clone(stored);
        held.desired = Some(Instance { entry: stored.entry.clone(), ..desired.clone() });
        self.start(id);
        PutDelivery::AsOwn(stored)
    }

    /// The catalog says that an entry is gone. Returns whether the peer is to hear it.
    pub(super) fn on_removed(&mut self, id: &str) -> bool {
        if self.suppressed.remove(id) {
            return false;
        }
        let Some(held) = self.held.get_mut(id) else { return true };
        let Some(desired) = &held.desired else {
            held.removed = true;
            return false;
        };
        let snapshot = self.hub.app.catalog.snapshot();
        let freed_elsewhere = snapshot.entry(&desired.key).is_some_and(|stored| super::hub::is_freed_marker(stored));
        if freed_elsewhere {
            held.removed = true;
            self.free(id);
        }
        // Otherwise it vanished under a living claim, and comes back.
        freed_elsewhere
    }

    /// The end of the connection.
    pub(super) async fn release_all(mut self, reason: RemovalReason) -> usize {
        if self.held.values().any(|held| held.busy && held.provisional.is_some()) {
            self.finish_jobs().await;
        }
        // Registrations under way are given up with their jobs.
        self.jobs.clear();
        let mut own = Vec::new();
        for (id, mut held) in self.held.drain() {
            self.hub.remove_holder(&id, &held.holder);
            match (held.claim.take(), held.provisional) {
                (Some(claim), None) => own.push(claim),
                // Whose it is may not have taken it up yet.
                (Some(claim), Some((until, _))) => drop(tokio::spawn(async move {
                    sleep_until(until).await;
                    drop(claim);
                })),
                (None, _) => {}
            }
        }
        let count = own.len();
        let releases: FuturesUnordered<_> = own.into_iter().map(|claim| claim.release(reason)).collect();
        // Past their deadline the registry goes on with them alone.
        releases.for_each(|_| async {}).await;
        count
    }

    /// The end of the connection because the daemon stops: entries stay for their lease.
    pub(super) async fn leave(mut self) -> usize {
        self.finish_jobs().await;
        let claims: Vec<_> = self.held.values_mut().filter_map(|held| held.claim.take()).collect();
        let count = claims.len();
        claims.into_iter().for_each(Claim::leave_to_lease);
        count
    }

    async fn finish_jobs(&mut self) {
        let last = async {
            while let Some(reconciled) = self.jobs.next().await {
                if let Some(held) = self.held.get_mut(&reconciled.id) {
                    held.claim = reconciled.claim;
                }
            }
        };
        let _ = timeout(LAST_JOBS_TIMEOUT, last).await;
    }
}

/// How a peer is told of an entry.
#[derive(Debug)]
pub(super) enum PutDelivery {
    /// Not at all: it said so itself.
    Skip,
    /// As somebody else's.
    AsForeign,
    /// As its own, which somebody else described anew: like this.
    AsOwn(Arc<StoredEntry>),
}
