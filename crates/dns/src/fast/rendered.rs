//! The form in which an answer is cached in a node, and the writing of a response from it.
//!
//! Records are in wire form and independent of their position: names end in pointers into the question (which always
//! begins at byte 12) or are written in full. So any rotation is two copies for each tier, and owner names repeat the
//! case of the question by themselves. Owns: that form. Does not own: the records ([`super::answer_cache`]).
//!
//! One allocation, because a million names may be cached and because each further one is a cache miss:
//! ```text
//! cache id u32 │ kind u8 │ tiers u8 │ answers u16 │ additionals u16 │ tiers × (answers u16, additionals u16)
//!            │ (answers + additionals) × end u16 │ records
//! ```

/// The kind of a cached answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CachedKind {
    /// Records.
    Records,
    /// NODATA: the name exists, without records of the type.
    NoData,
    /// An answer that cannot be cached: the general path answers.
    General,
}

const HEAD: usize = 10;
const TIER: usize = 4;

/// A cached answer. The bytes are trusted: [`AnswerBuilder`] wrote them.
#[derive(Clone, Copy)]
pub(super) struct RenderedAnswer<'k>(&'k [u8]);

impl<'k> RenderedAnswer<'k> {
    /// Returns the answer in `bytes`; `None` if it was cached under another id, and thus other settings.
    pub(super) fn of(bytes: &'k [u8], cache_id: u32) -> Option<Self> {
        bytes.starts_with(&cache_id.to_ne_bytes()).then_some(Self(bytes))
    }

    pub(super) fn kind(self) -> CachedKind {
        match self.0[4] {
            0 => CachedKind::Records,
            1 => CachedKind::NoData,
            _ => CachedKind::General,
        }
    }

    fn number(self, at: usize) -> usize {
        usize::from(u16::from_ne_bytes([self.0[at], self.0[at + 1]]))
    }

    fn tiers(self) -> usize {
        usize::from(self.0[5])
    }

    pub(super) fn answers(self) -> usize {
        self.number(6)
    }

    pub(super) fn additionals(self) -> usize {
        self.number(8)
    }

    /// The records from number `from` to before number `to`, in wire form.
    fn records(self, from: usize, to: usize) -> &'k [u8] {
        let ends = HEAD + TIER * self.tiers();
        let base = ends + 2 * (self.answers() + self.additionals());
        let end = |number: usize| if number == 0 { base } else { base + self.number(ends + 2 * (number - 1)) };
        &self.0[end(from)..end(to)]
    }

    /// Writes the answer section, with each tier rotated, and returns the number of records that fit.
    pub(super) fn write_answers(self, out: &mut ResponseBuffer<'_>, rotation: u32) -> usize {
        self.write(out, rotation, 0, 0)
    }

    /// Writes the additional section in the order of the answers, and returns the number of records that fit.
    pub(super) fn write_additionals(self, out: &mut ResponseBuffer<'_>, rotation: u32) -> usize {
        self.write(out, rotation, self.answers(), 2)
    }

    fn write(self, out: &mut ResponseBuffer<'_>, rotation: u32, mut from: usize, count_at: usize) -> usize {
        let mut written = 0;
        for tier in 0..self.tiers() {
            let count = self.number(HEAD + TIER * tier + count_at);
            // A number below `count` from 32 random bits, without a division.
            let offset = usize::try_from((u64::from(rotation) * count as u64) >> 32).unwrap_or(0);
            for (from, to) in [(from + offset, from + count), (from, from + offset)] {
                if !out.put(self.records(from, to)) {
                    return written + (from..to).take_while(|at| out.put(self.records(*at, at + 1))).count();
                }
                written += to - from;
            }
            from += count;
        }
        written
    }
}

/// The response while it is written, up to its limit.
pub(super) struct ResponseBuffer<'o> {
    pub message: &'o mut [u8],
    pub at: usize,
    pub limit: usize,
}

impl ResponseBuffer<'_> {
    /// Appends all of `bytes`, or none if they do not fit. Returns whether they fit.
    #[must_use]
    pub(super) fn put(&mut self, bytes: &[u8]) -> bool {
        let end = self.at + bytes.len();
        if end > self.limit {
            return false;
        }
        let Some(room) = self.message.get_mut(self.at..end) else { return false };
        room.copy_from_slice(bytes);
        self.at = end;
        true
    }
}

/// The builder of a cached answer.
#[derive(Default)]
pub(super) struct AnswerBuilder {
    records: Vec<u8>,
    ends: Vec<u16>,
    answers: u16,
    tiers: Vec<(u16, u16)>,
}

impl AnswerBuilder {
    /// Returns the bytes of an answer that cannot be cached.
    pub(super) fn general(cache_id: u32) -> Box<[u8]> {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&cache_id.to_ne_bytes());
        bytes[4] = CachedKind::General as u8;
        bytes.into()
    }

    /// Adds a record to the answer section, in the last tier or a new one.
    pub(super) fn answer(&mut self, record: &[u8], tier: usize) -> Option<()> {
        debug_assert!(usize::from(self.answers) == self.ends.len(), "answers come first");
        self.tiers.resize(self.tiers.len().max(tier + 1), (0, 0));
        self.tiers[tier].0 += 1;
        self.answers += 1;
        self.record(record)
    }

    /// Adds a record to the additional section; tiers must not decrease.
    pub(super) fn additional(&mut self, record: &[u8], tier: usize) -> Option<()> {
        if self.tiers.get(tier + 1..)?.iter().any(|(_, additionals)| *additionals > 0) {
            return None;
        }
        self.tiers[tier].1 += 1;
        self.record(record)
    }

    fn record(&mut self, record: &[u8]) -> Option<()> {
        self.records.extend_from_slice(record);
        self.ends.push(u16::try_from(self.records.len()).ok()?);
        Some(())
    }

    /// Returns the bytes to cache; `None` if the answer is too large for them.
    pub(super) fn finish(self, cache_id: u32, kind: CachedKind) -> Option<Box<[u8]>> {
        let additionals = u16::try_from(self.ends.len()).ok()? - self.answers;
        let mut bytes = Vec::with_capacity(HEAD + TIER * self.tiers.len() + 2 * self.ends.len() + self.records.len());
        bytes.extend(cache_id.to_ne_bytes());
        bytes.push(kind as u8);
        bytes.push(u8::try_from(self.tiers.len()).ok()?);
        let tiers = self.tiers.iter().flat_map(|(answers, additionals)| [*answers, *additionals]);
        for number in [self.answers, additionals].into_iter().chain(tiers).chain(self.ends) {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(self.records);
        Some(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rendered: RenderedAnswer<'_>, rotation: u32, limit: usize) -> (String, usize, usize) {
        let mut message = [0; 100];
        let mut out = ResponseBuffer { message: &mut message, at: 0, limit };
        let answers = rendered.write_answers(&mut out, rotation);
        let additionals = rendered.write_additionals(&mut out, rotation);
        let at = out.at;
        (String::from_utf8(message[..at].to_vec()).unwrap(), answers, additionals)
    }

    #[test]
    fn tiers_rotate_separately_and_truncate_by_record() {
        let mut builder = AnswerBuilder::default();
        for (record, tier) in [("A1", 0), ("A2", 0), ("A3", 0), ("B1", 1), ("B2", 1)] {
            builder.answer(record.as_bytes(), tier).unwrap();
        }
        for (record, tier) in [("a1", 0), ("a2", 0), ("a3", 0), ("b1", 1)] {
            builder.additional(record.as_bytes(), tier).unwrap();
        }
        assert!(builder.additional(b"a4", 0).is_none(), "out of order");
        let cached = builder.finish(7, CachedKind::Records).unwrap();
        assert!(RenderedAnswer::of(&cached, 8).is_none(), "cached under another id");
        let rendered = RenderedAnswer::of(&cached, 7).unwrap();
        assert_eq!(rendered.kind(), CachedKind::Records);
        assert_eq!((rendered.answers(), rendered.additionals()), (5, 4));
        let third = u32::MAX / 3 + 1;
        assert_eq!(written(rendered, 0, 100), ("A1A2A3B1B2a1a2a3b1".to_owned(), 5, 4));
        assert_eq!(written(rendered, third, 100), ("A2A3A1B1B2a2a3a1b1".to_owned(), 5, 4));
        assert_eq!(written(rendered, u32::MAX, 100), ("A3A1A2B2B1a3a1a2b1".to_owned(), 5, 4));
        assert_eq!(written(rendered, third, 15), ("A2A3A1B1B2a2a3".to_owned(), 5, 2));
        assert_eq!(written(rendered, third, 5).1, 2);
    }
}
