//! The explanation of an answer: the entry of each record, and the reason of each omission.
//!
//! Owns: the reasons, as text. Does not own: the rules. The response is that of [`super::answer()`], and the records of
//! an entry are found by running the same code on that entry alone, so that an explanation cannot describe rules that do
//! not exist.

use super::answer::{answer, records_of};
use super::lookup_targets::LookupTargets;
use super::response::{Question, Response};
use super::search::{Hit, Search, apply_group_rule};
use super::sections::{SectionRecords, Sections};
use super::settings::{AddressSelection, DnsSettings};
use super::static_zones::ZoneState;
use super::wire;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use skyhound_core::catalog::{Health, Quarantined, Snapshot, StoredEntry};
use skyhound_model::{Host, Name};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The limit of entries, and that of unreadable values, in one explanation.
pub const EXPLAIN_MAX: usize = 1000;

/// A response, and its origin in the store.
#[derive(Debug)]
pub struct ExplainedResponse {
    /// The zone of the name.
    pub zone: Option<Name>,
    /// That zone, if it is a static one.
    pub static_zone: Option<ZoneState>,
    /// The lookup target: the name whose entries count.
    pub target: Name,
    /// The response of DNS, without the records that upstream servers would add.
    pub response: Response,
    /// The entries at and below the target, in the order of the tree.
    pub entries: Vec<EntryExplanation>,
    /// The number of entries beyond [`EXPLAIN_MAX`].
    pub more_entries: usize,
    /// The unreadable values at and below the target.
    pub quarantined: Vec<Arc<Quarantined>>,
}

/// The effect of one entry on the response.
#[derive(Debug)]
pub struct EntryExplanation {
    /// The entry.
    pub stored: Arc<StoredEntry>,
    /// The name of the entry.
    pub name: Name,
    /// The TTL of the entry in responses, before the smallest of the section replaces it.
    pub ttl_s: u32,
    /// The records of the response that come from the entry.
    pub records: Vec<Record>,
    /// The reason for the omission, if there are no records.
    pub omission: Option<String>,
}

/// Explains the answer to a question.
pub fn explain(snapshot: &Snapshot, health: Health, settings: &DnsSettings, question: &Question) -> ExplainedResponse {
    let zones = &settings.static_zones;
    if let Some(response) = zones.answer(snapshot, health, settings, question, 0) {
        let zone = zones.zone_of(settings, question).or_else(|| settings.zone_of(&question.tree_name)).cloned();
        let (target, static_zone) = (question.tree_name.clone(), zone.as_ref().and_then(|zone| zones.state(zone)));
        return ExplainedResponse {
            zone,
            static_zone,
            target,
            response,
            entries: Vec::new(),
            more_entries: 0,
            quarantined: Vec::new(),
        };
    }
    let response = answer(snapshot, health, settings, question, 0);
    let mut explained = ExplainedResponse {
        static_zone: None,
        zone: settings.zone_of(&question.tree_name).cloned(),
        target: question.tree_name.clone(),
        response,
        entries: Vec::new(),
        more_entries: 0,
        quarantined: Vec::new(),
    };
    let Some(zone) = explained.zone.clone().filter(|_| question.class == DNSClass::IN) else { return explained };
    let limited = DnsSettings { entries_max: settings.entries_max.min(EXPLAIN_MAX), ..settings.clone() };
    let search = Search::new(snapshot, &limited, 0);
    let targets = LookupTargets::new(&limited, &zone, question);
    let (target, _) = targets.find(&search);
    explained.target = target.clone();
    explained.quarantined = quarantined(snapshot, target);
    let Some((hits, total)) = search.candidates(target) else { return explained };
    explained.more_entries = total - hits.len();
    let grouped_keys: BTreeSet<_> = apply_group_rule(hits.clone()).iter().map(|hit| hit.stored.key.clone()).collect();
    for hit in &hits {
        let in_group = grouped_keys.contains(&hit.stored.key);
        explained.entries.push(explain_entry(&search, question, &targets, target, hit, in_group, &explained.response));
    }
    let listed: BTreeSet<_> = hits.iter().map(|hit| &hit.stored.key).collect();
    for stored in search.entries_at(target).filter(|stored| !listed.contains(&stored.key)) {
        let hit = Hit { path: target.labels().iter().collect(), stored };
        let mut entry = explain_entry(&search, question, &targets, target, &hit, true, &explained.response);
        if entry.records.is_empty() {
            entry.omission = Some("it is at the name itself, and the entries below the name are used instead".into());
        }
        explained.entries.push(entry);
    }
    explained
}

/// Explains one entry.
fn explain_entry<'s>(
    search: &Search<'s>,
    question: &'s Question,
    targets: &LookupTargets<'_>,
    target: &'s Name,
    hit: &Hit<'s>,
    in_group: bool,
    response: &Response,
) -> EntryExplanation {
    let own_records = records_of(search, question, target, targets.name_servers, vec![hit.clone()]);
    let records = if in_group { records_of_entry(response, &own_records) } else { Vec::new() };
    let omission = match (records.is_empty(), in_group) {
        (false, _) => None,
        (true, false) => Some(format!(
            "it is of group {:?}, and the group of the shallowest entries differs",
            hit.stored.entry.group
        )),
        (true, true) if own_records.answers.records().is_empty() => Some(missing_record_reason(hit, question)),
        (true, true) if has_worse_priority(search, question) => {
            Some(format!("other entries have a better priority than its {}, and --addresses is best", hit.priority()))
        }
        (true, true) => Some("another entry has the same record, or the answer is at its limit of records".into()),
    };
    EntryExplanation {
        stored: Arc::new(hit.stored.clone()),
        name: Name::from_root(hit.path.iter().map(|label| (*label).clone()).collect()).unwrap_or_default(),
        ttl_s: search.settings.ttl_of(hit.stored),
        records,
        omission,
    }
}

/// Returns whether an entry with a record of its own is left out for entries of a better priority.
fn has_worse_priority(search: &Search<'_>, question: &Question) -> bool {
    search.settings.addresses == AddressSelection::Best && matches!(question.qtype, RecordType::A | RecordType::AAAA)
}

/// The records of the response that the entry alone would produce too.
fn records_of_entry(response: &Response, own_records: &Sections) -> Vec<Record> {
    let sections = [(&response.answers, &own_records.answers), (&response.additional, &own_records.additional)];
    let common = |(all, own): (&Vec<Record>, &SectionRecords)| -> Vec<Record> {
        all.iter().filter(|record| own.records().iter().any(|one| same(record, one))).cloned().collect()
    };
    sections.into_iter().flat_map(common).collect()
}

/// Compares two records without the TTL, and without the weight, which depends on the other entries.
fn same(a: &Record, b: &Record) -> bool {
    let data = match (&a.data, &b.data) {
        (RData::SRV(a), RData::SRV(b)) => (a.priority, a.port, &a.target) == (b.priority, b.port, &b.target),
        (a, b) => a == b,
    };
    data && a.name == b.name
}

/// The reason why an entry alone has no record of the question's type.
fn missing_record_reason(hit: &Hit<'_>, question: &Question) -> String {
    let entry = &hit.stored.entry;
    let qtype = question.qtype;
    match (qtype, &entry.host) {
        (RecordType::TXT, None | Some(Host::Addr(_))) => "it has no text".into(),
        (RecordType::MX, _) if !entry.mail => "it is not a mail exchanger (mail is not true)".into(),
        (RecordType::CNAME | RecordType::PTR, _) => {
            format!("{qtype} needs an entry exactly at the name, whose host is a name")
        }
        (RecordType::SRV | RecordType::MX | RecordType::A | RecordType::AAAA | RecordType::NS, None) => {
            "it has no host".into()
        }
        (RecordType::A | RecordType::AAAA, Some(Host::Addr(addr))) => {
            let family = if matches!(addr, IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
            format!("its host {addr} is an {family} address")
        }
        (RecordType::A | RecordType::AAAA | RecordType::TXT, Some(Host::Name(host))) => {
            format!("its host {host} leads to no {qtype} record: a missing name, a loop, or too long a chain")
        }
        _ => format!("no entry has a record of type {qtype}"),
    }
}

/// The unreadable values at and below a name.
fn quarantined(snapshot: &Snapshot, target: &Name) -> Vec<Arc<Quarantined>> {
    let within = |bad: &&Arc<Quarantined>| snapshot.name(&bad.key).is_some_and(|name| name.is_within(target));
    snapshot.quarantine().filter(within).take(EXPLAIN_MAX).cloned().collect()
}

/// Parses a question in presentation form, with the type by name or number.
pub fn parse_question(name: &str, qtype: &str) -> Result<Question, String> {
    let tree_name = Name::parse(name).map_err(|e| format!("{name:?} {e}"))?;
    let upper = qtype.to_ascii_uppercase();
    let number = upper.strip_prefix("TYPE").unwrap_or(&upper).parse().map(|number: u16| RecordType::from(number));
    let qtype = number
        .or_else(|_| upper.parse())
        .map_err(|_| format!("{qtype:?} is not a record type such as SRV, A or TXT"))?;
    Ok(Question { name: wire::from_labels(tree_name.labels().iter()), tree_name, qtype, class: DNSClass::IN })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lines, settings, snapshot};
    use super::*;

    fn explanations(tree: &[(&str, &str)], name: &str, qtype: &str) -> Vec<String> {
        let explained = explain(&snapshot(tree), Health::Current, &settings(), &parse_question(name, qtype).unwrap());
        let entry = |entry: &EntryExplanation| {
            let outcome = entry.omission.clone().unwrap_or_else(|| lines(&entry.records).join(", "));
            format!("{}: {outcome}", entry.name)
        };
        let bad = explained.quarantined.iter().map(|bad| format!("{}: {}", bad.key, bad.reason));
        explained.entries.iter().map(entry).chain(bad).collect()
    }

    #[test]
    fn explain_accounts_for_every_entry() {
        let tree = [
            ("web/a", r#"{"host":"10.0.0.1","port":80,"group":"g1"}"#),
            ("web/b", r#"{"host":"::1","port":80,"weight":300}"#),
            ("web/deep/c", r#"{"host":"10.0.0.3","group":"g2"}"#),
            ("web/text", r#"{"text":"t"}"#),
            ("web", r#"{"host":"10.0.0.9"}"#),
            ("web/bad", "?"),
        ];
        let srv = explanations(&tree, "web.skydns.test", "srv");
        assert_eq!(srv.len(), 6, "{srv:#?}");
        assert_eq!(
            srv[0],
            "a.web.skydns.test.: web.skydns.test. 300 SRV 10 25 80 a.web.skydns.test., a.web.skydns.test. 300 A 10.0.0.1"
        );
        assert_eq!(
            srv[2],
            "c.deep.web.skydns.test.: it is of group \"g2\", and the group of the shallowest entries differs"
        );
        assert_eq!(srv[3], "text.web.skydns.test.: it has no host");
        assert_eq!(
            srv[4],
            "web.skydns.test.: it is at the name itself, and the entries below the name are used instead"
        );
        assert!(srv[5].starts_with("/skydns/test/skydns/web/bad: is not JSON"), "{srv:#?}");
        let a = explanations(&tree, "web.skydns.test", "A");
        assert_eq!(a[1], "b.web.skydns.test.: its host ::1 is an IPv6 address");
    }

    #[test]
    fn explain_reports_aliases_and_loops() {
        let tree = [("loop", r#"{"host":"loop.skydns.test"}"#), ("out", r#"{"host":"www.example.org"}"#)];
        assert!(explanations(&tree, "loop.skydns.test", "A")[0].contains("loop.skydns.test. leads to no A record"));
        assert_eq!(
            explanations(&tree, "out.skydns.test", "A"),
            ["out.skydns.test.: out.skydns.test. 300 CNAME www.example.org."]
        );
        assert_eq!(explanations(&tree, "nosuch.skydns.test", "A"), [""; 0]);
        assert_eq!(explanations(&tree, "example.org", "A"), [""; 0]);
    }

    #[test]
    fn record_types_parse_by_name_and_number() {
        assert_eq!(parse_question("a.b", "srv").unwrap().qtype, RecordType::SRV);
        assert_eq!(parse_question("a.b", "TYPE33").unwrap().qtype, RecordType::SRV);
        assert_eq!(parse_question("a.b", "33").unwrap().qtype, RecordType::SRV);
        assert_eq!(parse_question("a.b", "web").unwrap_err(), "\"web\" is not a record type such as SRV, A or TXT");
        assert_eq!(parse_question("a..b", "A").unwrap_err(), "\"a..b\" has an empty label");
    }
}
