//! The child nodes of a node, by label.
//!
//! Owns: a representation in which few children are small and many children are changed cheaply. Nearly all nodes of a
//! large tree have none or a handful, and the smallest persistent map of those takes over a kilobyte; a few nodes have
//! thousands, and a copy of those for each change would cost as much as the whole service.

use super::node::Node;
use imbl::OrdMap;
use skyhound_model::Label;
use std::sync::Arc;

/// The limit of children in an array; more of them are a persistent map. At the length of the map's own nodes the map
/// gains nothing yet.
const FEW: usize = 16;

type Few = Box<[(Label, Arc<Node>)]>;

/// Child nodes in the order of their labels.
#[derive(Debug, Clone)]
pub(super) enum Children {
    /// Copied whole with each change, and exactly as long as needed.
    Few(Few),
    /// Shares all but the path to a change with the map before it. Never becomes an array again: a service that had many
    /// instances will have many.
    Many(Box<OrdMap<Label, Arc<Node>>>),
}

impl Default for Children {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

impl Children {
    pub(super) fn get(&self, label: &[u8]) -> Option<&Arc<Node>> {
        match self {
            Self::Few(few) => find(few, label).ok().map(|at| &few[at].1),
            Self::Many(many) => many.get(label),
        }
    }

    pub(super) fn get_mut(&mut self, label: &[u8]) -> Option<&mut Arc<Node>> {
        match self {
            Self::Few(few) => find(few, label).ok().map(|at| &mut few[at].1),
            Self::Many(many) => many.get_mut(label),
        }
    }

    /// The child of a label, which is created if it is missing.
    pub(super) fn get_or_new(&mut self, label: &Label) -> &mut Arc<Node> {
        if let Self::Few(few) = self
            && few.len() >= FEW
            && find(few, label.as_bytes()).is_err()
        {
            *self = Self::Many(Box::new(std::mem::take(few).into_vec().into_iter().collect()));
        }
        match self {
            Self::Many(many) => many.entry(label.clone()).or_default(),
            Self::Few(few) => {
                let at = find(few, label.as_bytes()).unwrap_or_else(|at| {
                    change(few, |few| {
                        few.reserve_exact(1);
                        few.insert(at, (label.clone(), Arc::default()));
                    });
                    at
                });
                &mut few[at].1
            }
        }
    }

    pub(super) fn remove(&mut self, label: &[u8]) {
        match self {
            Self::Few(few) => {
                if let Ok(at) = find(few, label) {
                    change(few, |few| drop(few.remove(at)));
                }
            }
            Self::Many(many) => drop(many.remove(label)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Label, &Arc<Node>)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(label, node)| (label, node));
        few.chain(many.into_iter().flat_map(|many| many.iter()))
    }
}

/// Changes an array as a vector.
fn change(few: &mut Few, change: impl FnOnce(&mut Vec<(Label, Arc<Node>)>)) {
    let mut grown = std::mem::take(few).into_vec();
    change(&mut grown);
    *few = grown.into_boxed_slice();
}

/// The index of a label, or the index at which it would be inserted.
fn find(few: &[(Label, Arc<Node>)], label: &[u8]) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.as_bytes().cmp(label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn children_behave_like_a_map(ops in prop::collection::vec((0u8..40, any::<bool>()), 0..120)) {
            let mut children = Children::default();
            let mut model = BTreeSet::new();
            for (label, put) in ops {
                let label = Label::new(format!("x{label:02}")).unwrap();
                if put {
                    children.get_or_new(&label);
                    model.insert(label.clone());
                } else {
                    children.remove(label.as_bytes());
                    model.remove(&label);
                }
                prop_assert_eq!(children.get(label.as_bytes()).is_some(), put);
                prop_assert_eq!(children.get_mut(label.as_bytes()).is_some(), put);
            }
            prop_assert!(children.iter().map(|(label, _)| label).eq(&model));
        }
    }
}
