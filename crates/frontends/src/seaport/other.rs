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

use super::meta::Said;
use super::relay::Hand;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long another daemon on the same store may have told an original hub of a service before this one reads it there.
pub(super) const BEHIND: Duration = Duration::from_secs(5);
/// How long an original hub may take to find out that a connection is lost: three heartbeats of 15 s, and some.
pub(super) const DOUBT: Duration = Duration::from_secs(60);
/// The most services that wait to be known.
const WAITING_MAX: usize = super::services::SERVICES_MAX;
/// The note for what is not told any further.
const NO_FURTHER: &str = "-";

/// A hub at the other end.
#[derive(Debug)]
pub(super) struct Other {
    /// Where an original hub is, as the settings have it; `None` for one of ours.
    original: Option<String>,
    /// The registry's store has other daemons.
    shared: bool,
    /// Until when it may still free what a lost connection said.
    doubt: Option<Instant>,
    waiting: HashMap<String, (Instant, Said)>,
    /// When the first has waited for long enough, or earlier.
    due: Option<Instant>,
}

impl Other {
    /// One of ours.
    pub(super) fn ours() -> Self {
        Self { original: None, shared: false, doubt: None, waiting: HashMap::new(), due: None }
    }

    /// The original's, at this address.
    pub(super) fn original(at: &str, shared: bool, doubt: Option<Instant>) -> Self {
        Self { original: Some(at.to_owned()), shared, doubt, waiting: HashMap::new(), due: None }
    }

    /// Whether it is told of a service that came from there.
    pub(super) fn hears(&self, from: Option<&str>) -> bool {
        let Some(from) = from else { return true };
        self.original.as_deref().is_some_and(|at| from != NO_FURTHER && from != at)
    }

    /// What is noted of what it says.
    pub(super) fn note(&self, hand: Option<Hand>) -> &str {
        self.original.as_deref().filter(|_| hand.is_none()).unwrap_or(NO_FURTHER)
    }

    /// Whose a service is by its word: `None` for its own. `Err` for what is not to be taken from it at all.
    pub(super) fn reads(&self, hand: Option<Hand>) -> Result<Option<Hand>, ()> {
        match (&self.original, hand) {
            (None, Some(Hand::Second)) => Err(()),
            (None, _) => Ok(None),
            (Some(_), hand) => Ok(hand),
        }
    }

    /// Whether what it frees of what is registered here is a wish.
    pub(super) fn may_free(&self) -> bool {
        self.original.is_none() || !self.shared && !self.is_doubted(Instant::now())
    }

    fn is_doubted(&self, now: Instant) -> bool {
        self.doubt.is_some_and(|until| now < until)
    }

    /// It says, by the word of some hub of ours, what is not known here. That may be this very registry, heard before
    /// it is read here, or from a connection that it does not know to be lost: then it waits. Gives back what need not.
    pub(super) fn wait(&mut self, id: &str, said: Said) -> Option<Said> {
        let now = Instant::now();
        let behind = self.shared.then(|| now + BEHIND);
        let Some(until) = behind.max(self.doubt).filter(|until| now < *until) else { return Some(said) };
        if self.waiting.len() < WAITING_MAX || self.waiting.contains_key(id) {
            self.waiting.insert(id.to_owned(), (until, said));
            self.due = Some(self.due.map_or(until, |due| due.min(until)));
        }
        None
    }

    /// It waits for nothing of this id any more. Returns whether it did.
    pub(super) fn forget(&mut self, id: &str) -> bool {
        self.waiting.remove(id).is_some()
    }

    /// When [`Self::ripe`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What has waited for long enough.
    pub(super) fn ripe(&mut self, now: Instant) -> Vec<(String, Said)> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let ripe = self.waiting.extract_if(|_, (until, _)| *until <= now).map(|(id, (_, said))| (id, said)).collect();
        self.due = self.waiting.values().map(|(until, _)| *until).min();
        ripe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_a_hub_goes_no_further_but_between_originals() {
        let (ours, original) = (Other::ours(), Other::original("a:1", false, None));
        assert!(ours.hears(None) && original.hears(None));
        for from in ["-", "a:1"] {
            assert!(!ours.hears(Some(from)) && !original.hears(Some(from)), "{from}");
        }
        assert!(original.hears(Some("b:1")) && !ours.hears(Some("b:1")));
        assert_eq!([original.note(None), original.note(Some(Hand::First)), ours.note(None)], ["a:1", "-", "-"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_our_own_is_waited_for() {
        let lost = Instant::now() + DOUBT;
        assert!(Other::ours().may_free() && Other::original("a:1", false, None).may_free());
        assert!(!Other::original("a:1", true, None).may_free(), "another daemon's connection may have ended");
        let mut other = Other::original("a:1", false, Some(lost));
        assert!(!other.may_free() && other.wait("x", Said::new()).is_none());
        assert!(other.due() == Some(lost) && other.ripe(Instant::now()).is_empty());
        tokio::time::advance(DOUBT).await;
        assert!(other.may_free() && other.wait("y", Said::new()).is_some());
        assert_eq!(other.ripe(Instant::now()).len(), 1);
        assert!(other.due().is_none() && !other.forget("x"));
    }
}
