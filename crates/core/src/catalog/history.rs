//! The recent changes, in order, and the decision whether a reader can be resumed at its position.
//!
//! A reader is resumed if the window of recent changes holds exactly the changes that it misses. In all other cases
//! [`History::after`] returns [`NotRemembered`], and the reader starts over with the complete set (a reset):
//!
//! | the reader's position | result |
//! |---|---|
//! | before the window (`since`) | reset: some of its changes were dropped |
//! | after the current snapshot | reset: of another history, or of a daemon that is ahead |
//! | within a jump | reset: a listing skipped revisions of which the reader may have received a part |
//! | with another state digest than this history had there | reset: the store was restored from a backup meanwhile |
//! | any other | resumed with the changes of the window after it |
//!
//! Each step of the catalog is recorded by its source (`StepSource`) and its revisions:
//!
//! | source | revision | effect |
//! |---|---|---|
//! | any | lower than before | reset of the history: the store was restored from a backup |
//! | any, with more changes than the window holds | any | reset of the history (`History::reset`) |
//! | feed | higher | the changes are appended |
//! | listing | the next one | the same: nothing was skipped |
//! | listing | the same as before | the listing added changes that a feed had lost: every reader at it or before it resets |
//! | listing | skips revisions | a jump |
//!
//! Owns: the window, the jumps and the digests at recent revisions. Does not own: the changes of a batch
//! (`super::changes`), the subscribers (the `events` module). Synchronous; no clock.

use super::changes::Change;
use super::digest::{DIGESTS_MAX, DigestHistory, PartState};
use super::position::{Part, PerPart, Position, Revisions};
use skyhound_store::Revision;
use std::collections::VecDeque;
use std::sync::Arc;

/// The number of changes in the window. A reader that misses more receives the complete set.
pub const WINDOW: usize = 8192;

/// The number of jumps that are remembered; a reader before the oldest of more than these resets.
const JUMPS_MAX: usize = 64;

const _: () = assert!(DIGESTS_MAX > WINDOW, "each change needs the digest before it");

/// The source of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepSource {
    /// A batch of a feed.
    Feed,
    /// The difference to a full listing.
    Listing,
}

/// A step of the catalog from one revision of a part to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) part: Part,
    pub(super) source: StepSource,
    pub(super) from: Revision,
    pub(super) to: Revision,
}

/// The recent changes.
#[derive(Debug, Default)]
pub struct History {
    window: VecDeque<Arc<Change>>,
    /// The lowest revisions from which the window is complete.
    since: Revisions,
    jumps: VecDeque<Jump>,
    digests: PerPart<DigestHistory>,
}

/// Revisions that a listing skipped. An instance that was added and removed between them is in no change, so a reader
/// that received a part of them from another daemon cannot receive the rest.
#[derive(Debug)]
struct Jump {
    part: Part,
    from: Revision,
    to: Revision,
}

impl Jump {
    fn contains(&self, at: Revisions) -> bool {
        self.from < at[self.part] && at[self.part] < self.to
    }
}

/// The changes after a reader's position are not in the window: the reader needs the complete set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRemembered;

impl History {
    /// Returns the changes after a position, in order; `now` is the position of the current snapshot.
    pub fn after(&self, at: Position, now: Position) -> Result<impl Iterator<Item = &Arc<Change>>, NotRemembered> {
        let is_resumable = at.revisions.covers(self.since)
            && now.covers(at)
            && !self.jumps.iter().any(|jump| jump.contains(at.revisions))
            && self.digest(at.revisions) == Some(at.digest);
        let changes = self.window.iter().filter(move |change| change.revision > at.revisions[change.part]);
        is_resumable.then_some(changes).ok_or(NotRemembered)
    }

    /// Returns the state digest that this history had at these revisions; `None` if they are too old.
    fn digest(&self, at: Revisions) -> Option<u64> {
        let primary = self.digests.primary.at(at.primary)?;
        let mirror = self.digests.mirror.at(at.mirror)?;
        Some(primary.combine(mirror))
    }

    /// Returns the changes with numbers above this one; `None` if some of them are no longer in the window.
    pub fn numbered(&self, after: u64) -> Option<impl Iterator<Item = &Arc<Change>>> {
        let first = self.window.front().map_or(after + 1, |change| change.number);
        let skip = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        (first <= after + 1).then(|| self.window.iter().skip(skip))
    }

    /// Records a step and its changes; `now` is the state after it.
    pub(super) fn record(&mut self, step: Step, changes: &[Arc<Change>], now: &PerPart<PartState>) {
        if step.to < step.from {
            self.reset(now);
        } else if step.source == StepSource::Listing {
            self.record_listing(step);
        }
        self.digests[step.part].push(now[step.part]);
        self.window.extend(changes.iter().cloned());
        while self.window.len() > WINDOW {
            if let Some(dropped) = self.window.pop_front() {
                self.since = self.since.max(dropped.at.revisions);
            }
        }
    }

    fn record_listing(&mut self, Step { part, from, to, .. }: Step) {
        if from == to {
            self.require(part, Revision(to.0 + 1));
        } else if from.0 + 1 < to.0 {
            self.jumps.push_back(Jump { part, from, to });
        }
        if self.jumps.len() > JUMPS_MAX
            && let Some(oldest) = self.jumps.pop_front()
        {
            self.require(oldest.part, oldest.to);
        }
    }

    /// Makes readers reset that have not received a part up to this revision.
    fn require(&mut self, part: Part, revision: Revision) {
        self.since[part] = self.since[part].max(revision);
    }

    /// Drops everything: every reader resets to the state `now`.
    pub(super) fn reset(&mut self, now: &PerPart<PartState>) {
        *self = Self {
            since: now.revisions(),
            digests: PerPart {
                primary: DigestHistory::starting_at(now.primary),
                mirror: DigestHistory::starting_at(now.mirror),
            },
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(primary: u64) -> Position {
        position(primary, 0)
    }

    fn position(primary: u64, mirror: u64) -> Position {
        let revisions = Revisions { primary: Revision(primary), mirror: Revision(mirror) };
        Position { revisions, digest: 0 }
    }

    fn resumes(history: &History, reader: u64) -> bool {
        history.after(at(reader), at(1000)).is_ok()
    }

    fn listing(history: &mut History, part: Part, from: u64, to: u64) {
        let (from, to) = (Revision(from), Revision(to));
        history.record_listing(Step { part, source: StepSource::Listing, from, to });
    }

    #[test]
    fn no_position_within_a_jump_is_resumed() {
        let mut history = History::default();
        listing(&mut history, Part::Primary, 10, 20);
        listing(&mut history, Part::Mirror, 1, 500);
        let resumed: Vec<_> = [9, 10, 11, 19, 20, 21].into_iter().filter(|reader| resumes(&history, *reader)).collect();
        assert_eq!(resumed, [9, 10, 20, 21]);
        assert!(history.after(position(30, 7), position(1000, 500)).is_err());
    }

    #[test]
    fn positions_within_forgotten_jumps_are_not_resumed() {
        let mut history = History::default();
        for n in 0..=JUMPS_MAX as u64 {
            listing(&mut history, Part::Primary, n * 10, n * 10 + 5);
        }
        assert!(!resumes(&history, 0) && !resumes(&history, 4) && resumes(&history, 5) && !resumes(&history, 11));
    }

    #[test]
    fn a_repair_by_comparison_resets_every_reader() {
        let mut history = History::default();
        listing(&mut history, Part::Primary, 10, 10);
        assert!(!resumes(&history, 10) && resumes(&history, 11));
    }
}
