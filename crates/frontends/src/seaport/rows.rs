//! Decisions on `register` and `free` rows: the owner of a registered service, and the ids that a peer may free.
//!
//! A `register` row does not say whether the service is the sender's own or one that the sender received from a hub.
//! Rows that cannot be accepted are answered first:
//!
//! | the row's id or meta | answer |
//! |---|---|
//! | the DNS name of another frontend's instance | none: the sender received it from here and sends it back |
//! | a DNS name that neither an instance nor a peer's service has, from a client | `free`: the instance has ended |
//! | a service that a hub of skyhound has from a third hub | none: hubs do not forward to hubs ([`super::peer_hub`]) |
//! | invalid, or a new service beyond [`SERVICES_MAX`] | `error` |
//!
//! For all other rows [`decide`] applies the first line that matches. *Origin* is the origin by the order of the keys
//! ([`super::relay`]): registered at or relayed by a hub of skyhound, or else the sender's own, as is every service
//! from a hub of skyhound. *Differs* compares the row with the stored entry of the id, apart from the source hub.
//!
//! | id held | origin | sender | stored entry | synced | decision |
//! |---|---|---|---|---|---|
//! | yes | | | | | register, with the source hub |
//! | no | own | | differs | yes | register provisionally: an update of another peer's service |
//! | no | own | client | | | register |
//! | no | own | hub | | | register, with the source hub |
//! | no | registered | hub | from a hub | | register, with the source hub: several hubs have it |
//! | no | registered or relayed | hub | absent | | defer: it may be in this registry and not read yet |
//! | no | registered or relayed | client | absent | | send `free`: the sender missed the removal |
//! | no | registered or relayed | | differs | yes | register provisionally |
//! | no | registered or relayed | | any | | ignore: the sender sends back what it received |
//!
//! A `free` row is a request to remove the service for all its holders. Exceptions, the first that matches:
//!
//! | the row's id | answer |
//! |---|---|
//! | held by a hub | the hub's own claim is released; other holders may have the service from elsewhere |
//! | deferred | the deferred registration is dropped |
//! | expected as an echo ([`super::echoes`]) | none |
//! | of another frontend, or from a hub, or not the hub's to free, in a hub's row | `register`: the service stays |
//! | of another frontend, in a client's row | `error` |
//!
//! Owns: these decisions. Does not own: the connection ([`super::peer`]), nor the claims that follow the registrations
//! ([`super::services`]).

use super::FRONTEND;
use super::meta::{self, ServiceMeta};
use super::peer::{PeerSession, SessionEnd};
use super::relay::{self, RelayOrigin};
use super::services::SERVICES_MAX;
use skyhound_core::catalog::{Snapshot, StoredEntry};
use skyhound_model::{Instance, Key};
use std::sync::Arc;

/// The use of the waiting time for services that may be in this registry already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deferral {
    /// The row was just received and may be deferred.
    Allowed,
    /// The row has been deferred for its time.
    Elapsed,
}

/// The outcome of a valid `register` row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RegisterDecision {
    /// Registers the service as the sender's own, without a source hub.
    Register,
    /// Registers the service with the hub that it came from.
    RegisterWithSource,
    /// Registers the update of another peer's service until that peer has adopted it.
    RegisterProvisionally,
    /// Waits for the store, then registers the service with its source hub.
    Defer,
    /// Answers that the service is removed.
    SendFree,
    /// Leaves the stored entry as it is.
    Ignore,
}

/// The stored entry of a row's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoredService {
    Absent,
    Present {
        /// The row describes the service differently.
        differs: bool,
        /// The entry came from another hub.
        from_hub: bool,
    },
}

/// The columns of the decision table.
#[derive(Debug, Clone, Copy)]
struct RegisterFacts {
    held: bool,
    origin: Option<RelayOrigin>,
    sender_is_hub: bool,
    stored: StoredService,
    synced: bool,
}

/// Applies the decision table in the module's header, line by line.
fn decide(facts: RegisterFacts) -> RegisterDecision {
    use RegisterDecision::{Defer, Ignore, Register, RegisterProvisionally, RegisterWithSource, SendFree};
    use StoredService::{Absent, Present};
    let RegisterFacts { held, origin, sender_is_hub, stored, synced } = facts;
    match (origin, sender_is_hub, stored) {
        _ if held => RegisterWithSource,
        (None, _, Present { differs: true, .. }) if synced => RegisterProvisionally,
        (None, false, _) => Register,
        (None, true, _) | (Some(RelayOrigin::Registered), true, Present { from_hub: true, .. }) => RegisterWithSource,
        (Some(_), true, Absent) => Defer,
        (Some(_), false, Absent) => SendFree,
        (Some(_), _, Present { differs: true, .. }) if synced => RegisterProvisionally,
        (Some(_), _, Present { .. }) => Ignore,
    }
}

impl PeerSession {
    /// Processes a `register` row.
    pub(super) fn register(&mut self, id: String, meta: ServiceMeta, deferral: Deferral) -> Result<(), SessionEnd> {
        let snapshot = self.hub.app.catalog.snapshot();
        if let Some(answered) = self.answer_name_id(&id, &snapshot) {
            return answered;
        }
        let mut origin = relay::origin(&meta);
        if let Some(peer_hub) = &self.peer_hub {
            match peer_hub.accepts(origin) {
                Ok(accepted) => origin = accepted,
                Err(()) => return Ok(()),
            }
        }
        // Only a hub's row can be deferred, and is needed again in full.
        let deferrable_meta = if self.peer_hub.is_some() { meta.clone() } else { ServiceMeta::new() };
        let instance = match meta::accept(&id, meta, &self.hub.app.naming, self.addr) {
            Ok(_) if self.services.are_full() && !self.services.holds(&id) => {
                return self.reject(id, TOO_MANY_SERVICES.into());
            }
            Ok(instance) => instance,
            Err(invalid) => return self.reject(id, invalid.to_string()),
        };
        let stored = self.stored_service(&id, &instance.key, origin, &snapshot);
        let with_source = self.with_source(instance.clone(), stored.as_deref(), origin);
        match decide(self.facts(&id, origin, stored.as_deref(), &with_source)) {
            RegisterDecision::Register => self.services.register(&id, instance, false),
            RegisterDecision::RegisterWithSource => self.services.register(&id, with_source, false),
            RegisterDecision::RegisterProvisionally => self.services.register(&id, with_source, true),
            RegisterDecision::Defer => {
                if !self.defer(&id, deferrable_meta, deferral) {
                    self.services.register(&id, with_source, false);
                }
            }
            RegisterDecision::SendFree => return self.send_free(id),
            RegisterDecision::Ignore => {}
        }
        Ok(())
    }

    fn facts(
        &self,
        id: &str,
        origin: Option<RelayOrigin>,
        stored: Option<&StoredEntry>,
        with_source: &Instance,
    ) -> RegisterFacts {
        let stored = stored.map_or(StoredService::Absent, |stored| StoredService::Present {
            differs: stored.entry != with_source.entry,
            from_hub: meta::source_hub(&stored.entry).is_some(),
        });
        RegisterFacts {
            held: self.services.holds(id),
            origin,
            sender_is_hub: self.peer_hub.is_some(),
            stored,
            synced: self.synced,
        }
    }

    /// Returns the stored entry of an id: at the row's own key, or for a row that a client sends back under any role.
    /// The search over all roles costs a lookup per service; no other row needs it.
    fn stored_service(
        &self,
        id: &str,
        key: &Key,
        origin: Option<RelayOrigin>,
        snapshot: &Snapshot,
    ) -> Option<Arc<StoredEntry>> {
        let at_key = snapshot.entry(key).filter(|stored| meta::registered_id(stored) == Some(id)).cloned();
        let sent_back = origin.is_some() && self.peer_hub.is_none() && !self.services.holds(id);
        at_key.or_else(|| if sent_back { meta::find(snapshot, &self.hub.app.naming, id) } else { None })
    }

    /// Adds the hub that an instance came from: that of the stored entry, or else this peer if it is a hub.
    fn with_source(
        &self,
        mut instance: Instance,
        stored: Option<&StoredEntry>,
        origin: Option<RelayOrigin>,
    ) -> Instance {
        let source = match (stored, &self.peer_hub) {
            (Some(stored), _) => meta::source_hub(&stored.entry),
            (None, Some(peer_hub)) => Some(peer_hub.source_note(origin)),
            (None, None) => None,
        };
        if let Some(source) = source {
            meta::set_source_hub(&mut instance, source);
        }
        instance
    }

    /// Defers a row of a hub if it may describe an entry of this registry. Returns whether it waits.
    fn defer(&mut self, id: &str, meta: ServiceMeta, deferral: Deferral) -> bool {
        deferral == Deferral::Allowed
            && self.peer_hub.as_mut().is_some_and(|peer_hub| peer_hub.defer(id, meta).is_none())
    }

    /// Answers a row whose id is a DNS name. `None` for every other row, and for a name that a hub may have from
    /// another hub.
    fn answer_name_id(&mut self, id: &str, snapshot: &Snapshot) -> Option<Result<(), SessionEnd>> {
        if self.services.holds(id) || !meta::is_a_name(id, snapshot, &self.hub.app.naming) {
            return None;
        }
        if self.other_frontends_instance(id, snapshot).is_some() {
            return Some(Ok(()));
        }
        let acceptable = self.peer_hub.is_some() || meta::find(snapshot, &self.hub.app.naming, id).is_some();
        if acceptable { None } else { Some(self.send_free(id.to_owned())) }
    }

    /// Returns the instance of another frontend that peers know by this id.
    fn other_frontends_instance(&self, id: &str, snapshot: &Snapshot) -> Option<Arc<StoredEntry>> {
        let named = id.parse().ok().and_then(|name| meta::named_instance(&name, snapshot).cloned());
        named.filter(|_| meta::is_a_name(id, snapshot, &self.hub.app.naming))
    }

    fn reject(&mut self, id: String, sentence: String) -> Result<(), SessionEnd> {
        self.hub.app.metrics.registration(FRONTEND, "invalid");
        self.send(&super::row::Row::Error(id, sentence))
    }

    /// Processes a `free` row.
    pub(super) fn free(&mut self, id: String) -> Result<(), SessionEnd> {
        if self.services.free(&id) {
            // A hub frees for its own peers only: other holders may have the service from elsewhere.
            if self.peer_hub.is_none() && self.hub.holders(&id) > 1 {
                self.hub.free(&id, None);
            }
            return Ok(());
        }
        if self.peer_hub.as_mut().is_some_and(|peer_hub| peer_hub.cancel_deferred(&id)) {
            return Ok(());
        }
        self.free_unheld(id)
    }

    /// Processes a `free` row for a service that this peer does not hold.
    fn free_unheld(&mut self, id: String) -> Result<(), SessionEnd> {
        let app = Arc::clone(&self.hub.app);
        let snapshot = app.catalog.snapshot();
        let named = self.other_frontends_instance(&id, &snapshot);
        let of_other_frontend = named.is_some();
        let stored = named.or_else(|| meta::find(&snapshot, &app.naming, &id));
        if self.echoes.is_echo(&id, stored.is_some()) {
            return Ok(());
        }
        match (&self.peer_hub, stored) {
            // The service stays, and that hub has to know it again.
            (Some(peer_hub), Some(stored))
                if of_other_frontend || !peer_hub.may_free() || meta::source_hub(&stored.entry).is_some() =>
            {
                self.send_put(&stored)
            }
            (None, Some(_)) if of_other_frontend => self.reject(id, OTHER_FRONTENDS_INSTANCE.into()),
            (_, stored) => {
                if stored.is_some() {
                    self.services.suppress_removal(&id);
                }
                self.hub.free(&id, stored);
                Ok(())
            }
        }
    }
}

const TOO_MANY_SERVICES: &str =
    "this connection has 8192 services, which is the limit; free a service, or use another connection";
const _: () = assert!(SERVICES_MAX == 8192, "TOO_MANY_SERVICES contains the limit");
const OTHER_FRONTENDS_INSTANCE: &str =
    "that instance was registered through another protocol; it ends when its own client removes it";

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Option<RelayOrigin> = None;
    const REGISTERED: Option<RelayOrigin> = Some(RelayOrigin::Registered);
    const RELAYED: Option<RelayOrigin> = Some(RelayOrigin::Relayed);
    const SAME: StoredService = StoredService::Present { differs: false, from_hub: false };
    const DIFFERENT: StoredService = StoredService::Present { differs: true, from_hub: false };
    const SAME_FROM_HUB: StoredService = StoredService::Present { differs: false, from_hub: true };
    const ABSENT: StoredService = StoredService::Absent;

    #[test]
    fn register_rows_are_decided_by_the_table() {
        use RegisterDecision::{Defer, Ignore, Register, RegisterProvisionally, RegisterWithSource, SendFree};
        for (origin, sender_is_hub, stored, synced, decision) in [
            (OWN, false, ABSENT, true, Register),
            (OWN, false, SAME, true, Register),
            (OWN, false, DIFFERENT, false, Register),
            (OWN, false, DIFFERENT, true, RegisterProvisionally),
            (OWN, true, DIFFERENT, true, RegisterProvisionally),
            (OWN, true, DIFFERENT, false, RegisterWithSource),
            (OWN, true, ABSENT, true, RegisterWithSource),
            (REGISTERED, true, SAME_FROM_HUB, true, RegisterWithSource),
            (REGISTERED, true, SAME, true, Ignore),
            (RELAYED, true, SAME_FROM_HUB, true, Ignore),
            (REGISTERED, true, ABSENT, false, Defer),
            (RELAYED, true, ABSENT, true, Defer),
            (REGISTERED, false, ABSENT, false, SendFree),
            (RELAYED, false, DIFFERENT, true, RegisterProvisionally),
            (RELAYED, true, DIFFERENT, true, RegisterProvisionally),
            (REGISTERED, false, DIFFERENT, false, Ignore),
            (REGISTERED, false, SAME_FROM_HUB, true, Ignore),
        ] {
            let facts = RegisterFacts { held: false, origin, sender_is_hub, stored, synced };
            assert_eq!(decide(facts), decision, "{facts:?}");
            assert_eq!(decide(RegisterFacts { held: true, ..facts }), RegisterWithSource, "{facts:?}");
        }
    }
}
