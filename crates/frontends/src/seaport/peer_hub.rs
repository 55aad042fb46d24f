//! The rules between this hub and another one: a hub of skyhound on a store of its own, or the original's.
//!
//! The services of the other hub's peers are registered here by this one connection, with a note of their source hub;
//! the services registered here are sent to the other hub. The rules prevent loops:
//! - **Services that came from a hub are not forwarded to hubs.** So each hub peers with each. Only services that
//!   clients of an original hub registered are forwarded to other original hubs, which do and expect the same.
//! - Services that come back through an original hub are recognized by the order of their keys ([`super::relay`]).
//! - An original hub frees, with a connection, every service that the connection ever sent, also those that other
//!   connections sent as well. So its `free` for a service registered here is a request only where no other connection
//!   can have sent that service: where the store is this daemon's own, and no connection to that hub was lost recently.
//!   Otherwise the service is sent again. A hub of skyhound frees a service that it has from here only at the request
//!   of one of its peers.
//!
//! Owns: those rules. Does not own: the connection ([`super::dial`]), nor its rows ([`super::rows`]).

use super::meta::ServiceMeta;
use super::relay::RelayOrigin;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The time that another daemon on the same store may be ahead: it may have sent a service to an original hub that this
/// daemon has not read from the store yet.
pub(super) const REPLICATION_DELAY: Duration = Duration::from_secs(5);
/// The time in which an original hub detects a lost connection: three heartbeats of 15 s, and a margin.
pub(super) const LOSS_DETECTION: Duration = Duration::from_secs(60);
/// The limit for deferred services.
const DEFERRED_MAX: usize = super::services::SERVICES_MAX;
/// The source note of services that are not forwarded to any hub.
const NOT_FORWARDED: &str = "-";

/// A hub at the other end.
#[derive(Debug)]
pub(super) struct PeerHub {
    /// The address of an original hub in the settings; `None` for a hub of skyhound.
    original: Option<String>,
    /// The registry's store has other daemons.
    shared: bool,
    /// The time until which the hub may still free the services of a lost connection.
    uncertain_until: Option<Instant>,
    deferred: HashMap<String, (Instant, ServiceMeta)>,
    /// The end of the first deferral, or an earlier time.
    due: Option<Instant>,
}

impl PeerHub {
    /// A hub of skyhound.
    pub(super) fn skyhound() -> Self {
        Self { original: None, shared: false, uncertain_until: None, deferred: HashMap::new(), due: None }
    }

    /// A hub of the original, at this address.
    pub(super) fn original(address: &str, shared: bool, uncertain_until: Option<Instant>) -> Self {
        Self { original: Some(address.to_owned()), shared, uncertain_until, deferred: HashMap::new(), due: None }
    }

    /// Reports that services with this source hub are forwarded to the hub.
    pub(super) fn forwards(&self, from: Option<&str>) -> bool {
        let Some(from) = from else { return true };
        self.original.as_deref().is_some_and(|address| from != NOT_FORWARDED && from != address)
    }

    /// The source note for services from the hub.
    pub(super) fn source_note(&self, origin: Option<RelayOrigin>) -> &str {
        self.original.as_deref().filter(|_| origin.is_none()).unwrap_or(NOT_FORWARDED)
    }

    /// Returns the origin to apply to a service from the hub: `None` for the hub's own. `Err` if it is to be ignored.
    pub(super) fn accepts(&self, origin: Option<RelayOrigin>) -> Result<Option<RelayOrigin>, ()> {
        match (&self.original, origin) {
            (None, Some(RelayOrigin::Relayed)) => Err(()),
            (None, _) => Ok(None),
            (Some(_), origin) => Ok(origin),
        }
    }

    /// Reports that the hub's `free` for a service registered here is a request.
    pub(super) fn may_free(&self) -> bool {
        self.original.is_none() || !self.shared && !self.is_uncertain(Instant::now())
    }

    fn is_uncertain(&self, now: Instant) -> bool {
        self.uncertain_until.is_some_and(|until| now < until)
    }

    /// Defers a service that some hub of skyhound sent and that is not registered here. It may come from this very
    /// registry: the hub received it before this daemon read it from the store, or from a connection whose loss the hub
    /// has not detected. Returns the meta if nothing has to wait.
    pub(super) fn defer(&mut self, id: &str, meta: ServiceMeta) -> Option<ServiceMeta> {
        let now = Instant::now();
        let replicated_at = self.shared.then(|| now + REPLICATION_DELAY);
        let Some(until) = replicated_at.max(self.uncertain_until).filter(|until| now < *until) else {
            return Some(meta);
        };
        if self.deferred.len() < DEFERRED_MAX || self.deferred.contains_key(id) {
            self.deferred.insert(id.to_owned(), (until, meta));
            self.due = Some(self.due.map_or(until, |due| due.min(until)));
        }
        None
    }

    /// Drops the deferred service of an id. Returns whether there was one.
    pub(super) fn cancel_deferred(&mut self, id: &str) -> bool {
        self.deferred.remove(id).is_some()
    }

    /// The time of the next [`Self::take_due`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the services whose deferral has ended.
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
        let (skyhound, original) = (PeerHub::skyhound(), PeerHub::original("a:1", false, None));
        assert!(skyhound.forwards(None) && original.forwards(None));
        for from in ["-", "a:1"] {
            assert!(!skyhound.forwards(Some(from)) && !original.forwards(Some(from)), "{from}");
        }
        assert!(original.forwards(Some("b:1")) && !skyhound.forwards(Some("b:1")));
        assert_eq!(
            [
                original.source_note(None),
                original.source_note(Some(RelayOrigin::Registered)),
                skyhound.source_note(None)
            ],
            ["a:1", "-", "-"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn relayed_services_that_may_be_registered_here_are_deferred() {
        let lost = Instant::now() + LOSS_DETECTION;
        assert!(PeerHub::skyhound().may_free() && PeerHub::original("a:1", false, None).may_free());
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
