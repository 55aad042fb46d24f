//! What comes of a peer's words: whose a service is that it registers, and what it may free.
//!
//! Owns: that decision, by what the peer is, what it has said and what stands. Does not own: the life of the connection
//! ([`super::peer`]), nor how a claim follows what is wanted ([`super::services`]).

use super::FRONTEND;
use super::meta::{self, ServiceMeta};
use super::peer::{PeerSession, SessionEnd};
use super::relay::{self, RelayOrigin};
use skyhound_core::catalog::{Snapshot, StoredEntry};
use skyhound_model::Instance;
use std::sync::Arc;

/// Whether to wait for what may be this registry's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deferral {
    Allowed,
    Elapsed,
}

impl PeerSession {
    /// It says that a service is there, its own or one that it was told of.
    pub(super) fn register(&mut self, id: String, meta: ServiceMeta, deferral: Deferral) -> Result<(), SessionEnd> {
        let snapshot = self.hub.app.catalog.snapshot();
        if let Some(end) = self.answer_for_named(&id, &snapshot) {
            return end;
        }
        let mut origin = relay::origin(&meta);
        if let Some(peer_hub) = &self.peer_hub {
            match peer_hub.accepts(origin) {
                Ok(read) => origin = read,
                Err(()) => return Ok(()),
            }
        }
        let original = if self.peer_hub.is_some() { meta.clone() } else { ServiceMeta::new() };
        let mut instance = match meta::accept(&id, meta, &self.hub.app.naming, self.addr) {
            Ok(_) if self.services.are_full() && !self.services.holds(&id) => return self.refuse(id, FULL.into()),
            Ok(instance) => instance,
            Err(invalid) => return self.refuse(id, invalid.to_string()),
        };
        let stored = snapshot.entry(&instance.key).filter(|stored| meta::registered_id(stored) == Some(id.as_str()));
        if self.services.holds(&id) {
            self.note(&mut instance, stored, origin);
            return self.register_desired(&id, instance, false);
        }
        match (origin, stored.cloned()) {
            (None, stored) => {
                // Its own; or what it says of another's, once it has said what it knew when it came.
                let mut with_source = instance.clone();
                self.note(&mut with_source, stored.as_ref(), origin);
                let provisional = self.synced && stored.is_some_and(|known| known.entry != with_source.entry);
                let instance = if provisional || self.peer_hub.is_some() { with_source } else { instance };
                self.register_desired(&id, instance, provisional)
            }
            // Another hub has it as well. What is passed on may be what this one has passed on itself.
            (Some(RelayOrigin::Registered), Some(known))
                if self.peer_hub.is_some() && meta::source_hub(&known.entry).is_some() =>
            {
                self.note(&mut instance, Some(&known), origin);
                self.register_desired(&id, instance, false)
            }
            (Some(origin), None) if self.peer_hub.is_some() => {
                self.receive_relayed(&id, original, instance, origin, deferral)
            }
            (Some(_), stored) => self.receive_echoed(id, instance, stored),
        }
    }

    /// What another hub says, and is registered at a third one; or here, and not read yet.
    fn receive_relayed(
        &mut self,
        id: &str,
        meta: ServiceMeta,
        mut instance: Instance,
        origin: RelayOrigin,
        deferral: Deferral,
    ) -> Result<(), SessionEnd> {
        let deferred = deferral == Deferral::Allowed
            && self.peer_hub.as_mut().is_some_and(|peer_hub| peer_hub.defer(id, meta).is_none());
        if deferred {
            return Ok(());
        }
        self.note(&mut instance, None, Some(origin));
        self.register_desired(id, instance, false)
    }

    /// What the peer was told here, and says again.
    fn receive_echoed(
        &mut self,
        id: String,
        mut instance: Instance,
        stored: Option<Arc<StoredEntry>>,
    ) -> Result<(), SessionEnd> {
        let app = Arc::clone(&self.hub.app);
        let known = stored.or_else(|| meta::find(&app.catalog.snapshot(), &app.naming, &id));
        if let Some(source) = known.as_ref().and_then(|known| meta::source_hub(&known.entry)) {
            meta::set_source_hub(&mut instance, source);
        }
        match known {
            // It has missed the end of that.
            None => self.send_free(id),
            // Old news, or none.
            Some(known) if !self.synced || known.entry == instance.entry => Ok(()),
            Some(_) => self.register_desired(&id, instance, true),
        }
    }

    /// Notes where an instance came from: as it stands, or else from this peer, if that is a hub.
    fn note(&self, instance: &mut Instance, stored: Option<&Arc<StoredEntry>>, origin: Option<RelayOrigin>) {
        let source = match (stored, &self.peer_hub) {
            (Some(stored), _) => meta::source_hub(&stored.entry),
            (None, Some(peer_hub)) => Some(peer_hub.source_note(origin)),
            (None, None) => None,
        };
        if let Some(source) = source {
            meta::set_source_hub(instance, source);
        }
    }

    /// What to do with a row about an id that is a name, unless a hub has it from another one.
    fn answer_for_named(&mut self, id: &str, snapshot: &Snapshot) -> Option<Result<(), SessionEnd>> {
        if self.services.holds(id) || !meta::is_a_name(id, snapshot, &self.hub.app.naming) {
            return None;
        }
        if self.named(id, snapshot).is_some() {
            // It was told of that, and says it again.
            return Some(Ok(()));
        }
        let known = self.peer_hub.is_some() || meta::find(snapshot, &self.hub.app.naming, id).is_some();
        if known { None } else { Some(self.send_free(id.to_owned())) }
    }

    /// What came in through another dialect, by the id that peers know it by.
    fn named(&self, id: &str, snapshot: &Snapshot) -> Option<Arc<StoredEntry>> {
        let named = id.parse().ok().and_then(|name| meta::named_instance(&name, snapshot).cloned());
        named.filter(|_| meta::is_a_name(id, snapshot, &self.hub.app.naming))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several ways that a row can go")]
    fn register_desired(&mut self, id: &str, instance: Instance, provisional: bool) -> Result<(), SessionEnd> {
        self.services.register(id, instance, provisional);
        Ok(())
    }

    fn refuse(&mut self, id: String, sentence: String) -> Result<(), SessionEnd> {
        self.hub.app.metrics.registration(FRONTEND, "invalid");
        self.send(&super::row::Row::Error(id, sentence))
    }

    /// It says that a service is gone.
    pub(super) fn free(&mut self, id: String) -> Result<(), SessionEnd> {
        if self.services.free(&id) {
            // A hub speaks for its own peers: others may have it from elsewhere.
            if self.peer_hub.is_none() && self.hub.holders(&id) > 1 {
                self.hub.free(&id, None);
            }
            return Ok(());
        }
        if self.peer_hub.as_mut().is_some_and(|peer_hub| peer_hub.cancel_deferred(&id)) {
            return Ok(());
        }
        let app = Arc::clone(&self.hub.app);
        let snapshot = app.catalog.snapshot();
        let named = self.named(&id, &snapshot);
        let is_foreign = named.is_some();
        let stored = named.or_else(|| meta::find(&snapshot, &app.naming, &id));
        if self.echoes.is_echo(&id, stored.is_some()) {
            return Ok(());
        }
        match (&self.peer_hub, stored) {
            (Some(peer_hub), Some(stored))
                if is_foreign || !peer_hub.may_free() || meta::source_hub(&stored.entry).is_some() =>
            {
                // It is there, and that hub should know.
                self.send_put(&stored)
            }
            (None, Some(_)) if is_foreign => self.refuse(id, FOREIGN_INSTANCE.into()),
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

const FULL: &str = "you have registered 8192 services, and that is the most over one connection";
const _: () = assert!(super::services::SERVICES_MAX == 8192, "the sentence says so");
const FOREIGN_INSTANCE: &str = "that instance came in through another protocol, and lives as long as its own peer does";
