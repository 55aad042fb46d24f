//! Helpers of this crate's tests: a snapshot from a list of keys and values, records as text.

use super::answer::answer;
use super::response::{Question, Response};
use super::settings::DnsSettings;
use bytes::Bytes;
use hickory_proto::rr::{DNSClass, Name as WireName, Record, RecordType};
use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::{Health, Snapshot};
use skyhound_model::{Key, Layout, Name};
use skyhound_store::{Batch, Change, Item, LeaseId, Revision};

/// A snapshot of `key below /skydns/test/skydns/` → value. A key that ends in `@` has a lease.
pub(super) fn snapshot(items: &[(&str, &str)]) -> Snapshot {
    let put = |(key, value): &(&str, &str)| {
        Change::Put(Item {
            key: Key::from(format!("/skydns/test/skydns/{}", key.trim_end_matches('@'))),
            value: Bytes::copy_from_slice(value.as_bytes()),
            revision: Revision(7),
            lease: key.ends_with('@').then_some(LeaseId(i64::MAX)),
        })
    };
    let batch = Batch { revision: Revision(7), changes: items.iter().map(put).collect() };
    Snapshot::empty(Keyspace::from(Layout::new("/skydns"))).apply(&batch)
}

pub(super) fn settings() -> DnsSettings {
    DnsSettings::new(vec![Name::parse("skydns.test").unwrap()])
}

pub(super) fn question(name: &str, qtype: RecordType) -> Question {
    Question::new(WireName::from_ascii(name).unwrap(), qtype, DNSClass::IN).unwrap()
}

/// Answers a question with default settings.
pub(super) fn ask(snapshot: &Snapshot, name: &str, qtype: RecordType) -> Response {
    answer(snapshot, Health::Current, &settings(), &question(name, qtype), 0)
}

/// The records as `owner TTL TYPE data`, in their order.
pub(super) fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)).collect()
}
