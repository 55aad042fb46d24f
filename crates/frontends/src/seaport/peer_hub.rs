//! Another hub at the other end: one of ours on a store of its own, or the original's.
//!
//! What its peers register is registered here, by this one connection, with a note of where it came from; what is
//! registered here is told there. Nothing goes round:
//! - **What came from a hub is not told to hubs.** So hubs peer each with each. Only what the clients of an original hub
//!   registered is told to other original hubs: they pass on what they hear, and expect it of others.
//! - What comes back through an original hub is known by its order ([`super::relay`]).
//! - An original hub frees, with a connection, all that it ever said, whoever else says it too. So what it frees of what
//!   is registered here is a wish only where no other connection can have said it: where the store is this daemon's own,
//!   and no connection there was lost a moment ago. Else it is told again. A hub of ours frees what it has from here
//!   only because somebody there said so.
//!
//! Owns: those rules. Does not own: the connection ([`super::dial`]), nor its rows ([`super::rows`]).

use super::meta::ServiceMeta;
use super::relay::RelayOrigin;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long another daemon on the same store may have told an original hub of a service before this one reads it there.
pub(super) const REPLICATION_DELAY: Duration = Duration::from_secs(5);
/// How long an original hub may take to find out that a connection is lost: three heartbeats of 15 s, and some.
pub(super) const LOSS_DETECTION: Duration = Duration::from_secs(60);
/// The most services that wait to be known.
const WAITING_MAX: usize = super::services::SERVICES_MAX;
/// The note for what is not told any further.
const NOT_FORWARDED: &str = "-";

/// A hub at the other end.
#[derive(Debug)]
pub(super) struct PeerHub {
    /// Where an original hub is, as the settings have it; `None` for one of ours.
    original: Option<String>,
    /// The registry's store has other daemons.
    shared: bool,
    /// Until when it may still free what a lost connection said.
    uncertain_until: Option<Instant>,
    deferred: HashMap<String, (Instant, ServiceMeta)>,
    /// When the first has waited for long enough, or earlier.
    due: Option<Instant>,
}

impl PeerHub {
    /// One of ours.
    pub(super) fn ours() -> Self {
        Self { original: None, shared: false, uncertain_until: None, deferred: HashMap::new(), due: None }
    }

    /// The original's, at this address.
    pub(super) fn original(address: &str, shared: bool, uncertain_until: Option<Instant>) -> Self {
        Self { original: Some(address.to_owned()), shared, uncertain_until, deferred: HashMap::new(), due: None }
    }

    /// Whether it is told of a service that came from there.
    pub(super) fn forwards(&self, from: Option<&str>) -> bool {
        let Some(from) = from else { return true };
        self.original.as_deref().is_some_and(|address| from != NOT_FORWARDED && from != address)
    }

    /// What is noted of what it says.
    pub(super) fn source_note(&self, origin: Option<RelayOrigin>) -> &str {
        self.original.as_deref().filter(|_| origin.is_none()).unwrap_or(NOT_FORWARDED)
    }

    /// Whose a service is by its word: `None` for its own. `Err` for what is not to be taken from it at all.
    pub(super) fn accepts(&self, origin: Option<RelayOrigin>) -> Result<Option<RelayOrigin>, ()> {
        match (&self.original, origin) {
            (None, Some(RelayOrigin::Relayed)) => Err(()),
            (None, _) => Ok(None),
            (Some(_), origin) => Ok(origin),
        }
    }

    /// Whether what it frees of what is registered here is a wish.
    pub(super) fn may_free(&self) -> bool {
        self.original.is_none() || !self.shared && !self.is_uncertain(Instant::now())
    }

    fn is_uncertain(&self, now: Instant) -> bool {
        self.uncertain_until.is_some_and(|until| now < until)
    }

    /// It says, by the word of some hub of ours, what is not known here. That may be this very registry, heard before
    /// it is read here, or from a connection that it does not know to be lost: then it waits. Gives back what need not.
    pub(super) fn defer(&mut self, id: &str, meta: ServiceMeta) -> Option<ServiceMeta> {
        let now = Instant::now();
        let replicated = self.shared.then(|| now + REPLICATION_DELAY);
        let Some(until) = replicated.max(self.uncertain_until).filter(|until| now < *until) else { return Some(meta) };
        if self.deferred.len() < WAITING_MAX || self.deferred.contains_key(id) {
            self.deferred.insert(id.to_owned(), (until, meta));
            self.due = Some(self.due.map_or(until, |due| due.min(until)));
        }
        None
    }

    /// It waits for nothing of this id any more. Returns whether it did.
    pub(super) fn cancel_deferred(&mut self, id: &str) -> bool {
        self.deferred.remove(id).is_some()
    }

    /// When [`Self::take_due`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What has waited for long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(String, ServiceMeta)> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let due_now =
            self.deferred.extract_if(|_, (until, _)| *until <= now).map(|(id, (_, meta))| (id, meta)).collect();
        self.due = self.deferred.values().map(|(until, _)| *until).min();
        due_now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relayed_services_are_forwarded_between_original_hubs_only() {
        let (ours, original) = (PeerHub::ours(), PeerHub::original("a:1", false, None));
        assert!(ours.forwards(None) && original.forwards(None));
        for from in ["-", "a:1"] {
            assert!(!ours.forwards(Some(from)) && !original.forwards(Some(from)), "{from}");
        }
        assert!(original.forwards(Some("b:1")) && !ours.forwards(Some("b:1")));
        assert_eq!(
            [original.source_note(None), original.source_note(Some(RelayOrigin::Registered)), ours.source_note(None)],
            ["a:1", "-", "-"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn relayed_services_that_may_be_our_own_are_deferred() {
        let lost = Instant::now() + LOSS_DETECTION;
        assert!(PeerHub::ours().may_free() && PeerHub::original("a:1", false, None).may_free());
        assert!(!PeerHub::original("a:1", true, None).may_free(), "another daemon's connection may have ended");
        let mut other = PeerHub::original("a:1", false, Some(lost));
        assert!(!other.may_free() && other.defer("x", ServiceMeta::new()).is_none());
        assert!(other.due() == Some(lost) && other.take_due(Instant::now()).is_empty());
        tokio::time::advance(LOSS_DETECTION).await;
        assert!(other.may_free() && other.defer("y", ServiceMeta::new()).is_some());
        assert_eq!(other.take_due(Instant::now()).len(), 1);
        assert!(other.due().is_none() && !other.cancel_deferred("x"));
    }
}
