//! Which entries a name answers with.
//!
//! `SkyDNS` rules: a name answers with every entry below it, and only when there is none with its own; the
//! boundary is the label; `*` or `any` as a label matches any label at its place; the `group` of the
//! shallowest entries rules. Owns those rules and the bound on how much one question looks at. Does not
//! own: what becomes of the entries ([`super::rrset`]).

use super::settings::DnsSettings;
use skyhound_core::catalog::{Node, Snapshot, Stored};
use skyhound_model::{Label, Name};
use std::cell::Cell;

/// An entry with its own name, as labels from the root.
#[derive(Clone)]
pub(super) struct Hit<'s> {
    pub path: Box<[&'s Label]>,
    pub stored: &'s Stored,
}

/// A node that a name led to, and the labels that lead there.
type Match<'s> = (Vec<&'s Label>, &'s Node);

/// What stands at a name.
pub(super) enum Found<'s> {
    /// Entries. None of them when a wildcard matched no label although its base exists.
    Entries(Vec<Hit<'s>>),
    /// Values that are no entries, and nothing else.
    Quarantined,
    /// Nothing at it or below it.
    Nothing,
}

/// One question's view of the tree.
pub(super) struct Search<'s> {
    pub snapshot: &'s Snapshot,
    pub settings: &'s DnsSettings,
    /// Where in a set the answer begins.
    pub rotation: u64,
    /// The most records that the answer section takes.
    pub answers_max: usize,
    /// How many more entries may be looked at. Aliases fan out: without it eight levels of a hundred each
    /// would be walked in full for one datagram.
    budget: Cell<usize>,
}

/// What of a matched node answers.
#[derive(Clone, Copy)]
enum Part {
    /// All below it, or its own when there is nothing below: for a name without wildcards.
    BelowElseOwn,
    /// All below it: the name ended in a wildcard, which has to match a label.
    Below,
    /// Its own and all below it: a wildcard stood further up.
    All,
}

impl Part {
    /// How many entries that is, and whether the node's own are among them.
    fn of(self, node: &Node) -> (usize, bool) {
        let own = node.own().count();
        match self {
            Self::All => (node.entries(), true),
            Self::BelowElseOwn if node.entries() == own => (own, true),
            Self::BelowElseOwn | Self::Below => (node.entries() - own, false),
        }
    }
}

impl<'s> Search<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, settings: &'s DnsSettings, rotation: u64) -> Self {
        let budget = Cell::new(4 * settings.entries_max);
        Self { snapshot, settings, rotation, answers_max: settings.entries_max, budget }
    }

    /// The entries that a name answers with.
    pub(super) fn find(&self, name: &'s Name) -> Found<'s> {
        let Some((matched, part)) = self.matched(name) else { return Found::Nothing };
        let hits = self.gather(&matched, part);
        if hits.is_empty() && matched.iter().any(|(_, node)| node.quarantined() > 0) {
            return Found::Quarantined;
        }
        Found::Entries(grouped(hits))
    }

    /// The same before the group rule, and how many there are in all.
    pub(super) fn candidates(&self, name: &'s Name) -> Option<(Vec<Hit<'s>>, usize)> {
        let (matched, part) = self.matched(name)?;
        let total = matched.iter().map(|(_, node)| part.of(node).0).sum();
        Some((self.gather(&matched, part), total))
    }

    /// The nodes that a name leads to, with the labels that lead there.
    fn matched(&self, name: &'s Name) -> Option<(Vec<Match<'s>>, Part)> {
        let labels = name.labels();
        let first_wildcard = labels.iter().position(|label| label.wildcard().is_some());
        let base = first_wildcard.unwrap_or(labels.len());
        let mut path: Vec<&Label> = labels[..base].iter().collect();
        let node = labels[..base].iter().try_fold(self.snapshot.root(), |node, label| below(node, label))?;
        let (rest, part) = match (&labels[base..], labels.last()) {
            ([], _) => (&labels[base..], Part::BelowElseOwn),
            // `*.x` is what stands below `x`: no need to visit each of what may be many names there.
            (rest, Some(last)) if last.wildcard().is_some() => (&rest[..rest.len() - 1], Part::Below),
            (rest, _) => (rest, Part::All),
        };
        let mut matched = Vec::new();
        matches(node, rest, &mut path, &mut matched, self.settings.entries_max);
        Some((matched, part))
    }

    /// The entries at exactly this name.
    pub(super) fn own(&self, name: &Name) -> impl Iterator<Item = &'s Stored> + use<'s> {
        self.snapshot.node(name).into_iter().flat_map(Node::own).map(AsRef::as_ref)
    }

    /// All entries of the matched nodes; of more than may be looked at, a window that the rotation moves.
    fn gather(&self, matched: &[Match<'s>], part: Part) -> Vec<Hit<'s>> {
        let total: usize = matched.iter().map(|(_, node)| part.of(node).0).sum();
        let most = total.min(self.settings.entries_max).min(self.budget.get());
        self.budget.set(self.budget.get().saturating_sub(most + matched.len()));
        let start = if most < total { usize::try_from(self.rotation % total as u64).unwrap_or(0) } else { 0 };
        let mut window = Window { skip: start, left: most, hits: Vec::with_capacity(most) };
        for _ in 0..2 {
            // The second round takes from the front what the end of the set had no more of.
            for (path, node) in matched {
                window.take(node, &mut path.clone(), part.of(node).1);
            }
            window.skip = 0;
            if window.left == 0 {
                break;
            }
        }
        window.hits
    }
}

fn below<'s>(node: &'s Node, label: &Label) -> Option<&'s Node> {
    node.child(label.as_bytes()).map(AsRef::as_ref)
}

/// The nodes that `rest` leads to, wildcards matching any label.
fn matches<'s>(
    node: &'s Node,
    rest: &'s [Label],
    path: &mut Vec<&'s Label>,
    matched: &mut Vec<Match<'s>>,
    most: usize,
) {
    let Some((first, rest)) = rest.split_first() else {
        matched.push((path.clone(), node));
        return;
    };
    if first.wildcard().is_none() {
        if let Some(child) = below(node, first) {
            path.push(first);
            matches(child, rest, path, matched, most);
            path.pop();
        }
        return;
    }
    for (label, child) in node.children() {
        if matched.len() >= most {
            return;
        }
        path.push(label);
        matches(child, rest, path, matched, most);
        path.pop();
    }
}

/// A stretch of the entries in the order of the walk.
struct Window<'s> {
    skip: usize,
    left: usize,
    hits: Vec<Hit<'s>>,
}

impl<'s> Window<'s> {
    fn take(&mut self, node: &'s Node, path: &mut Vec<&'s Label>, own: bool) {
        if own {
            for stored in node.own() {
                if self.skip > 0 {
                    self.skip -= 1;
                } else if self.left > 0 {
                    self.left -= 1;
                    self.hits.push(Hit { path: path.as_slice().into(), stored });
                }
            }
        }
        for (label, child) in node.children() {
            if self.left == 0 {
                return;
            }
            // Nodes know their counts, so that what is skipped is not walked.
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

/// Applies the group rule. Entries without a group always count. When the shallowest entries that have a
/// group disagree with each other, or none of the shallowest has one, there is no grouping.
pub(super) fn grouped(mut hits: Vec<Hit<'_>>) -> Vec<Hit<'_>> {
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
