//! What comes of a peer's words: whose a service is that it registers, and what it may free.
//!
//! Owns: that decision, by what the peer is, what it has said and what stands. Does not own: the life of the connection
//! ([`super::peer`]), nor how a claim follows what is wanted ([`super::services`]).

use super::DIALECT;
use super::meta::{self, Said};
use super::peer::{End, Talk};
use super::relay::{self, Hand};
use skyhound_core::catalog::{Snapshot, Stored};
use skyhound_model::Instance;
use std::sync::Arc;

/// Whether to wait for what may be this registry's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    Begins,
    IsOver,
}

impl Talk {
    /// It says that a service is there, its own or one that it was told of.
    pub(super) fn register(&mut self, id: String, said: Said, wait: Wait) -> Result<(), End> {
        let snapshot = self.hub.app.catalog.snapshot();
        if let Some(end) = self.is_of_another_dialect(&id, &snapshot) {
            return end;
        }
        let mut hand = relay::hand(&said);
        if let Some(other) = &self.other {
            match other.reads(hand) {
                Ok(read) => hand = read,
                Err(()) => return Ok(()),
            }
        }
        let kept = if self.other.is_some() { said.clone() } else { Said::new() };
        let mut instance = match meta::accept(&id, said, &self.hub.app.naming, self.addr) {
            Ok(_) if self.services.are_full() && !self.services.holds(&id) => return self.refuse(id, FULL.into()),
            Ok(instance) => instance,
            Err(invalid) => return self.refuse(id, invalid.to_string()),
        };
        let there = snapshot.entry(&instance.key).filter(|stored| meta::registered_id(stored) == Some(id.as_str()));
        if self.services.holds(&id) {
            self.note(&mut instance, there, hand);
            return self.want(&id, instance, false);
        }
        match (hand, there.cloned()) {
            (None, there) => {
                // Its own; or what it says of another's, once it has said what it knew when it came.
                let mut same = instance.clone();
                self.note(&mut same, there.as_ref(), hand);
                let guest = self.synced && there.is_some_and(|known| known.entry != same.entry);
                let instance = if guest || self.other.is_some() { same } else { instance };
                self.want(&id, instance, guest)
            }
            // Another hub has it as well. What is passed on may be what this one has passed on itself.
            (Some(Hand::First), Some(known)) if self.other.is_some() && meta::from(&known.entry).is_some() => {
                self.note(&mut instance, Some(&known), hand);
                self.want(&id, instance, false)
            }
            (Some(hand), None) if self.other.is_some() => self.take_from_afar(&id, kept, instance, hand, wait),
            (Some(_), there) => self.hear_again(id, instance, there),
        }
    }

    /// What another hub says, and is registered at a third one; or here, and not read yet.
    fn take_from_afar(
        &mut self,
        id: &str,
        said: Said,
        mut instance: Instance,
        hand: Hand,
        wait: Wait,
    ) -> Result<(), End> {
        let waits = wait == Wait::Begins && self.other.as_mut().is_some_and(|other| other.wait(id, said).is_none());
        if waits {
            return Ok(());
        }
        self.note(&mut instance, None, Some(hand));
        self.want(id, instance, false)
    }

    /// What the peer was told here, and says again.
    fn hear_again(&mut self, id: String, mut instance: Instance, there: Option<Arc<Stored>>) -> Result<(), End> {
        let app = Arc::clone(&self.hub.app);
        let known = there.or_else(|| meta::find(&app.catalog.snapshot(), &app.naming, &id));
        if let Some(from) = known.as_ref().and_then(|known| meta::from(&known.entry)) {
            meta::mark(&mut instance, from);
        }
        match known {
            // It has missed the end of that.
            None => self.say_free(id),
            // Old news, or none.
            Some(known) if !self.synced || known.entry == instance.entry => Ok(()),
            Some(_) => self.want(&id, instance, true),
        }
    }

    /// Notes where an instance came from: as it stands, or else from this peer, if that is a hub.
    fn note(&self, instance: &mut Instance, there: Option<&Arc<Stored>>, hand: Option<Hand>) {
        let from = match (there, &self.other) {
            (Some(there), _) => meta::from(&there.entry),
            (None, Some(other)) => Some(other.note(hand)),
            (None, None) => None,
        };
        if let Some(from) = from {
            meta::mark(instance, from);
        }
    }

    /// What to do with a row about an id that is a name, unless a hub has it from another one.
    fn is_of_another_dialect(&mut self, id: &str, snapshot: &Snapshot) -> Option<Result<(), End>> {
        if self.services.holds(id) || !meta::is_a_name(id, snapshot, &self.hub.app.naming) {
            return None;
        }
        if self.named(id, snapshot).is_some() {
            // It was told of that, and says it again.
            return Some(Ok(()));
        }
        let known = self.other.is_some() || meta::find(snapshot, &self.hub.app.naming, id).is_some();
        if known { None } else { Some(self.say_free(id.to_owned())) }
    }

    /// What came in through another dialect, by the id that peers know it by.
    fn named(&self, id: &str, snapshot: &Snapshot) -> Option<Arc<Stored>> {
        let named = id.parse().ok().and_then(|name| meta::named(&name, snapshot).cloned());
        named.filter(|_| meta::is_a_name(id, snapshot, &self.hub.app.naming))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several ways that a row can go")]
    fn want(&mut self, id: &str, instance: Instance, guest: bool) -> Result<(), End> {
        self.services.register(id, instance, guest);
        Ok(())
    }

    fn refuse(&mut self, id: String, sentence: String) -> Result<(), End> {
        self.hub.app.metrics.registration(DIALECT, "invalid");
        self.say(&super::row::Row::Error(id, sentence))
    }

    /// It says that a service is gone.
    pub(super) fn free(&mut self, id: String) -> Result<(), End> {
        if self.services.free(&id) {
            // A hub speaks for its own peers: others may have it from elsewhere.
            if self.other.is_none() && self.hub.holders(&id) > 1 {
                self.hub.free(&id, None);
            }
            return Ok(());
        }
        if self.other.as_mut().is_some_and(|other| other.forget(&id)) {
            return Ok(());
        }
        let app = Arc::clone(&self.hub.app);
        let snapshot = app.catalog.snapshot();
        let named = self.named(&id, &snapshot);
        let of_another_dialect = named.is_some();
        let stored = named.or_else(|| meta::find(&snapshot, &app.naming, &id));
        if self.echoes.is_one(&id, stored.is_some()) {
            return Ok(());
        }
        match (&self.other, stored) {
            (Some(other), Some(stored))
                if of_another_dialect || !other.may_free() || meta::from(&stored.entry).is_some() =>
            {
                // It is there, and that hub should know.
                self.say_put(&stored)
            }
            (None, Some(_)) if of_another_dialect => self.refuse(id, NOT_A_PEERS.into()),
            (_, stored) => {
                if stored.is_some() {
                    self.services.freed_by_peer(&id);
                }
                self.hub.free(&id, stored);
                Ok(())
            }
        }
    }
}

const FULL: &str = "you have registered 8192 services, and that is the most over one connection";
const _: () = assert!(super::services::SERVICES_MAX == 8192, "the sentence says so");
const NOT_A_PEERS: &str = "that instance came in through another protocol, and lives as long as its own peer does";
