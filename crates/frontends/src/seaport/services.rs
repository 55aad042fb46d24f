//! The services of one peer: for each id the desired registration, and the claim that follows it.
//!
//! A row sets the desired registration and waits for nothing; one job per id reconciles the claim with it, so that a
//! thousand services of a peer hub go into a few group commits, and ten rows about one id into one write. The protocol
//! has no answer to a `register` row: a registration that fails for now is retried for as long as it is desired.
//!
//! Owns: the claims, and the suppression of changes that the peer made itself. Does not own: rows ([`super::peer`]).

use super::hub::{Holder, SeaportHub};
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

/// The limit for services of one peer. A hub that peers with this one has all its services behind one connection.
pub(super) const SERVICES_MAX: usize = 8192;
/// The number of concurrent jobs at which the peer is not read any more. Half a group commit.
const JOBS_MAX: usize = 64;
/// The pause before a failed registration is retried.
const RETRY: Duration = Duration::from_secs(1);
/// The time for which a peer holds its update of another peer's service: long enough for that peer to adopt it.
const PROVISIONAL_TTL: Duration = Duration::from_secs(5);
/// The pause before a due service with a running job is examined again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// The time limit for running jobs when the daemon stops.
const LAST_JOBS_TIMEOUT: Duration = Duration::from_secs(2);

/// The services of a peer.
#[derive(Debug)]
pub(super) struct PeerServices {
    hub: Arc<SeaportHub>,
    peer: Arc<Notify>,
    held: HashMap<String, HeldService>,
    jobs: FuturesUnordered<BoxFuture<'static, Reconciled>>,
    /// Ids that this peer freed and whose removal it does not receive.
    suppressed: HashSet<String>,
    /// The time of the next due retry or provisional end, or an earlier time.
    due: Option<Instant>,
}

/// One service of a peer.
#[derive(Debug)]
struct HeldService {
    /// `None`: the service is to be removed.
    desired: Option<Instance>,
    /// The claim; a running job owns it.
    claim: Option<Claim>,
    busy: bool,
    holder: Arc<Holder>,
    retry: Option<Instant>,
    /// The service is another peer's.
    provisional: Option<Provisional>,
    /// The catalog has published the removal.
    removed: bool,
}

/// A peer's update of another peer's service, held until that peer adopts it.
#[derive(Debug)]
struct Provisional {
    until: Instant,
    /// The entry that the claim wrote.
    stored: Option<Arc<StoredEntry>>,
}

/// The outcome of a job.
#[derive(Debug)]
pub(super) struct Reconciled {
    id: String,
    claim: Option<Claim>,
    result: Result<(), RegisterError>,
}

impl PeerServices {
    pub(super) fn new(hub: Arc<SeaportHub>) -> Self {
        let (peer, jobs) = (Arc::default(), FuturesUnordered::new());
        Self { hub, peer, held: HashMap::new(), jobs, suppressed: HashSet::new(), due: None }
    }

    /// Reports that the peer should not be read for now.
    pub(super) fn are_busy(&self) -> bool {
        self.jobs.len() >= JOBS_MAX
    }

    /// Reports that the peer has as many services as the limit allows.
    pub(super) fn are_full(&self) -> bool {
        self.held.len() >= SERVICES_MAX
    }

    /// Reports that this peer holds an id.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.held.contains_key(id)
    }

    /// Sets the desired registration of an id; provisionally for another peer's service.
    pub(super) fn register(&mut self, id: &str, desired: Instance, provisional: bool) {
        self.suppressed.remove(id);
        if let Some(held) = self.held.get_mut(id) {
            held.desired = Some(desired);
        } else {
            let provisional =
                provisional.then(|| Provisional { until: Instant::now() + PROVISIONAL_TTL, stored: None });
            if let Some(provisional) = &provisional {
                self.schedule(provisional.until);
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

    /// Removes the service of an id. `false` when this peer does not hold the id.
    pub(super) fn free(&mut self, id: &str) -> bool {
        let Some(held) = self.held.get_mut(id) else { return false };
        held.desired = None;
        self.start(id);
        true
    }

    /// Suppresses the removal of another peer's service that this peer freed.
    pub(super) fn suppress_removal(&mut self, id: &str) {
        if self.suppressed.len() < SERVICES_MAX {
            self.suppressed.insert(id.to_owned());
        }
    }

    /// Starts a job that reconciles a claim, unless one is running already.
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

    /// Waits for the end of the next job; for ever when there is none. Safe to cancel.
    pub(super) async fn next_reconciled(&mut self) -> Reconciled {
        match self.jobs.next().await {
            Some(reconciled) => reconciled,
            None => std::future::pending().await,
        }
    }

    /// Processes the end of a job. Returns an error for the peer: the id, and a sentence.
    pub(super) fn on_reconciled(&mut self, reconciled: Reconciled) -> Option<(String, String)> {
        let Reconciled { id, claim, result } = reconciled;
        let held = self.held.get_mut(&id)?;
        (held.busy, held.claim) = (false, claim);
        if let (Some(claim), Some(provisional)) = (&held.claim, &mut held.provisional) {
            provisional.stored = self.hub.app.catalog.snapshot().entry(&claim.instance().key).cloned();
        }
        match result {
            Ok(()) => {
                self.on_success(&id);
                None
            }
            Err(RegisterError::Rejected(sentence)) => {
                self.forget(&id);
                Some((id, sentence))
            }
            // The peer freed the service before it was registered.
            Err(_) if held.desired.is_none() && held.claim.is_none() => {
                self.forget(&id);
                None
            }
            Err(error) => {
                let at = Instant::now() + RETRY;
                held.retry = Some(at);
                self.schedule(at);
                Some((id, format!("{error}; retrying")))
            }
        }
    }

    fn on_success(&mut self, id: &str) {
        let Some(held) = self.held.get(id) else { return };
        let reached = held.claim.as_ref().map(Claim::instance) == held.desired.as_ref();
        if !reached {
            // The desired registration has changed since the job started.
            self.start(id);
        } else if held.desired.is_none() {
            let removal_received = held.removed;
            self.forget(id);
            if !removal_received {
                self.suppress_removal(id);
            }
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(held) = self.held.remove(id) {
            self.hub.remove_holder(id, &held.holder);
        }
    }

    /// Waits until another peer frees a service of this one.
    pub(super) fn freed(&self) -> impl Future<Output = ()> + use<> {
        let peer = Arc::clone(&self.peer);
        async move { peer.notified().await }
    }

    /// Gives up the services that other peers freed. Returns the ids.
    pub(super) fn give_up_freed(&mut self) -> Vec<String> {
        let freed = self.held.iter().filter(|(_, held)| held.desired.is_some() && held.holder.is_freed());
        let freed: Vec<_> = freed.map(|(id, _)| id.clone()).collect();
        for id in &freed {
            self.free(id);
        }
        freed
    }

    /// The time of the next [`Self::tick`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn schedule(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Processes due services: retries registrations, and ends provisional ones.
    pub(super) fn tick(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let retries: Vec<_> = self.held.iter().filter(|(_, held)| due(held.retry)).map(|(id, _)| id.clone()).collect();
        for id in retries {
            self.start(&id);
        }
        let expired = self
            .held
            .iter()
            .filter(|(_, held)| !held.busy && due(held.provisional.as_ref().map(|provisional| provisional.until)));
        let expired: Vec<_> = expired.map(|(id, _)| id.clone()).collect();
        for id in expired {
            if self.is_taken_over(&id) {
                let claim = self.held.get_mut(&id).and_then(|held| held.claim.take());
                self.forget(&id);
                // Not a removal: the entry is the other holder's now.
                drop(claim);
            } else if let Some(held) = self.held.get_mut(&id) {
                // No other peer holds the id: the service is this peer's now.
                held.provisional = None;
            }
        }
        let waiting = self
            .held
            .values()
            .filter_map(|held| held.retry.or(held.provisional.as_ref().map(|provisional| provisional.until)));
        self.due = waiting.min().map(|at| at.max(now + BUSY_PAUSE));
    }

    /// Reports that another peer has adopted this peer's provisional registration.
    fn is_taken_over(&self, id: &str) -> bool {
        let Some(HeldService { claim: Some(claim), provisional: Some(Provisional { stored, .. }), .. }) =
            self.held.get(id)
        else {
            return false;
        };
        let snapshot = self.hub.app.catalog.snapshot();
        let current_lease = snapshot.entry(&claim.instance().key).map(|stored| stored.lease);
        // Another lease means that another node has written the entry since.
        self.hub.holders(id) > 1 || current_lease != stored.as_ref().map(|stored| stored.lease)
    }

    /// Processes the catalog's event of a put entry. Returns how it is delivered to the peer.
    pub(super) fn on_put(&mut self, id: &str) -> PutDelivery {
        if self.suppressed.contains(id) {
            return PutDelivery::Skip;
        }
        let Some(held) = self.held.get_mut(id) else { return PutDelivery::AsOther };
        let (Some(claim), Some(desired), false) = (&held.claim, &held.desired, held.busy) else {
            return PutDelivery::Skip;
        };
        // The snapshot's entry instead of the event's, which may be older than the peer's last row.
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

    /// Processes the catalog's event of a removed entry. Returns whether it is delivered to the peer.
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
        // Otherwise the entry vanished under an active claim, which writes it again.
        freed_elsewhere
    }

    /// Releases all claims at the end of the connection. Returns their number.
    pub(super) async fn release_all(mut self, reason: RemovalReason) -> usize {
        if self.held.values().any(|held| held.busy && held.provisional.is_some()) {
            self.finish_jobs().await;
        }
        // Running registrations are abandoned with their jobs.
        self.jobs.clear();
        let mut claims = Vec::new();
        for (id, mut held) in self.held.drain() {
            self.hub.remove_holder(&id, &held.holder);
            match (held.claim.take(), held.provisional) {
                (Some(claim), None) => claims.push(claim),
                // The service's owner may not have adopted the update yet.
                (Some(claim), Some(Provisional { until, .. })) => drop(tokio::spawn(async move {
                    sleep_until(until).await;
                    drop(claim);
                })),
                (None, _) => {}
            }
        }
        let count = claims.len();
        let releases: FuturesUnordered<_> = claims.into_iter().map(|claim| claim.release(reason)).collect();
        // After its deadline the registry completes the releases by itself.
        releases.for_each(|_| async {}).await;
        count
    }

    /// Leaves all entries to their lease, when the daemon stops. Returns their number.
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

/// The delivery of a put entry to a peer.
#[derive(Debug)]
pub(super) enum PutDelivery {
    /// None: the peer made the change itself.
    Skip,
    /// As another peer's service.
    AsOther,
    /// As the peer's own service, which another peer updated to this entry.
    AsOwn(Arc<StoredEntry>),
}
