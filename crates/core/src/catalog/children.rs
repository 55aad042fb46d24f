//! The nodes below a node, by label.
//!
//! Owns: that a node with few of them is small and one with many is changed cheaply. Nearly all nodes of a
//! large tree have none or a handful, and the smallest persistent map of those takes over a kilobyte; a
//! few have thousands, and copying those for each change would make it cost what the whole service costs.

use super::node::Node;
use imbl::OrdMap;
use skyhound_model::Label;
use std::sync::Arc;

/// Beyond this many they are a persistent map. At the length of its nodes nothing is gained by it yet.
const FEW: usize = 16;

type Few = Box<[(Label, Arc<Node>)]>;

/// Child nodes in the order of their labels.
#[derive(Debug, Clone)]
pub(super) enum Children {
    /// Copied whole with each change, and exactly as long as it has to be.
    Few(Few),
    /// Shares all but the path to a change with the map before it. Never goes back: a service that had many
    /// will have many.
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

    /// The child by that label, made if there is none.
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

/// Changes a few as a vector.
fn change(few: &mut Few, change: impl FnOnce(&mut Vec<(Label, Arc<Node>)>)) {
    let mut grown = std::mem::take(few).into_vec();
    change(&mut grown);
    *few = grown.into_boxed_slice();
}

/// Where a label stands, or would.
fn find(few: &[(Label, Arc<Node>)], label: &[u8]) -> Result<usize, usize> {
    few.binary_search_by(|(held, _)| held.as_bytes().cmp(label))
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
