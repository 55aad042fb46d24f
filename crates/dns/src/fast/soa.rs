//! The SOA record of negative answers, which is constant for a zone except for its serial.
//!
//! Owns: taking the record from an answer of the general path once, and writing it again with the serial of a snapshot.
//! Its names are compressed against the zone in the question, at any offset. Does not own: the contents of the record.

use super::rendered::ResponseBuffer;
use super::wire;
use hickory_proto::rr::{RData, Record};

/// The length of serial, refresh, retry, expire and minimum (RFC 1035 section 3.3.13).
const NUMBERS: usize = 20;

/// The SOA record of a zone. Its pointers are relative to the start of the zone in the question.
#[derive(Debug)]
pub(super) struct SoaTemplate {
    record: Box<[u8]>,
    /// The offsets of the pointers in the record.
    pointers: Box<[usize]>,
}

impl SoaTemplate {
    /// Creates the template of a record; `None` if it is not the SOA of that zone with that serial.
    pub(super) fn of(record: &Record, zone: &[u8], serial: u32) -> Option<Self> {
        let RData::SOA(soa) = &record.data else { return None };
        if wire::lowercase(&record.name)? != zone || soa.serial != serial {
            return None;
        }
        // A pointer to byte 0 of the zone represents one to the start of the zone.
        let mut bytes = Vec::new();
        let mut pointers = vec![0];
        bytes.extend([0, 0]);
        bytes.extend(u16::from(record.record_type()).to_be_bytes());
        bytes.extend(u16::from(record.dns_class).to_be_bytes());
        bytes.extend(record.ttl.to_be_bytes());
        let length_at = bytes.len();
        bytes.extend([0, 0]);
        for name in [&soa.mname, &soa.rname] {
            if wire::write_compressed(&wire::lowercase(name)?, zone, 0, &mut bytes) {
                pointers.push(bytes.len() - 2);
            }
        }
        let numbers = [soa.serial, soa.refresh.cast_unsigned(), soa.retry.cast_unsigned(), soa.expire.cast_unsigned()];
        bytes.extend(numbers.iter().chain([&soa.minimum]).flat_map(|number| number.to_be_bytes()));
        let length = u16::try_from(bytes.len() - length_at - 2).ok()?;
        bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        for at in &pointers {
            // From here on these are offsets in the zone without the pointer bits.
            bytes[*at] &= 0x3f;
        }
        Some(Self { record: bytes.into(), pointers: pointers.into() })
    }

    /// Writes the record after a question in which the zone begins at byte `zone_at` of the message. Returns whether it
    /// fits.
    pub(super) fn write(&self, out: &mut ResponseBuffer<'_>, zone_at: usize, serial: u32) -> bool {
        let start = out.at;
        if !out.put(&self.record) {
            return false;
        }
        let record = &mut out.message[start..out.at];
        for at in &self.pointers {
            let to = usize::from(u16::from_be_bytes([record[*at], record[at + 1]])) + zone_at;
            record[*at] = 0xc0 | u8::try_from(to >> 8).unwrap_or(0);
            record[at + 1] = u8::try_from(to & 0xff).unwrap_or(0);
        }
        let numbers = record.len() - NUMBERS;
        record[numbers..numbers + 4].copy_from_slice(&serial.to_be_bytes());
        true
    }
}
