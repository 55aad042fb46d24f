//! The conversion of a watch's responses to batches: a pure function of the responses so far.
//!
//! Owns: the contract of a feed. All changes of a revision are in one batch, in order, none twice; an empty batch is
//! produced only after everything up to its revision was delivered. Does not own: the watch itself.
//!
//! etcd puts whole revisions into a response, but splits a long response into fragments at any event; all fragments but
//! the last are flagged. Fragments are therefore joined before a batch is produced.

use super::list::item;
use super::txn::revision;
use crate::{Batch, Change, Revision, StoreError};
use etcd_client::EventType;
use etcd_client::proto::{PbEvent, PbWatchResponse};
use skyhound_model::Key;

/// The watch id of a response to a progress request, which concerns all watches of a stream.
const PROGRESS_WATCH_ID: i64 = -1;

/// The batches of one watch.
#[derive(Debug)]
pub(super) struct Batches {
    /// Revision up to which everything was delivered.
    delivered: Revision,
    /// Responses to progress requests are ordered with the events ([`super::progress`]).
    trust_progress: bool,
    /// Events of a response whose last fragment has not arrived.
    pending: Vec<PbEvent>,
}

impl Batches {
    /// Creates the batches of a watch that begins after `delivered`.
    pub(super) fn new(delivered: Revision, trust_progress: bool) -> Self {
        Self { delivered, trust_progress, pending: Vec::new() }
    }

    /// Returns the batches that a response completes. An error ends the feed.
    pub(super) fn take(&mut self, response: PbWatchResponse) -> Result<Vec<Batch>, StoreError> {
        if response.compact_revision > 0 {
            return Err(StoreError::Compacted(self.delivered));
        }
        if response.canceled {
            return Err(StoreError::FeedLost(format!("etcd canceled the watch: {}", response.cancel_reason)));
        }
        if response.events.is_empty() && self.pending.is_empty() {
            return Ok(self.progress(&response).into_iter().collect());
        }
        self.pending.extend(response.events);
        if response.fragment {
            return Ok(Vec::new());
        }
        let mut batches: Vec<Batch> = Vec::new();
        for event in std::mem::take(&mut self.pending) {
            let (at, change) = change(event)?;
            match batches.last_mut() {
                Some(batch) if batch.revision == at => batch.changes.push(change),
                _ if at > self.delivered => {
                    self.delivered = at;
                    batches.push(Batch { revision: at, changes: vec![change] });
                }
                // etcd before 3.4.25 and 3.5.8 may go back after a member lagged (pull request 15515).
                _ => return Err(StoreError::FeedLost(format!("etcd sent revision {at} after {}", self.delivered))),
            }
        }
        Ok(batches)
    }

    /// Returns the empty batch for a response without events, if its revision is higher than the last.
    fn progress(&mut self, response: &PbWatchResponse) -> Option<Batch> {
        // Notifications that etcd sends on its own pass through the watch's queue and are always in order.
        if response.watch_id == PROGRESS_WATCH_ID && !self.trust_progress {
            return None;
        }
        let at = revision(response.header.as_ref()?.revision);
        // It is lower than `delivered` if the member lags behind the one that served the list.
        if at <= self.delivered || response.created {
            return None;
        }
        self.delivered = at;
        Some(Batch { revision: at, changes: Vec::new() })
    }
}

fn change(event: PbEvent) -> Result<(Revision, Change), StoreError> {
    let malformed = || StoreError::FeedLost("etcd sent an event of an unknown type or without a key".into());
    let pair = event.kv.ok_or_else(malformed)?;
    let at = revision(pair.mod_revision);
    match EventType::try_from(event.r#type) {
        Ok(EventType::Put) => Ok((at, Change::Put(item(pair)))),
        Ok(EventType::Delete) => Ok((at, Change::Delete(Key::from(pair.key)))),
        Err(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::{PbKeyValue, PbResponseHeader};
    use proptest::prelude::*;

    fn put(key: &str, revision: i64) -> PbEvent {
        let pair = PbKeyValue { key: key.into(), mod_revision: revision, ..PbKeyValue::default() };
        PbEvent { r#type: 0, kv: Some(pair), prev_kv: None }
    }

    fn events(events: Vec<PbEvent>, fragment: bool) -> PbWatchResponse {
        PbWatchResponse { events, fragment, ..PbWatchResponse::default() }
    }

    fn progress(watch_id: i64, revision: i64) -> PbWatchResponse {
        let header = Some(PbResponseHeader { revision, ..PbResponseHeader::default() });
        PbWatchResponse { header, watch_id, ..PbWatchResponse::default() }
    }

    fn shape(batches: &[Batch]) -> Vec<(u64, usize)> {
        batches.iter().map(|batch| (batch.revision.0, batch.changes.len())).collect()
    }

    #[test]
    fn a_revision_split_over_fragments_is_one_batch() {
        let mut batches = Batches::new(Revision(4), false);
        assert_eq!(batches.take(events(vec![put("a", 5), put("a", 6)], true)).unwrap(), []);
        assert_eq!(batches.take(events(vec![put("b", 6)], true)).unwrap(), []);
        let assembled = batches.take(events(vec![put("c", 6), put("a", 9)], false)).unwrap();
        assert_eq!(shape(&assembled), [(5, 1), (6, 3), (9, 1)]);
    }

    #[test]
    fn a_revision_that_goes_back_ends_the_feed() {
        let mut batches = Batches::new(Revision(4), false);
        batches.take(events(vec![put("a", 5)], false)).unwrap();
        assert!(matches!(batches.take(events(vec![put("b", 5)], false)), Err(StoreError::FeedLost(_))));
    }

    #[test]
    fn progress_is_reported_only_when_it_is_ordered() {
        let mut old = Batches::new(Revision(4), false);
        assert_eq!(old.take(progress(PROGRESS_WATCH_ID, 9)).unwrap(), []);
        assert_eq!(shape(&old.take(progress(0, 7)).unwrap()), [(7, 0)]);
        assert_eq!(old.take(progress(0, 7)).unwrap(), []);
        let mut new = Batches::new(Revision(4), true);
        assert_eq!(shape(&new.take(progress(PROGRESS_WATCH_ID, 9)).unwrap()), [(9, 0)]);
        assert_eq!(new.take(progress(PROGRESS_WATCH_ID, 3)).unwrap(), [], "from a member that lags");
    }

    #[test]
    fn compaction_and_cancellation_are_distinguished() {
        let compacted = PbWatchResponse { compact_revision: 8, canceled: true, ..PbWatchResponse::default() };
        assert!(matches!(Batches::new(Revision(4), false).take(compacted), Err(StoreError::Compacted(Revision(4)))));
        let canceled = PbWatchResponse { canceled: true, ..PbWatchResponse::default() };
        assert!(matches!(Batches::new(Revision(4), false).take(canceled), Err(StoreError::FeedLost(_))));
    }

    proptest! {
        /// Any split of a response into fragments gives the same batches.
        #[test]
        fn fragments_do_not_change_the_batches(sizes in prop::collection::vec(1usize..5, 1..8), cuts in prop::collection::vec(1usize..6, 1..20)) {
            let mut all = Vec::new();
            for (at, size) in sizes.iter().enumerate() {
                let revision = i64::try_from(at).unwrap() + 1;
                all.extend((0..*size).map(|n| put(&format!("k{n}"), revision)));
            }
            let whole = Batches::new(Revision(0), false).take(events(all.clone(), false)).unwrap();
            let mut pieces = Batches::new(Revision(0), false);
            let mut assembled = Vec::new();
            let mut cuts = cuts.into_iter().cycle();
            while !all.is_empty() {
                let piece: Vec<_> = all.drain(..cuts.next().unwrap().min(all.len())).collect();
                let more = !all.is_empty();
                assembled.extend(pieces.take(events(piece, more)).unwrap());
            }
            prop_assert_eq!(shape(&whole).len(), sizes.len());
            prop_assert_eq!(assembled, whole);
        }
    }
}
