//! Why a question is answered as it is: which entry made which record, and what was left out.
//!
//! Owns: the reasons, in words. Does not own: the rules. The answer is that of [`super::answer()`], and what an
//! entry makes is found by asking the same code about that entry alone, so that an explanation cannot tell of
//! rules that are not there.

use super::answer::{Answer, Question, answer, records_of};
use super::places::Places;
use super::rrset::{Sections, priority};
use super::search::{Hit, Search, grouped};
use super::settings::{Addresses, DnsSettings};
use super::wire;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use skyhound_core::catalog::{Health, Quarantined, Snapshot, Stored};
use skyhound_model::{Host, Name};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The most entries, and the most unreadable values, that one explanation goes through.
pub const EXPLAIN_MAX: usize = 1000;

/// An answer and where it comes from.
#[derive(Debug)]
pub struct Explained {
    /// The zone that the name is in.
    pub zone: Option<Name>,
    /// Where its entries were looked for.
    pub place: Name,
    /// The answer as DNS gives it, without what other servers would add.
    pub answer: Answer,
    /// The entries at the place, in the order of the tree.
    pub entries: Vec<Account>,
    /// How many entries there are beyond [`EXPLAIN_MAX`].
    pub more: usize,
    /// Values there that are no entries.
    pub unreadable: Vec<Arc<Quarantined>>,
}

/// What became of one entry.
#[derive(Debug)]
pub struct Account {
    /// The entry.
    pub stored: Arc<Stored>,
    /// Its name.
    pub name: Name,
    /// Its TTL in answers, before the smallest of the section counts for all.
    pub ttl_s: u32,
    /// The records of the answer that it made.
    pub records: Vec<Record>,
    /// Why it made none.
    pub left_out: Option<String>,
}

/// Explains the answer to a question.
pub fn explain(snapshot: &Snapshot, health: Health, settings: &DnsSettings, question: &Question) -> Explained {
    let answer = answer(snapshot, health, settings, question, 0);
    let mut explained = Explained {
        zone: settings.zone_of(&question.place).cloned(),
        place: question.place.clone(),
        answer,
        entries: Vec::new(),
        more: 0,
        unreadable: Vec::new(),
    };
    let Some(zone) = explained.zone.clone().filter(|_| question.class == DNSClass::IN) else { return explained };
    let few = DnsSettings { entries_max: settings.entries_max.min(EXPLAIN_MAX), ..settings.clone() };
    let search = Search::new(snapshot, &few, 0);
    let places = Places::of(&few, &zone, question);
    let (place, _) = places.find(&search);
    explained.place = place.clone();
    explained.unreadable = unreadable(snapshot, place);
    let Some((hits, total)) = search.candidates(place) else { return explained };
    explained.more = total - hits.len();
    let kept: BTreeSet<_> = grouped(hits.clone()).iter().map(|hit| hit.stored.key.clone()).collect();
    for hit in &hits {
        let in_group = kept.contains(&hit.stored.key);
        explained.entries.push(account(&search, question, &places, place, hit, in_group, &explained.answer));
    }
    let listed: BTreeSet<_> = hits.iter().map(|hit| &hit.stored.key).collect();
    for stored in search.own(place).filter(|stored| !listed.contains(&stored.key)) {
        let hit = Hit { path: place.labels().iter().collect(), stored };
        let mut own = account(&search, question, &places, place, &hit, true, &explained.answer);
        if own.records.is_empty() {
            own.left_out = Some("it stands at the name itself, and the entries below answer for it".into());
        }
        explained.entries.push(own);
    }
    explained
}

/// What became of one entry.
fn account<'s>(
    search: &Search<'s>,
    question: &'s Question,
    places: &Places<'_>,
    place: &'s Name,
    hit: &Hit<'s>,
    in_group: bool,
    said: &Answer,
) -> Account {
    let alone = records_of(search, question, place, places.name_servers, vec![hit.clone()]);
    let records = if in_group { made(said, &alone) } else { Vec::new() };
    let left_out = match (records.is_empty(), in_group) {
        (false, _) => None,
        (true, false) => Some(format!("it is of group {:?}, and another group rules here", hit.stored.entry.group)),
        (true, true) if alone.answers.records().is_empty() => Some(nothing(hit, question)),
        (true, true) if is_spare(search, question) => Some(format!(
            "others have a better priority than its {}, and --addresses is best",
            priority(&hit.stored.entry)
        )),
        (true, true) => {
            Some("another entry's record stands in its place, or there are more than an answer takes".into())
        }
    };
    Account {
        stored: Arc::new(hit.stored.clone()),
        name: Name::from_root(hit.path.iter().map(|label| (*label).clone()).collect()).unwrap_or_default(),
        ttl_s: search.settings.ttl_of(hit.stored),
        records,
        left_out,
    }
}

/// Whether an entry that would make a record by itself gives way to one of a better priority.
fn is_spare(search: &Search<'_>, question: &Question) -> bool {
    search.settings.addresses == Addresses::Best && matches!(question.qtype, RecordType::A | RecordType::AAAA)
}

/// The records of the answer that an entry makes when it is alone.
fn made(said: &Answer, alone: &Sections) -> Vec<Record> {
    let sections = [(&said.answers, &alone.answers), (&said.additional, &alone.additional)];
    let of = |(all, own): (&Vec<Record>, &super::rrset::Set)| -> Vec<Record> {
        all.iter().filter(|record| own.records().iter().any(|one| same(record, one))).cloned().collect()
    };
    sections.into_iter().flat_map(of).collect()
}

/// The same record, but for its TTL and for a weight that depends on the others.
fn same(a: &Record, b: &Record) -> bool {
    let data = match (&a.data, &b.data) {
        (RData::SRV(a), RData::SRV(b)) => (a.priority, a.port, &a.target) == (b.priority, b.port, &b.target),
        (a, b) => a == b,
    };
    data && a.name == b.name
}

/// Why an entry makes nothing of the asked type.
fn nothing(hit: &Hit<'_>, question: &Question) -> String {
    let entry = &hit.stored.entry;
    let qtype = question.qtype;
    match (qtype, &entry.host) {
        (RecordType::TXT, None | Some(Host::Addr(_))) => "it has no text".into(),
        (RecordType::MX, _) if !entry.mail => "it is no mail exchanger (mail is not true)".into(),
        (RecordType::CNAME | RecordType::PTR, _) => {
            format!("{qtype} is made from an entry at the very name whose host is a name")
        }
        (RecordType::SRV | RecordType::MX | RecordType::A | RecordType::AAAA | RecordType::NS, None) => {
            "it has no host".into()
        }
        (RecordType::A | RecordType::AAAA, Some(Host::Addr(addr))) => {
            let family = if matches!(addr, IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
            format!("its host {addr} is an {family} address")
        }
        (RecordType::A | RecordType::AAAA | RecordType::TXT, Some(Host::Name(host))) => {
            format!("its host {host} leads to nothing of type {qtype}: not there, in a circle, or too many steps")
        }
        _ => format!("no entry makes a record of type {qtype}"),
    }
}

/// The unreadable values at a place and below it.
fn unreadable(snapshot: &Snapshot, place: &Name) -> Vec<Arc<Quarantined>> {
    let within = |bad: &&Arc<Quarantined>| snapshot.name(&bad.key).is_some_and(|name| name.is_within(place));
    snapshot.quarantine().filter(within).take(EXPLAIN_MAX).cloned().collect()
}

/// A question in presentation form, with the type by name or number.
pub fn question(name: &str, qtype: &str) -> Result<Question, String> {
    let place = Name::parse(name).map_err(|e| format!("{name:?} {e}"))?;
    let upper = qtype.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").unwrap_or(&upper).parse().map(|number: u16| RecordType::from(number));
    let qtype = number.or_else(|_| upper.parse()).map_err(|_| format!("{qtype:?} is no type such as SRV, A or TXT"))?;
    Ok(Question { name: wire::name(place.labels().iter()), place, qtype, class: DNSClass::IN })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lines, settings, snapshot};
    use super::*;

    fn told(tree: &[(&str, &str)], name: &str, qtype: &str) -> Vec<String> {
        let explained = explain(&snapshot(tree), Health::Following, &settings(), &question(name, qtype).unwrap());
        let entry = |account: &Account| {
            let why = account.left_out.clone().unwrap_or_else(|| lines(&account.records).join(", "));
            format!("{}: {why}", account.name)
        };
        let bad = explained.unreadable.iter().map(|bad| format!("{}: {}", bad.key, bad.reason));
        explained.entries.iter().map(entry).chain(bad).collect()
    }

    #[test]
    fn every_entry_is_accounted_for() {
        let tree = [
            ("web/a", r#"{"host":"10.0.0.1","port":80,"group":"g1"}"#),
            ("web/b", r#"{"host":"::1","port":80,"weight":300}"#),
            ("web/deep/c", r#"{"host":"10.0.0.3","group":"g2"}"#),
            ("web/text", r#"{"text":"t"}"#),
            ("web", r#"{"host":"10.0.0.9"}"#),
            ("web/bad", "?"),
        ];
        let srv = told(&tree, "web.skydns.test", "srv");
        assert_eq!(srv.len(), 6, "{srv:#?}");
        assert_eq!(
            srv[0],
            "a.web.skydns.test.: web.skydns.test. 300 SRV 10 25 80 a.web.skydns.test., a.web.skydns.test. 300 A 10.0.0.1"
        );
        assert_eq!(srv[2], "c.deep.web.skydns.test.: it is of group \"g2\", and another group rules here");
        assert_eq!(srv[3], "text.web.skydns.test.: it has no host");
        assert_eq!(srv[4], "web.skydns.test.: it stands at the name itself, and the entries below answer for it");
        assert!(srv[5].starts_with("/skydns/test/skydns/web/bad: is not JSON"), "{srv:#?}");
        let a = told(&tree, "web.skydns.test", "A");
        assert_eq!(a[1], "b.web.skydns.test.: its host ::1 is an IPv6 address");
    }

    #[test]
    fn aliases_and_loops_are_told() {
        let tree = [("loop", r#"{"host":"loop.skydns.test"}"#), ("out", r#"{"host":"www.example.org"}"#)];
        assert!(told(&tree, "loop.skydns.test", "A")[0].contains("loop.skydns.test. leads to nothing of type A"));
        assert_eq!(
            told(&tree, "out.skydns.test", "A"),
            ["out.skydns.test.: out.skydns.test. 300 CNAME www.example.org."]
        );
        assert_eq!(told(&tree, "nosuch.skydns.test", "A"), [""; 0]);
        assert_eq!(told(&tree, "example.org", "A"), [""; 0]);
    }

    #[test]
    fn types_are_read_by_name_and_number() {
        assert_eq!(question("a.b", "srv").unwrap().qtype, RecordType::SRV);
        assert_eq!(question("a.b", "TYPE33").unwrap().qtype, RecordType::SRV);
        assert_eq!(question("a.b", "33").unwrap().qtype, RecordType::SRV);
        assert_eq!(question("a.b", "web").unwrap_err(), "\"web\" is no type such as SRV, A or TXT");
        assert_eq!(question("a..b", "A").unwrap_err(), "\"a..b\" has an empty label");
    }
}
