//! The entries that a name is answered with.
//!
//! `SkyDNS` rules: a name is answered with every entry below it, and with its own entries only when there are none
//! below; the boundary is the label; `*` or `any` as a label matches any label at its position; of groups, the one of
//! the shallowest entries counts. Owns those rules, the default priority, and the limit on the entries that one
//! question reads. Does not own: the records of the entries ([`super::rrset`]).

use super::settings::DnsSettings;
use skyhound_core::catalog::{Node, Snapshot, StoredEntry};
use skyhound_model::{Label, Name};
use std::cell::Cell;

/// The priority of an entry without one (`SkyDNS`, `CoreDNS`).
const PRIORITY: u16 = 10;

/// An entry with its name, as labels from the root.
#[derive(Clone)]
pub(super) struct Hit<'s> {
    pub path: Box<[&'s Label]>,
    pub stored: &'s StoredEntry,
}

impl Hit<'_> {
    /// The priority in records; lower is better.
    pub(super) fn priority(&self) -> u16 {
        if self.stored.entry.priority == 0 { PRIORITY } else { self.stored.entry.priority }
    }
}

/// A node that a name matches, and its labels from the root.
type Match<'s> = (Vec<&'s Label>, &'s Node);

/// The result of a search.
pub(super) enum Found<'s> {
    /// Entries. Empty when a wildcard matched no label although its base exists.
    Entries(Vec<Hit<'s>>),
    /// Quarantined values and no entry.
    Quarantined,
    /// Nothing at the name or below it.
    Nothing,
}

/// The view of one question on the tree.
pub(super) struct Search<'s> {
    pub snapshot: &'s Snapshot,
    pub settings: &'s DnsSettings,
    /// The offset at which the answer begins in a set.
    pub rotation: u64,
    /// The limit of records in the answer section.
    pub answers_max: usize,
    /// The number of entries that may still be read. Aliases fan out: without this limit eight levels of a hundred
    /// each would be walked in full for one datagram.
    budget: Cell<usize>,
}

/// The entries of a matched node that count.
#[derive(Clone, Copy)]
enum Coverage {
    /// Those below the node, or its own when there are none below: for a name without wildcards.
    DescendantsElseOwn,
    /// Those below the node: the name ends in a wildcard, which has to match a label.
    Descendants,
    /// Its own and those below it: the name has a wildcard further up.
    Subtree,
}

impl Coverage {
    /// The number of these entries, and whether the node's own are among them.
    fn of(self, node: &Node) -> (usize, bool) {
        let own = node.own().count();
        match self {
            Self::Subtree => (node.entries(), true),
            Self::DescendantsElseOwn if node.entries() == own => (own, true),
            Self::DescendantsElseOwn | Self::Descendants => (node.entries() - own, false),
        }
    }
}

impl<'s> Search<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, settings: &'s DnsSettings, rotation: u64) -> Self {
        let budget = Cell::new(4 * settings.entries_max);
        Self { snapshot, settings, rotation, answers_max: settings.entries_max, budget }
    }

    /// The entries that a name is answered with.
    pub(super) fn find(&self, name: &'s Name) -> Found<'s> {
        let Some((matching_nodes, coverage)) = self.matching_nodes(name) else { return Found::Nothing };
        let hits = self.collect(&matching_nodes, coverage);
        if hits.is_empty() && matching_nodes.iter().any(|(_, node)| node.quarantined() > 0) {
            return Found::Quarantined;
        }
        Found::Entries(apply_group_rule(hits))
    }

    /// The same entries before the group rule, and the number of entries without the limit.
    pub(super) fn candidates(&self, name: &'s Name) -> Option<(Vec<Hit<'s>>, usize)> {
        let (matching_nodes, coverage) = self.matching_nodes(name)?;
        let total = matching_nodes.iter().map(|(_, node)| coverage.of(node).0).sum();
        Some((self.collect(&matching_nodes, coverage), total))
    }

    /// The nodes that a name matches, and which of their entries count.
    fn matching_nodes(&self, name: &'s Name) -> Option<(Vec<Match<'s>>, Coverage)> {
        let labels = name.labels();
        let first_wildcard = labels.iter().position(|label| label.wildcard().is_some());
        let base = first_wildcard.unwrap_or(labels.len());
        let mut path: Vec<&Label> = labels[..base].iter().collect();
        let node = labels[..base].iter().try_fold(self.snapshot.root(), |node, label| child_of(node, label))?;
        let (rest, coverage) = match (&labels[base..], labels.last()) {
            ([], _) => (&labels[base..], Coverage::DescendantsElseOwn),
            // `*.x` is all below `x`: the possibly many names there need no visit each.
            (rest, Some(last)) if last.wildcard().is_some() => (&rest[..rest.len() - 1], Coverage::Descendants),
            (rest, _) => (rest, Coverage::Subtree),
        };
        let mut matching_nodes = Vec::new();
        collect_matching(node, rest, &mut path, &mut matching_nodes, self.settings.entries_max);
        Some((matching_nodes, coverage))
    }

    /// The entries at exactly this name.
    pub(super) fn entries_at(&self, name: &Name) -> impl Iterator<Item = &'s StoredEntry> + use<'s> {
        self.snapshot.node(name).into_iter().flat_map(Node::own).map(AsRef::as_ref)
    }

    /// All entries of the matched nodes; beyond the limit, a window of them that the rotation moves.
    fn collect(&self, matching_nodes: &[Match<'s>], coverage: Coverage) -> Vec<Hit<'s>> {
        let total: usize = matching_nodes.iter().map(|(_, node)| coverage.of(node).0).sum();
        let max = total.min(self.settings.entries_max).min(self.budget.get());
        self.budget.set(self.budget.get().saturating_sub(max + matching_nodes.len()));
        let start = if max < total { usize::try_from(self.rotation % total as u64).unwrap_or(0) } else { 0 };
        let mut window = Window { skip: start, remaining: max, hits: Vec::with_capacity(max) };
        for _ in 0..2 {
            // The second round fills the window from the front of the set when its end was reached.
            for (path, node) in matching_nodes {
                window.take(node, &mut path.clone(), coverage.of(node).1);
            }
            window.skip = 0;
            if window.remaining == 0 {
                break;
            }
        }
        window.hits
    }
}

fn child_of<'s>(node: &'s Node, label: &Label) -> Option<&'s Node> {
    node.child(label.as_bytes()).map(AsRef::as_ref)
}

/// Collects the nodes below `node` that the labels `rest` match.
fn collect_matching<'s>(
    node: &'s Node,
    rest: &'s [Label],
    path: &mut Vec<&'s Label>,
    matching_nodes: &mut Vec<Match<'s>>,
    max: usize,
) {
    let Some((first, rest)) = rest.split_first() else {
        matching_nodes.push((path.clone(), node));
        return;
    };
    if first.wildcard().is_none() {
        if let Some(child) = child_of(node, first) {
            path.push(first);
            collect_matching(child, rest, path, matching_nodes, max);
            path.pop();
        }
        return;
    }
    for (label, child) in node.children() {
        if matching_nodes.len() >= max {
            return;
        }
        path.push(label);
        collect_matching(child, rest, path, matching_nodes, max);
        path.pop();
    }
}

/// A contiguous part of the entries in the order of the walk.
struct Window<'s> {
    skip: usize,
    remaining: usize,
    hits: Vec<Hit<'s>>,
}

impl<'s> Window<'s> {
    fn take(&mut self, node: &'s Node, path: &mut Vec<&'s Label>, with_own: bool) {
        if with_own {
            for stored in node.own() {
                if self.skip > 0 {
                    self.skip -= 1;
                } else if self.remaining > 0 {
                    self.remaining -= 1;
                    self.hits.push(Hit { path: path.as_slice().into(), stored });
                }
            }
        }
        for (label, child) in node.children() {
            if self.remaining == 0 {
                return;
            }
            // Nodes store their counts, so that skipped subtrees are not walked.
            if self.skip >= child.entries() {
                self.skip -= child.entries();
                continue;
            }
            path.push(label);
            self.take(child, path, true);
            path.pop();
        }
    }
}

/// Applies the group rule: only entries of the group of the shallowest entries count, and entries without a group
/// always do. There is no grouping when the shallowest entries have different groups, or none of them has one.
pub(super) fn apply_group_rule(mut hits: Vec<Hit<'_>>) -> Vec<Hit<'_>> {
    if hits.iter().all(|hit| hit.stored.entry.group.is_empty()) {
        return hits;
    }
    let Some(depth) = hits.iter().map(|hit| hit.path.len()).min() else { return hits };
    let mut top = hits.iter().filter(|hit| hit.path.len() == depth).map(|hit| &hit.stored.entry.group);
    let Some(rules) = top.by_ref().find(|group| !group.is_empty()).cloned() else { return hits };
    if top.all(|group| group.is_empty() || *group == rules) {
        hits.retain(|hit| hit.stored.entry.group.is_empty() || hit.stored.entry.group == rules);
    }
    hits
}
