//! What one peer registered: for each id what it wants, and the claim that follows.
//!
//! A row says what is wanted and waits for nothing; one job for each id brings the claim there, so that a thousand
//! services of a peer hub go into a few group commits, and ten rows about one id into one write. The protocol has no
//! answer to a register row: what the store cannot take now is tried again for as long as it is wanted.
//!
//! Owns: claims, and what must not be told to the peer because it said it itself. Does not own: rows ([`super::peer`]).

use super::hub::{Holder, Hub};
use super::job::settle;
use super::meta;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use skyhound_core::catalog::Stored;
use skyhound_core::registry::{Claim, RegisterError};
use skyhound_model::{Departure, Instance};
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
const GUEST: Duration = Duration::from_secs(5);
/// The pause before something that a job is busy with is looked at again.
const BUSY: Duration = Duration::from_millis(100);
/// How long jobs under way may take when the daemon stops.
const LAST_JOBS: Duration = Duration::from_secs(2);

/// The services of a peer.
#[derive(Debug)]
pub(super) struct Services {
    hub: Arc<Hub>,
    peer: Arc<Notify>,
    mine: HashMap<String, Mine>,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Ids that this peer freed: it is not told what it did itself, up to the end of it.
    quiet: HashSet<String>,
    /// When something is due, or earlier.
    due: Option<Instant>,
}

/// One of them.
#[derive(Debug)]
struct Mine {
    /// `None`: it is to go.
    want: Option<Instance>,
    /// A job has it while there is one.
    claim: Option<Claim>,
    busy: bool,
    holder: Arc<Holder>,
    retry: Option<Instant>,
    /// It is another's: until when this peer's word is held, and how it was written.
    guest: Option<(Instant, Option<Arc<Stored>>)>,
    /// The catalog has told its end.
    gone: bool,
}

/// What a job came to.
#[derive(Debug)]
pub(super) struct Done {
    id: String,
    claim: Option<Claim>,
    result: Result<(), RegisterError>,
}

impl Services {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let (peer, jobs) = (Arc::default(), FuturesUnordered::new());
        Self { hub, peer, mine: HashMap::new(), jobs, quiet: HashSet::new(), due: None }
    }

    /// Whether no more should be read from the peer for now.
    pub(super) fn are_busy(&self) -> bool {
        self.jobs.len() >= JOBS_MAX
    }

    pub(super) fn are_full(&self) -> bool {
        self.mine.len() >= SERVICES_MAX
    }

    /// Whether an id is this peer's own.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.mine.contains_key(id)
    }

    /// It wants this; as a guest for what is another's.
    pub(super) fn register(&mut self, id: &str, want: Instance, guest: bool) {
        self.quiet.remove(id);
        if let Some(mine) = self.mine.get_mut(id) {
            mine.want = Some(want);
        } else {
            let guest = guest.then(|| (Instant::now() + GUEST, None));
            if let Some((until, _)) = &guest {
                self.due_at(*until);
            }
            let holder = self.hub.hold(id, &self.peer);
            let mine = Mine { want: Some(want), claim: None, busy: false, holder, retry: None, guest, gone: false };
            self.mine.insert(id.to_owned(), mine);
        }
        self.start(id);
    }

    /// It is to go. `false` when it is not this peer's.
    pub(super) fn free(&mut self, id: &str) -> bool {
        let Some(mine) = self.mine.get_mut(id) else { return false };
        mine.want = None;
        self.start(id);
        true
    }

    /// The peer has freed another's service: it need not hear of the end.
    pub(super) fn freed_by_peer(&mut self, id: &str) {
        if self.quiet.len() < SERVICES_MAX {
            self.quiet.insert(id.to_owned());
        }
    }

    /// Brings a claim closer to what is wanted, unless a job does so already.
    fn start(&mut self, id: &str) {
        let Some(mine) = self.mine.get_mut(id) else { return };
        if mine.busy {
            return;
        }
        (mine.busy, mine.retry) = (true, None);
        let (hub, id) = (Arc::clone(&self.hub), id.to_owned());
        let (claim, want) = (mine.claim.take(), mine.want.clone());
        self.jobs.push(Box::pin(async move {
            let (claim, result) = settle(&hub, claim, want).await;
            Done { id, claim, result }
        }));
    }

    /// The next job that is done; for ever when there is none. Safe to cancel.
    pub(super) async fn done(&mut self) -> Done {
        match self.jobs.next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Takes a job's end in. Returns what the peer should hear of it.
    pub(super) fn settled(&mut self, done: Done) -> Option<(String, String)> {
        let Done { id, claim, result } = done;
        let mine = self.mine.get_mut(&id)?;
        (mine.busy, mine.claim) = (false, claim);
        if let (Some(claim), Some(guest)) = (&mine.claim, &mut mine.guest) {
            guest.1 = self.hub.app.catalog.snapshot().entry(&claim.instance().key).cloned();
        }
        let there = mine.claim.as_ref().map(Claim::instance) == mine.want.as_ref();
        match result {
            Ok(()) if there && mine.want.is_none() => {
                let told = mine.gone;
                self.forget(&id);
                if !told {
                    self.freed_by_peer(&id);
                }
                None
            }
            Ok(()) if there => None,
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
            Err(_) if mine.want.is_none() && mine.claim.is_none() => {
                self.forget(&id);
                None
            }
            Err(error) => {
                let at = Instant::now() + RETRY;
                mine.retry = Some(at);
                self.due_at(at);
                Some((id, format!("{error}; it is tried again")))
            }
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(mine) = self.mine.remove(id) {
            self.hub.let_go(id, &mine.holder);
        }
    }

    /// Waits until somebody else has freed something.
    pub(super) fn freed(&self) -> impl Future<Output = ()> + use<> {
        let peer = Arc::clone(&self.peer);
        async move { peer.notified().await }
    }

    /// Gives up what somebody else has freed. Returns the ids.
    pub(super) fn give_up_freed(&mut self) -> Vec<String> {
        let freed = self.mine.iter().filter(|(_, mine)| mine.want.is_some() && mine.holder.is_freed());
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
        let again: Vec<_> = self.mine.iter().filter(|(_, mine)| due(mine.retry)).map(|(id, _)| id.clone()).collect();
        for id in again {
            self.start(&id);
        }
        let over = self.mine.iter().filter(|(_, mine)| !mine.busy && due(mine.guest.as_ref().map(|(until, _)| *until)));
        let over: Vec<_> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            if self.is_taken_up(&id) {
                let claim = self.mine.get_mut(&id).and_then(|mine| mine.claim.take());
                self.forget(&id);
                // Not a removal: the other one's word stands there.
                drop(claim);
            } else if let Some(mine) = self.mine.get_mut(&id) {
                // Nobody else is there: it is this peer's now.
                mine.guest = None;
            }
        }
        let waiting = self.mine.values().filter_map(|mine| mine.retry.or(mine.guest.as_ref().map(|(until, _)| *until)));
        self.due = waiting.min().map(|at| at.max(now + BUSY));
    }

    /// Whether somebody else holds an id that this peer described.
    fn is_taken_up(&self, id: &str) -> bool {
        let Some(Mine { claim: Some(claim), guest: Some((_, written)), .. }) = self.mine.get(id) else { return false };
        let snapshot = self.hub.app.catalog.snapshot();
        let now = snapshot.entry(&claim.instance().key).map(|stored| stored.lease);
        // On another lease: another node has written it since.
        self.hub.holders(id) > 1 || now != written.as_ref().map(|stored| stored.lease)
    }

    /// The catalog says that an entry was put. Returns whether the peer is to hear it, and as its own.
    pub(super) fn put(&mut self, id: &str) -> Told {
        if self.quiet.contains(id) {
            return Told::Nothing;
        }
        let Some(mine) = self.mine.get_mut(id) else { return Told::AsAnothers };
        let (Some(claim), Some(want), false) = (&mine.claim, &mine.want, mine.busy) else { return Told::Nothing };
        // Not what the event says: that may be older than what this peer said last.
        let snapshot = self.hub.app.catalog.snapshot();
        let Some(stored) = snapshot.entry(&claim.instance().key) else { return Told::Nothing };
        if mine.guest.is_some() || stored.entry == want.entry || meta::registered_id(stored) != Some(id) {
            return Told::Nothing;
        }
        let stored = Arc::clone(stored);
        mine.want = Some(Instance { entry: stored.entry.clone(), ..want.clone() });
        self.start(id);
        Told::AsItsOwn(stored)
    }

    /// The catalog says that an entry is gone. Returns whether the peer is to hear it.
    pub(super) fn gone(&mut self, id: &str) -> bool {
        if self.quiet.remove(id) {
            return false;
        }
        let Some(mine) = self.mine.get_mut(id) else { return true };
        let Some(want) = &mine.want else {
            mine.gone = true;
            return false;
        };
        let snapshot = self.hub.app.catalog.snapshot();
        let buried = snapshot.entry(&want.key).is_some_and(|stored| super::hub::is_buried(stored));
        if buried {
            mine.gone = true;
            self.free(id);
        }
        // Otherwise it vanished under a living claim, and comes back.
        buried
    }

    /// The end of the connection.
    pub(super) async fn end(mut self, why: Departure) -> usize {
        if self.mine.values().any(|mine| mine.busy && mine.guest.is_some()) {
            self.finish_jobs().await;
        }
        // Registrations under way are given up with their jobs.
        self.jobs.clear();
        let mut own = Vec::new();
        for (id, mut mine) in self.mine.drain() {
            self.hub.let_go(&id, &mine.holder);
            match (mine.claim.take(), mine.guest) {
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
        let releases: FuturesUnordered<_> = own.into_iter().map(|claim| claim.release(why)).collect();
        // Past their deadline the registry goes on with them alone.
        releases.for_each(|_| async {}).await;
        count
    }

    /// The end of the connection because the daemon stops: entries stay for their lease.
    pub(super) async fn leave(mut self) -> usize {
        self.finish_jobs().await;
        let claims: Vec<_> = self.mine.values_mut().filter_map(|mine| mine.claim.take()).collect();
        let count = claims.len();
        claims.into_iter().for_each(Claim::leave);
        count
    }

    async fn finish_jobs(&mut self) {
        let last = async {
            while let Some(done) = self.jobs.next().await {
                if let Some(mine) = self.mine.get_mut(&done.id) {
                    mine.claim = done.claim;
                }
            }
        };
        let _ = timeout(LAST_JOBS, last).await;
    }
}

/// How a peer is told of an entry.
#[derive(Debug)]
pub(super) enum Told {
    /// Not at all: it said so itself.
    Nothing,
    /// As somebody else's.
    AsAnothers,
    /// As its own, which somebody else described anew: like this.
    AsItsOwn(Arc<Stored>),
}
