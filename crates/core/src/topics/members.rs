//! The members of queue groups on all nodes, and the choice of the node that delivers a message to a group.
//!
//! Every node receives memberships and messages in one order. At the revision of a message all nodes therefore know the
//! same members, and choose the same node without communication. Pure, so that every node computes the same.

use skyhound_base::hash::splitmix64;
use skyhound_store::{Item, LeaseId, Revision};
use std::collections::{BTreeMap, HashMap};

/// The memberships of all nodes at one revision.
#[derive(Debug)]
pub(super) struct Members {
    /// The name of this node.
    node: Box<str>,
    /// The nodes of each queue group, in the order of their names, with their numbers of members; never 0.
    queues: HashMap<Box<str>, BTreeMap<Box<str>, u32>>,
    /// This node's memberships in the store.
    stored_here: BTreeMap<Box<str>, u32>,
}

impl Members {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.into(), queues: HashMap::new(), stored_here: BTreeMap::new() }
    }

    /// Removes all memberships.
    pub(super) fn clear(&mut self) {
        (self.queues, self.stored_here) = (HashMap::new(), BTreeMap::new());
    }

    /// Sets the number of members of a node. Returns whether it is this node.
    pub(super) fn set(&mut self, queue: &str, node: &str, count: u32) -> bool {
        let is_here = *node == *self.node;
        if count > 0 {
            self.queues.entry(queue.into()).or_default().insert(node.into(), count);
        } else if let Some(nodes) = self.queues.get_mut(queue) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.queues.remove(queue);
            }
        }
        match (is_here, count) {
            (false, _) => {}
            (true, 0) => drop(self.stored_here.remove(queue)),
            (true, _) => drop(self.stored_here.insert(queue.into(), count)),
        }
        is_here
    }

    /// This node's memberships in the store, by queue group.
    pub(super) fn stored_here(&self) -> &BTreeMap<Box<str>, u32> {
        &self.stored_here
    }

    /// Returns whether this node delivers the message of a revision to a queue group. In the long run each node delivers
    /// a share in proportion to its members.
    pub(super) fn delivers_here(&self, queue: &str, message: Revision) -> bool {
        let Some(nodes) = self.queues.get(queue) else { return false };
        let all: u64 = nodes.values().map(|count| u64::from(*count)).sum();
        let mut member = mixed(message.0) % all;
        let chosen = nodes.iter().find(|(_, count)| {
            let found = member < u64::from(**count);
            member = member.saturating_sub(u64::from(**count));
            found
        });
        chosen.is_some_and(|(node, _)| *node == self.node)
    }
}

/// The number of members in a stored membership; 0 if it is not valid. A membership without a daemon's lease would stay
/// for ever, and messages would be lost to it.
pub(super) fn count(item: &Item) -> u32 {
    let has_lease = item.lease.is_some_and(LeaseId::is_ours);
    let text = str::from_utf8(&item.value).ok().filter(|_| has_lease);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Mixes the bits of a revision. Revisions of messages can be regular (every second one, for example), and a remainder
/// alone would then prefer some members. This is one step of `SplitMix64`. It must never change: nodes of two versions
/// would not agree.
fn mixed(revision: u64) -> u64 {
    splitmix64(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 3] = ["a", "b", "c"];

    /// The same memberships from the view of each node.
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
            let mut received = [0_u32; 3];
            for message in 1..=4000 {
                let message = Revision(message * step);
                let delivers: Vec<_> = views.iter().map(|view| view.delivers_here("t/q", message)).collect();
                assert_eq!(delivers.iter().filter(|delivers| **delivers).count(), 1, "{counts:?} {message}");
                received[delivers.iter().position(|delivers| *delivers).unwrap()] += 1;
            }
            let all: u32 = counts.iter().sum();
            for (received, count) in received.iter().zip(counts) {
                assert!(received.abs_diff(4000 * count / all) < 200, "{counts:?}, {step} apart: {received:?}");
            }
        }
    }

    /// Nodes of different versions work together, so these results are fixed.
    #[test]
    fn nodes_of_all_versions_agree() {
        assert_eq!([1, 2, 1_000_000].map(mixed), [0x910a_2dec_8902_5cc1, 0x9758_35de_1c97_56ce, mixed(1_000_000)]);
        let [a, b, c] = &views([1, 1, 1])[..] else { panic!() };
        let chosen: String = (1..=12)
            .map(|at| match [a, b, c].map(|view| view.delivers_here("t/q", Revision(at))) {
                [true, false, false] => 'a',
                [false, true, false] => 'b',
                _ => 'c',
            })
            .collect();
        assert_eq!(chosen, "cbabccabbbaa", "the choice of all versions");
    }

    #[test]
    fn a_node_without_members_receives_nothing() {
        let mut members = Members::new("a");
        assert!(!members.delivers_here("t/q", Revision(1)));
        assert!(members.set("t/q", "a", 2) && !members.set("t/q", "b", 1));
        assert!(members.set("t/q", "a", 0) && members.stored_here().is_empty());
        assert!((1..100).all(|at| !members.delivers_here("t/q", Revision(at))));
        assert!(!members.set("t/q", "b", 0) && members.queues.is_empty());
    }

    #[test]
    fn malformed_memberships_count_as_none() {
        let item =
            |value: &str, lease| Item { key: "k".into(), value: value.to_owned().into(), revision: Revision(1), lease };
        let lease = Some(LeaseId::random());
        let values = [
            ("3", lease),
            ("0", lease),
            ("-1", lease),
            ("", lease),
            ("4294967296", lease),
            ("3", None),
            ("3", Some(LeaseId(7))),
        ];
        assert_eq!(values.map(|(value, lease)| count(&item(value, lease))), [3, 0, 0, 0, 0, 0, 0]);
    }
}
