//! Names in wire form, compressed against a name at a given offset.
//!
//! Owns: the encoding of such a name. Does not own: the records that contain it.

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncodable;

/// Returns a name in wire form and lower case.
pub(super) fn lowercase(name: &Name) -> Option<Vec<u8>> {
    let mut bytes = name.to_bytes().ok()?;
    // Label lengths are below the codes of letters.
    bytes.make_ascii_lowercase();
    Some(bytes)
}

/// Appends `name`, with its longest suffix that is also a suffix of `base` as a pointer to that; `base` begins at byte
/// `base_at` of the message. Both are in wire form. Returns whether there is a pointer.
pub(super) fn write_compressed(name: &[u8], base: &[u8], base_at: usize, out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(length @ 1..) = name.get(at).copied() {
        if let Some(pointer) = suffixes(base).find(|end| base[*end..] == name[at..]) {
            // A pointer has 14 bits; the question is at the front of the message.
            let pointer = u16::try_from(base_at + pointer).unwrap_or(0) | 0xc000;
            out.extend_from_slice(&name[..at]);
            out.extend(pointer.to_be_bytes());
            return true;
        }
        at += 1 + usize::from(length);
    }
    out.extend_from_slice(name);
    false
}

/// The offsets of the labels of a name in wire form, without the root's.
fn suffixes(name: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let label = at;
        let length = usize::from(*name.get(at)?);
        at += 1 + length;
        (length > 0).then_some(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_common_suffix_becomes_a_pointer() {
        let base = b"\x03web\x04test\0";
        for (name, expected, pointer) in [
            (&b"\x03web\x04test\0"[..], &[0xc0, 12][..], true),
            (b"\x01a\x03web\x04test\0", b"\x01a\xc0\x0c", true),
            (b"\x01b\x04test\0", b"\x01b\xc0\x10", true),
            (b"\x01b\x03est\0", b"\x01b\x03est\0", false),
            (b"\0", b"\0", false),
        ] {
            let mut out = Vec::new();
            assert_eq!((write_compressed(name, base, 12, &mut out), &out[..]), (pointer, expected));
        }
    }
}
