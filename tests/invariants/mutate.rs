//! Inputs that are nearly right: a file of the corpus, changed in a few places.

use fastrand::Rng;

/// The longest input.
const LONGEST: usize = 1500;
/// Numbers at which something ends.
const EDGES: [u8; 12] = [0, 1, 2, 12, 41, 63, 64, 127, 128, 0xc0, 0xfe, 0xff];

/// Another input from those of a corpus.
pub fn mutate(corpus: &[Vec<u8>], words: &[&[u8]], random: &mut Rng) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..1 << random.u32(0..4) {
        change(&mut bytes, corpus, words, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]], random: &mut Rng) {
    let at = random.usize(..=bytes.len());
    let rest = bytes.len() - at;
    match random.u8(..10) {
        0 if rest > 0 => bytes[at] ^= 1 << random.u8(..8),
        1 if rest > 0 => bytes[at] = random.u8(..),
        2 if rest > 0 => bytes[at] = EDGES[random.usize(..EDGES.len())],
        3 => bytes.insert(at, random.u8(..)),
        4 => drop(bytes.drain(at..at + random.usize(..=rest.min(9)))),
        5 => bytes.truncate(at),
        6 => {
            let again = bytes[at..at + random.usize(..=rest.min(40))].to_vec();
            bytes.splice(at..at, again);
        }
        7 => {
            let other = &corpus[random.usize(..corpus.len())];
            let from = random.usize(..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ if words.is_empty() => {}
        8 => {
            let word = words[random.usize(..words.len())];
            bytes.splice(at..at, word.iter().copied());
        }
        _ => {
            let word = words[random.usize(..words.len())];
            let over = word.len().min(rest);
            bytes[at..at + over].copy_from_slice(&word[..over]);
        }
    }
}
