//! Names between the tree's form and hickory's.
//!
//! The tree keeps labels from the root and folds case; hickory keeps the order and the case of the wire.
//! Both hold the lengths of RFC 1035 section 3.1, so that neither direction loses anything but case.

use crate::model::name::{Label, NameError};
use hickory_proto::rr::Name as WireName;

/// A name of the tree, from its labels in the order of the walk down.
pub(super) fn name<'l>(labels: impl DoubleEndedIterator<Item = &'l Label>) -> WireName {
    // The tree's own names are in the limits that hickory checks. The root in place of a name that is not
    // would say "not available" (RFC 2782), which harms less than a panic in the answer path.
    WireName::from_labels(labels.rev().map(Label::as_bytes)).unwrap_or_else(|_| WireName::root())
}

/// A name as it was asked, as a place in the tree.
pub(super) fn place(name: &WireName) -> Result<crate::model::Name, NameError> {
    let mut labels = name.iter().map(Label::new).collect::<Result<Vec<_>, _>>()?;
    labels.reverse();
    crate::model::Name::from_root(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_name_goes_there_and_back(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=63), 0..5)) {
            let labels = labels.into_iter().map(|l| Label::new(l).unwrap()).collect();
            if let Ok(model) = Name::from_root(labels) {
                prop_assert_eq!(place(&name(model.labels().iter())).unwrap(), model);
            }
        }
    }
}
