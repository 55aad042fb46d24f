//! What changed lately, in order: for listeners who come back and ask what happened since.
//!
//! A change is what readers see: an instance that appears, differs or is gone. What makes no difference to them (an
//! entry put again as it was, on another lease) is none. Each has a number, without gaps, and a [`Position`].
//!
//! Owns: which batch makes which changes, and the window of those that are remembered. Does not own: who listens
//! ([`crate::events`]). Synchronous; no clock.

use super::node::Stored;
use super::snapshot::Snapshot;
use crate::model::{Departure, Key, Name};
use crate::store::{Batch, Change as Written, Revision};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How many changes are remembered. Whoever was away for longer gets the whole set.
pub const WINDOW: usize = 8192;

/// The parts of the store that are followed, each with a feed of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The SkyDNS layout.
    Own,
    /// The keys of hound-dog's peers.
    Foreign,
}

/// How far a reader is: the revision up to which it has each part. As text `107`, or `107-95` where two parts are
/// followed; nothing in it but an order between two of the same daemon's or the same etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// Of the SkyDNS layout.
    pub own: Revision,
    /// Of hound-dog's keys; 0 when they are not followed.
    pub foreign: Revision,
}

impl Position {
    /// The revision of one part.
    pub fn part(self, part: Part) -> Revision {
        match part {
            Part::Own => self.own,
            Part::Foreign => self.foreign,
        }
    }

    pub(super) fn part_mut(&mut self, part: Part) -> &mut Revision {
        match part {
            Part::Own => &mut self.own,
            Part::Foreign => &mut self.foreign,
        }
    }

    /// Whether a reader who is here has everything that another position has.
    pub fn covers(self, other: Self) -> bool {
        self.own >= other.own && self.foreign >= other.foreign
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.foreign {
            Revision(0) => write!(f, "{}", self.own),
            foreign => write!(f, "{}-{foreign}", self.own),
        }
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map(Revision).map_err(|_| format!("{text:?} is no position of a feed"));
        Ok(match text.split_once('-') {
            Some((own, foreign)) => Self { own: number(own)?, foreign: number(foreign)? },
            None => Self { own: number(text)?, foreign: Revision(0) },
        })
    }
}

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It appeared, or describes itself anew.
    Put,
    /// It is gone, for this reason.
    Gone(Departure),
}

/// A change of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which one it is, from 1.
    pub number: u64,
    /// The part that it came from, and that part's revision.
    pub part: Part,
    /// See [`Self::part`].
    pub revision: Revision,
    /// How far a reader is who has this change and all before it.
    pub at: Position,
    /// The service.
    pub service: Arc<str>,
    /// What happened.
    pub kind: Kind,
    /// The instance, as it is now, or as it was last.
    pub instance: Arc<Stored>,
}

/// The changes that are remembered.
#[derive(Debug, Default)]
pub struct History {
    window: VecDeque<Arc<Change>>,
    /// Where a reader has to be to be told the window and nothing else.
    since: Position,
}

/// A reader's position is not in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside;

impl History {
    /// What changed after a position, in order.
    pub fn after(&self, at: Position, now: Position) -> Result<impl Iterator<Item = &Arc<Change>>, Outside> {
        if !at.covers(self.since) || !now.covers(at) {
            return Err(Outside);
        }
        Ok(self.window.iter().filter(move |change| change.revision > at.part(change.part)))
    }

    /// The changes with numbers above this one; `None` when not all of them are remembered.
    pub fn numbered(&self, after: u64) -> Option<impl Iterator<Item = &Arc<Change>>> {
        let first = self.window.front().map(|change| change.number);
        let all = first.is_none_or(|first| first <= after + 1);
        let skip = first.map_or(0, |first| usize::try_from(after + 1 - first.min(after + 1)).unwrap_or(usize::MAX));
        all.then(|| self.window.iter().skip(skip))
    }

    pub(super) fn add(&mut self, changes: &[Arc<Change>]) {
        self.window.extend(changes.iter().cloned());
        while self.window.len() > WINDOW {
            if let Some(forgotten) = self.window.pop_front() {
                self.since = forgotten.at;
            }
        }
    }

    /// Forgets everything: whoever comes back takes the whole set of `now`.
    pub(super) fn start_over(&mut self, now: Position) {
        self.window.clear();
        self.since = now;
    }
}

/// The changes that lead from one snapshot to the next, which has `batch` of `part`. `why` is asked about what is gone.
pub(super) fn changes(
    before: &Snapshot,
    after: &Snapshot,
    part: Part,
    batch: &Batch,
    why: impl Fn(&Key) -> Departure,
) -> Vec<Arc<Change>> {
    let mut number = before.changes();
    let mut all = Vec::new();
    for name in names(before, after, batch) {
        let was: HashMap<_, _> = own(before, &name).map(|stored| (&stored.key, stored)).collect();
        let is: HashMap<_, _> = own(after, &name).map(|stored| (&stored.key, stored)).collect();
        // What somebody else's key says now, at the same place, is not gone.
        let said_by_another = |stored: &Arc<Stored>| is.values().any(|other| other.place() == stored.place());
        let gone = own(before, &name).filter(|stored| !is.contains_key(&stored.key) && !said_by_another(stored));
        let gone = gone.map(|stored| (Kind::Gone(why(&stored.key)), stored));
        let differs = |stored: &&Arc<Stored>| was.get(&stored.key).is_none_or(|was| was.entry != stored.entry);
        let put = own(after, &name).filter(differs).map(|stored| (Kind::Put, stored));
        // Gone first: what takes its place at one name is the last word.
        for (kind, stored) in gone.chain(put) {
            let Some(service) = &stored.service else { continue };
            number += 1;
            all.push(Arc::new(Change {
                number,
                part,
                revision: batch.revision,
                at: after.position(),
                service: Arc::clone(service),
                kind,
                instance: Arc::clone(stored),
            }));
        }
    }
    all
}

/// The names that a batch touches, each once.
fn names(before: &Snapshot, after: &Snapshot, batch: &Batch) -> Vec<Name> {
    let mut names = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        let (Written::Delete(key) | Written::Put(crate::store::Item { key, .. })) = change;
        // A key of the SkyDNS layout always spells the same; one of hound-dog's may have moved.
        let (was, is) = (before.name(key), after.name(key));
        names.extend(was.clone());
        names.extend(is.filter(|is| was.as_ref() != Some(is)));
    }
    if names.len() > 1 {
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    names
}

fn own<'s>(snapshot: &'s Snapshot, name: &Name) -> impl Iterator<Item = &'s Arc<Stored>> {
    snapshot.node(name).into_iter().flat_map(super::node::Node::own)
}
