//! Names in wire form, compressed against a name at a known place.

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncodable;

/// A name in wire form and lower case.
pub(super) fn lowercase(name: &Name) -> Option<Vec<u8>> {
    let mut bytes = name.to_bytes().ok()?;
    // Lengths are below the letters.
    bytes.make_ascii_lowercase();
    Some(bytes)
}

/// Appends `name`, its longest end that is also an end of `base` as a pointer to there; `base` begins at
/// byte `base_at` of the message. Both are in wire form. Says whether there is a pointer.
pub(super) fn write_compressed(name: &[u8], base: &[u8], base_at: usize, out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(length @ 1..) = name.get(at).copied() {
        if let Some(pointer) = suffixes(base).find(|end| base[*end..] == name[at..]) {
            // The first 14 bits of a message; the question is at its front.
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

/// Where the labels of a name in wire form begin, the root's not counted.
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
    fn the_longest_common_end_becomes_a_pointer() {
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
