//! Which node has how many members of which queue, and whose turn a message is: pure, and so the same on every node.
//!
//! Every node follows memberships and messages in one order. So at the revision of a message all of them know the same
//! members, and need not talk to agree on the one that delivers it.

use skyhound_base::hash::splitmix64;
use skyhound_store::{Item, LeaseId, Revision};
use std::collections::{BTreeMap, HashMap};

/// The memberships of all nodes, as they are at one revision.
#[derive(Debug)]
pub(super) struct Members {
    /// This node.
    node: Box<str>,
    /// The nodes of each queue, in the order of their names, and how many members each has; never 0.
    queues: HashMap<Box<str>, BTreeMap<Box<str>, u32>>,
    /// What the store has of this node's own.
    own: BTreeMap<Box<str>, u32>,
}

impl Members {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.into(), queues: HashMap::new(), own: BTreeMap::new() }
    }

    /// Nobody is a member of anything, as far as is known.
    pub(super) fn clear(&mut self) {
        (self.queues, self.own) = (HashMap::new(), BTreeMap::new());
    }

    /// A node has so many members of a queue. Says whether it is this node.
    pub(super) fn set(&mut self, queue: &str, node: &str, count: u32) -> bool {
        let own = *node == *self.node;
        if count > 0 {
            self.queues.entry(queue.into()).or_default().insert(node.into(), count);
        } else if let Some(nodes) = self.queues.get_mut(queue) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.queues.remove(queue);
            }
        }
        match (own, count) {
            (false, _) => {}
            (true, 0) => drop(self.own.remove(queue)),
            (true, _) => drop(self.own.insert(queue.into(), count)),
        }
        own
    }

    /// The queues that this node is known to have members of.
    pub(super) fn own(&self) -> &BTreeMap<Box<str>, u32> {
        &self.own
    }

    /// Whether it is for this node to deliver the message of a revision to one of a queue. In the long run each node
    /// gets as many of them as it has members.
    pub(super) fn is_ours(&self, queue: &str, message: Revision) -> bool {
        let Some(nodes) = self.queues.get(queue) else { return false };
        let all: u64 = nodes.values().map(|count| u64::from(*count)).sum();
        let mut turn = mixed(message.0) % all;
        let drawn = nodes.iter().find(|(_, count)| {
            let here = turn < u64::from(**count);
            turn = turn.saturating_sub(u64::from(**count));
            here
        });
        drawn.is_some_and(|(node, _)| *node == self.node)
    }
}

/// How many members a stored membership says; 0 when it is none. One that hangs on no daemon's lease would stay for
/// ever, and messages would go to it.
pub(super) fn count(item: &Item) -> u32 {
    let ours = item.lease.is_some_and(LeaseId::is_ours);
    let text = str::from_utf8(&item.value).ok().filter(|_| ours);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Revisions come in steps that have a rhythm (a message on every second one, say), which a remainder alone would
/// show. This is the last step of `SplitMix64`. It may never change: nodes of two versions would not agree.
fn mixed(revision: u64) -> u64 {
    splitmix64(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 3] = ["a", "b", "c"];

    /// The same memberships as each node sees them.
    fn views(counts: [u32; 3]) -> Vec<Members> {
        let view = |node: &&str| {
            let mut members = Members::new(node);
            for (node, count) in NODES.iter().zip(counts) {
                members.set("t/q", node, count);
            }
            members
        };
        NODES.iter().map(view).collect()
    }

    #[test]
    fn one_node_delivers_each_message_and_each_its_share() {
        for (counts, step) in [([1, 1, 1], 1), ([1, 2, 1], 2), ([1, 0, 3], 64), ([2, 2, 0], 1000)] {
            let views = views(counts);
            let mut got = [0_u32; 3];
            for message in 1..=4000 {
                let ours: Vec<_> = views.iter().map(|view| view.is_ours("t/q", Revision(message * step))).collect();
                assert_eq!(ours.iter().filter(|ours| **ours).count(), 1, "{counts:?} {message}");
                got[ours.iter().position(|ours| *ours).unwrap()] += 1;
            }
            let all: u32 = counts.iter().sum();
            for (got, count) in got.iter().zip(counts) {
                assert!(got.abs_diff(4000 * count / all) < 200, "{counts:?}, {step} apart: {got:?}");
            }
        }
    }

    /// Of another version, too.
    #[test]
    fn nodes_of_all_versions_agree() {
        assert_eq!([1, 2, 1_000_000].map(mixed), [0x910a_2dec_8902_5cc1, 0x9758_35de_1c97_56ce, mixed(1_000_000)]);
        let [a, b, c] = &views([1, 1, 1])[..] else { panic!() };
        let drawn: String = (1..=12)
            .map(|at| match [a, b, c].map(|view| view.is_ours("t/q", Revision(at))) {
                [true, false, false] => 'a',
                [false, true, false] => 'b',
                _ => 'c',
            })
            .collect();
        assert_eq!(drawn, "cbabccabbbaa", "as it was from the first version on");
    }

    #[test]
    fn a_node_without_members_receives_nothing() {
        let mut members = Members::new("a");
        assert!(!members.is_ours("t/q", Revision(1)));
        assert!(members.set("t/q", "a", 2) && !members.set("t/q", "b", 1));
        assert!(members.set("t/q", "a", 0) && members.own().is_empty());
        assert!((1..100).all(|at| !members.is_ours("t/q", Revision(at))));
        assert!(!members.set("t/q", "b", 0) && members.queues.is_empty());
    }

    #[test]
    fn malformed_memberships_count_as_none() {
        let item =
            |value: &str, lease| Item { key: "k".into(), value: value.to_owned().into(), revision: Revision(1), lease };
        let ours = Some(LeaseId::random());
        let values = [
            ("3", ours),
            ("0", ours),
            ("-1", ours),
            ("", ours),
            ("4294967296", ours),
            ("3", None),
            ("3", Some(LeaseId(7))),
        ];
        assert_eq!(values.map(|(value, lease)| count(&item(value, lease))), [3, 0, 0, 0, 0, 0, 0]);
    }
}
