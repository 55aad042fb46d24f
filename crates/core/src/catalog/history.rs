//! What changed lately, in order: for listeners who come back and ask what happened since.
//!
//! A change is what readers see: an instance that appears, differs or is gone. What makes no difference to them (an
//! entry put again as it was, on another lease) is none. Each has a number, without gaps, and a [`Position`].
//!
//! Owns: which batch makes which changes, and the window of those that are remembered. Does not own: who listens
//! ([`crate::events`]). Synchronous; no clock.

use super::digest::DigestHistory;
use super::node::StoredEntry;
use super::snapshot::Snapshot;
use skyhound_model::{Key, Name, RemovalReason};
use skyhound_store::{Batch, Change as StoreChange, Revision};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How many changes are remembered. Whoever was away for longer gets the whole set.
pub const WINDOW: usize = 8192;

/// How many jumps are remembered; see [`History::jump`].
const JUMPS_MAX: usize = 64;

/// The parts of the store that are followed, each with a feed of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The SkyDNS layout.
    Own,
    /// The keys of hound-dog's peers.
    Foreign,
}

/// How far a reader is: the revision up to which it has each part, and what all of that comes to, so that it is told
/// from the same revision of another history. As text `107.5f…`, or `107-95.5f…` where two parts are followed; nothing
/// in it but an order between two of the same daemon's or the same etcd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// Of the SkyDNS layout.
    pub own: Revision,
    /// Of hound-dog's keys; 0 when they are not followed.
    pub foreign: Revision,
    /// The digest of both (`digest`).
    pub digest: u64,
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

    /// The nearest position that covers both, without its mark.
    fn and(self, other: Self) -> Self {
        Self { own: self.own.max(other.own), foreign: self.foreign.max(other.foreign), digest: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.foreign {
            Revision(0) => write!(f, "{}.{:x}", self.own, self.digest),
            foreign => write!(f, "{}-{foreign}.{:x}", self.own, self.digest),
        }
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is no position of a feed");
        let number = |text: &str| text.parse().map(Revision).map_err(|_| invalid());
        let (revisions, digest) = text.split_once('.').ok_or_else(invalid)?;
        let digest = u64::from_str_radix(digest, 16).map_err(|_| invalid())?;
        Ok(match revisions.split_once('-') {
            Some((own, foreign)) => Self { own: number(own)?, foreign: number(foreign)?, digest },
            None => Self { own: number(revisions)?, foreign: Revision(0), digest },
        })
    }
}

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It appeared, or describes itself anew.
    Put,
    /// It is gone, for this reason.
    Removed(RemovalReason),
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
    pub kind: ChangeKind,
    /// The instance, as it is now, or as it was last.
    pub instance: Arc<StoredEntry>,
}

/// The changes that are remembered.
#[derive(Debug, Default)]
pub struct History {
    window: VecDeque<Arc<Change>>,
    /// Where a reader has to be to be told the window and nothing else.
    since: Position,
    jumps: VecDeque<Jump>,
    own: DigestHistory,
    foreign: DigestHistory,
}

/// See [`History::jump`].
#[derive(Debug)]
struct Jump {
    part: Part,
    from: Revision,
    to: Revision,
}

impl Jump {
    fn spans(&self, at: Position) -> bool {
        self.from < at.part(self.part) && at.part(self.part) < self.to
    }
}

/// A reader's position is not in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRemembered;

impl History {
    /// What changed after a position, in order.
    pub fn after(&self, at: Position, now: Position) -> Result<impl Iterator<Item = &Arc<Change>>, NotRemembered> {
        if !at.covers(self.since) || !now.covers(at) || self.jumps.iter().any(|jump| jump.spans(at)) {
            return Err(NotRemembered);
        }
        let digests = self.own.at(at.own).zip(self.foreign.at(at.foreign));
        if digests.is_none_or(|(own, foreign)| own.combine(foreign) != at.digest) {
            return Err(NotRemembered);
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
                self.since = self.since.and(forgotten.at);
            }
        }
    }

    /// A listing led from one revision to another at once. What came and went between them is in no change, so that
    /// a reader who was told a part of it (by another daemon) cannot be told the rest.
    pub(super) fn jump(&mut self, part: Part, from: Revision, to: Revision) {
        if from == to {
            // It mended what a feed had lost: nobody who is here is known to have all.
            self.forget(part, to);
        } else if from.0 + 1 < to.0 {
            self.jumps.push_back(Jump { part, from, to });
        }
        if self.jumps.len() > JUMPS_MAX
            && let Some(oldest) = self.jumps.pop_front()
        {
            *self.since.part_mut(oldest.part) = self.since.part(oldest.part).max(oldest.to);
        }
    }

    /// Whoever is at this revision or before it takes the whole set.
    pub(super) fn forget(&mut self, part: Part, until: Revision) {
        *self.since.part_mut(part) = self.since.part(part).max(Revision(until.0 + 1));
    }

    /// What a part of the snapshot comes to, that is about to be the current one.
    pub(super) fn record_digest(&mut self, part: Part, now: &Snapshot) {
        let digests = match part {
            Part::Own => &mut self.own,
            Part::Foreign => &mut self.foreign,
        };
        digests.push(now.position().part(part), now.digest(part));
    }

    /// Forgets everything: whoever comes back takes the whole set of `now`.
    pub(super) fn reset(&mut self, now: &Snapshot) {
        self.window.clear();
        self.jumps.clear();
        self.since = now.position();
        self.own = DigestHistory::from(self.since.own, now.digest(Part::Own));
        self.foreign = DigestHistory::from(self.since.foreign, now.digest(Part::Foreign));
    }
}

/// The changes that lead from one snapshot to the next, which has `batch` of `part`. `reason` is asked about what is
/// gone.
pub(super) fn changes(
    before: &Snapshot,
    after: &Snapshot,
    part: Part,
    batch: &Batch,
    reason: impl Fn(&Key) -> RemovalReason,
) -> Vec<Arc<Change>> {
    let mut number = before.changes();
    let mut all = Vec::new();
    for name in names(before, after, batch) {
        let pairs = pairs(own(before, &name), own(after, &name));
        // What somebody else's key says now, at the same place, is not gone.
        let is_present = |location| pairs.iter().any(|(_, is)| is.is_some_and(|is| is.location() == location));
        let removed = pairs.iter().filter_map(|pair| match pair {
            (Some(was), None) if !is_present(was.location()) => Some((ChangeKind::Removed(reason(&was.key)), was)),
            _ => None,
        });
        // Rewritten into an instance of another service, or into none.
        let moved = pairs.iter().filter_map(|pair| match pair {
            (Some(was), Some(is)) if was.service != is.service => {
                Some((ChangeKind::Removed(RemovalReason::Deregistered), was))
            }
            _ => None,
        });
        let put = pairs.iter().filter_map(|pair| match pair {
            (Some(was), Some(is)) => (was.entry != is.entry).then_some((ChangeKind::Put, is)),
            (None, Some(is)) => Some((ChangeKind::Put, is)),
            _ => None,
        });
        // Gone first: what takes its place at one name is the last word.
        for (kind, stored) in removed.chain(moved).chain(put) {
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

/// What stood under a key, and what stands there now.
type Pair<'s> = (Option<&'s Arc<StoredEntry>>, Option<&'s Arc<StoredEntry>>);

/// One pair for each key. Both come in the order of keys, so that the cost grows with their number, however many keys
/// spell one name (a thousand can, in upper and lower case); nearly always there is one.
fn pairs<'s>(
    was: impl Iterator<Item = &'s Arc<StoredEntry>>,
    is: impl Iterator<Item = &'s Arc<StoredEntry>>,
) -> Vec<Pair<'s>> {
    let (mut was, mut is) = (was.peekable(), is.peekable());
    let mut pairs = Vec::new();
    loop {
        let order = match (was.peek(), is.peek()) {
            (Some(was), Some(is)) => was.key.cmp(&is.key),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return pairs,
        };
        pairs.push(match order {
            Ordering::Less => (was.next(), None),
            Ordering::Greater => (None, is.next()),
            Ordering::Equal => (was.next(), is.next()),
        });
    }
}

/// The names that a batch touches, each once.
fn names(before: &Snapshot, after: &Snapshot, batch: &Batch) -> Vec<Name> {
    let mut names = Vec::with_capacity(batch.changes.len());
    for change in &batch.changes {
        let (StoreChange::Delete(key) | StoreChange::Put(skyhound_store::Item { key, .. })) = change;
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

fn own<'s>(snapshot: &'s Snapshot, name: &Name) -> impl Iterator<Item = &'s Arc<StoredEntry>> {
    snapshot.node(name).into_iter().flat_map(super::node::Node::own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(own: u64) -> Position {
        Position { own: Revision(own), ..Position::default() }
    }

    fn knows(history: &History, reader: u64) -> bool {
        history.after(at(reader), at(1000)).is_ok()
    }

    #[test]
    fn no_position_within_a_jump_is_resumed() {
        let mut history = History::default();
        history.jump(Part::Own, Revision(10), Revision(20));
        history.jump(Part::Foreign, Revision(1), Revision(500));
        let known: Vec<_> = [9, 10, 11, 19, 20, 21].into_iter().filter(|reader| knows(&history, *reader)).collect();
        assert_eq!(known, [9, 10, 20, 21]);
        let mid = Position { foreign: Revision(7), ..at(30) };
        assert!(history.after(mid, Position { foreign: Revision(500), ..at(1000) }).is_err());
    }

    #[test]
    fn positions_within_forgotten_jumps_are_not_resumed() {
        let mut history = History::default();
        for n in 0..=JUMPS_MAX as u64 {
            history.jump(Part::Own, Revision(n * 10), Revision(n * 10 + 5));
        }
        assert!(!knows(&history, 0) && !knows(&history, 4) && knows(&history, 5) && !knows(&history, 11));
    }

    #[test]
    fn a_repair_by_comparison_resets_every_reader() {
        let mut history = History::default();
        history.jump(Part::Own, Revision(10), Revision(10));
        assert!(!knows(&history, 10) && knows(&history, 11));
    }

    /// Three keys that spell one name: one goes, one changes, one comes.
    #[test]
    fn changes_at_a_name_with_several_keys_are_ordered() {
        let item = |key: &str, port: u16, revision| skyhound_store::Item {
            key: Key::from(format!("/skydns/local/skydns/services/web/{key}")),
            value: format!(r#"{{"host":"10.0.0.1","port":{port}}}"#).into(),
            revision: Revision(revision),
            lease: None,
        };
        let put = |key, port, revision| StoreChange::Put(item(key, port, revision));
        let batch = |revision, changes| Batch { revision: Revision(revision), changes };
        let keyspace = Arc::new(super::super::Keyspace::new(skyhound_model::Naming::example(), None));
        let before = Snapshot::empty(keyspace).apply(&batch(1, vec![put("A", 1, 1), put("B", 2, 1), put("b", 3, 1)]));
        let removed = StoreChange::Delete(item("A", 1, 1).key);
        let next = batch(2, vec![removed, put("a", 4, 2), put("B", 5, 2), put("b", 3, 2), put("b/", 6, 2)]);
        let changes = changes(&before, &before.apply(&next), Part::Own, &next, |_| RemovalReason::Expired);
        let changed: Vec<_> =
            changes.iter().map(|change| (change.number, change.kind, change.instance.entry.port)).collect();
        let removed = ChangeKind::Removed(RemovalReason::Expired);
        assert_eq!(
            changed,
            [(1, removed, 1), (2, ChangeKind::Put, 4), (3, ChangeKind::Put, 5), (4, ChangeKind::Put, 6)]
        );
        // Somebody else's key says the same place now: nothing is gone.
        let next = batch(2, vec![StoreChange::Delete(item("b", 3, 1).key), put("b/", 3, 2)]);
        let changes = super::changes(&before, &before.apply(&next), Part::Own, &next, |_| RemovalReason::Deregistered);
        assert_eq!(changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [ChangeKind::Put]);
    }

    #[test]
    fn positions_round_trip() {
        for text in ["107.0", "107-95.ffffffffffffffff"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in ["", "-", "1", "1-2", "1-.0", "x.0", "1-2-3.0", "-1.0", "1.", "1.x", "1.0.0", "1.1ffffffffffffffff"]
        {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
