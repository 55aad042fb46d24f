//! The parts of the wire format that hickory neither reads nor writes here: the fixed offsets of a message, and the
//! conversion of names between the tree and hickory.
//!
//! The tree stores labels from the root and folds case; hickory keeps the order and the case of the wire. Both enforce
//! the lengths of RFC 1035 section 3.1, so that neither direction loses anything but case.

use hickory_proto::rr::Name as WireName;
use skyhound_model::name::{Label, NAME_MAX, NameError};

/// The length of a message's header (RFC 1035 section 4.1.1).
pub(super) const HEADER: usize = 12;
/// The option code of extended DNS errors (RFC 8914 section 2), which hickory does not define yet.
pub(super) const EDE: u16 = 15;

/// The bits that are read and written in place, where datagrams are answered in their own buffer.
#[cfg(target_os = "linux")]
pub(super) mod bits {
    /// Flags in the third byte of a header (RFC 1035 section 4.1.1).
    pub(crate) const RESPONSE: u8 = 0x80;
    pub(crate) const OPCODE: u8 = 0x78;
    pub(crate) const AUTHORITATIVE: u8 = 0x04;
    pub(crate) const TRUNCATED: u8 = 0x02;
    pub(crate) const RECURSION_DESIRED: u8 = 0x01;
    /// Flags in the fourth (and RFC 4035 section 3.2.2).
    pub(crate) const RECURSION_AVAILABLE: u8 = 0x80;
    pub(crate) const CHECKING_DISABLED: u8 = 0x10;
    /// The length of an OPT record without options (RFC 6891 section 6.1.2).
    pub(crate) const OPT: usize = 11;
    /// The flag in the third byte of its TTL (RFC 3225 section 3).
    pub(crate) const DNSSEC_OK: u8 = 0x80;
}

/// A name in hickory's form, from its labels in the tree's order.
pub(super) fn from_labels<'l>(labels: impl DoubleEndedIterator<Item = &'l Label>) -> WireName {
    // The names of the tree are within the limits that hickory checks. The root in place of a name that is not means
    // "not available" (RFC 2782), which harms less than a panic in the answer path.
    WireName::from_labels(labels.rev().map(Label::as_bytes)).unwrap_or_else(|_| WireName::root())
}

/// A name in the tree's form.
pub(super) fn to_tree_name(name: &WireName) -> Result<skyhound_model::Name, NameError> {
    let mut labels = name.iter().map(Label::new).collect::<Result<Vec<_>, _>>()?;
    labels.reverse();
    skyhound_model::Name::from_root(labels)
}

/// The end of a message's question section, if the section is complete and no name in it has a pointer, which no
/// client uses there.
pub(super) fn questions_end(message: &[u8]) -> Option<usize> {
    let count = u16::from_be_bytes([*message.get(4)?, *message.get(5)?]);
    (0..count).try_fold(HEADER, |from, _| {
        let mut at = from;
        loop {
            let label = usize::from(*message.get(at)?);
            at += 1 + label;
            match label {
                0 if at - from <= NAME_MAX => break,
                1..=63 => {}
                _ => return None,
            }
        }
        // Type and class.
        message.get(at..at + 4).map(|_| at + 4)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skyhound_model::Name;

    proptest! {
        #[test]
        fn names_round_trip_between_tree_and_wire(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=63), 0..5)) {
            let labels = labels.into_iter().map(|l| Label::new(l).unwrap()).collect();
            if let Ok(model) = Name::from_root(labels) {
                prop_assert_eq!(to_tree_name(&from_labels(model.labels().iter())).unwrap(), model);
            }
        }
    }
}
