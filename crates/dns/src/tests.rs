//! The SkyDNS rules as tables: entries, a question, its response.

use super::testing::{ask, lines, question, settings, snapshot};
use super::{AddressSelection, DnsSettings, ExtendedError, Question, SrvWeights, answer};
use hickory_proto::op::ResponseCode as Rc;
use hickory_proto::rr::{DNSClass, Name as WireName, RecordType as T};
use skyhound_core::catalog::Health;
use skyhound_core::catalog::Keyspace;
use skyhound_model::{Layout, Name};
use std::collections::BTreeSet;

/// One tree for the tables; every name in it is used below.
const TREE: &[(&str, &str)] = &[
    ("web/a", r#"{"host":"10.0.0.1","port":80,"ttl":60}"#),
    ("web/b", r#"{"host":"10.0.0.2","port":80,"priority":20}"#),
    ("web/c", r#"{"host":"2001:db8::1","port":80,"weight":300}"#),
    ("web1", r#"{"host":"10.0.0.9"}"#),
    ("text/a", r#"{"text":"one"}"#),
    ("text/b", r#"{"host":"10.0.0.3","text":"two"}"#),
    ("own", r#"{"host":"10.0.1.1"}"#),
    ("own/below", r#"{"host":"10.0.1.2"}"#),
    ("leased@", r#"{"host":"10.0.1.3"}"#),
    ("forever", r#"{"host":"10.0.1.4","ttl":4294967295}"#),
    ("alias", r#"{"host":"web.skydns.test"}"#),
    ("out", r#"{"host":"www.example.org","port":443}"#),
    ("loop", r#"{"host":"pool.skydns.test"}"#),
    ("pool", r#"{"host":"loop.skydns.test"}"#),
    ("mix/a", r#"{"host":"10.0.2.1"}"#),
    ("mix/b", r#"{"host":"own.skydns.test"}"#),
    ("strip/x/1", r#"{"host":"10.0.3.1","port":1,"targetstrip":2}"#),
    ("grp/a", r#"{"host":"10.0.4.1","group":"g1"}"#),
    ("grp/deep/b", r#"{"host":"10.0.4.2","group":"g2"}"#),
    ("grp/deep/c", r#"{"host":"10.0.4.3"}"#),
    ("bad/only", "?"),
    ("half/bad", "?"),
    ("half/good", r#"{"host":"10.0.5.1"}"#),
    ("dns/ns/a", r#"{"host":"10.0.6.1"}"#),
    ("dns/ns/b", r#"{"host":"ns.example.org"}"#),
    ("dns/apex/a", r#"{"host":"10.0.7.1"}"#),
    ("post/a", r#"{"host":"10.0.8.1","mail":true,"priority":5}"#),
    ("post/b", r#"{"host":"mx.example.org","mail":true}"#),
    ("post/c", r#"{"host":"10.0.8.3"}"#),
    ("back", r#"{"host":"www.example.org"}"#),
    ("words", r#"{"host":"text.skydns.test"}"#),
    ("_udp/_literal", r#"{"host":"10.0.9.1","port":1}"#),
    ("literal", r#"{"host":"10.0.9.2","port":2}"#),
    ("api/i1", r#"{"host":"10.1.0.1","port":1,"skyhound":{"version":"1.2.3"}}"#),
    ("api/i2", r#"{"host":"10.1.0.2","port":2,"skyhound":{"version":"1.3.0"}}"#),
    ("api/i3", r#"{"host":"10.1.0.3","port":3,"skyhound":{"version":"2.0.0"}}"#),
    ("api/i4", r#"{"host":"10.1.0.4","port":4}"#),
    ("api/v2", r#"{"host":"10.1.0.5","port":5}"#),
];

/// Type, name below the zone, rcode, answers, additional. Answers in any order.
type Row = (T, &'static str, Rc, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (T::A, "web", Rc::NoError, &["60 A 10.0.0.1", "60 A 10.0.0.2"], &[]),
    (T::AAAA, "web", Rc::NoError, &["300 AAAA 2001:db8::1"], &[]),
    (T::SRV, "web", Rc::NoError,
        &["60 SRV 10 25 80 a.web.skydns.test.", "60 SRV 10 75 80 c.web.skydns.test.", "60 SRV 20 100 80 b.web.skydns.test."],
        &["a.web.skydns.test. 60 A 10.0.0.1", "b.web.skydns.test. 60 A 10.0.0.2", "c.web.skydns.test. 60 AAAA 2001:db8::1"]),
    (T::SRV, "a.web", Rc::NoError, &["60 SRV 10 100 80 a.web.skydns.test."], &["a.web.skydns.test. 60 A 10.0.0.1"]),
    (T::A, "v1.api", Rc::NoError, &["300 A 10.1.0.1", "300 A 10.1.0.2"], &[]),
    (T::A, "v1-3.api", Rc::NoError, &["300 A 10.1.0.2"], &[]),
    (T::SRV, "v1-2-3.api", Rc::NoError, &["300 SRV 10 100 1 i1.api.skydns.test."], &["i1.api.skydns.test. 300 A 10.1.0.1"]),
    // A name in the store is itself, even if it looks like a version.
    (T::A, "v2.api", Rc::NoError, &["300 A 10.1.0.5"], &[]),
    (T::A, "v3.api", Rc::NXDomain, &[], &[]),
    (T::A, "v1.nothing", Rc::NXDomain, &[], &[]),
    (T::A, "v1.web", Rc::NXDomain, &[], &[]),
    (T::TXT, "text", Rc::NoError, &["300 TXT one", "300 TXT two"], &[]),
    (T::A, "own", Rc::NoError, &["300 A 10.0.1.2"], &[]),
    (T::A, "leased", Rc::NoError, &["30 A 10.0.1.3"], &[]),
    (T::A, "forever", Rc::NoError, &["604800 A 10.0.1.4"], &[]),
    (T::CNAME, "alias", Rc::NoError, &["300 CNAME web.skydns.test."], &[]),
    (T::CNAME, "web", Rc::NoError, &[], &[]),
    (T::SRV, "alias", Rc::NoError, &["300 SRV 10 100 0 web.skydns.test."],
        &["web.skydns.test. 60 A 10.0.0.1", "web.skydns.test. 60 A 10.0.0.2", "web.skydns.test. 60 AAAA 2001:db8::1"]),
    (T::A, "out", Rc::NoError, &["300 CNAME www.example.org."], &[]),
    (T::SRV, "out", Rc::NoError, &["300 SRV 10 100 443 www.example.org."], &[]),
    (T::A, "loop", Rc::NoError, &[], &[]),
    (T::A, "mix", Rc::NoError, &["300 A 10.0.2.1", "300 A 10.0.1.2"], &[]),
    (T::SRV, "strip", Rc::NoError, &["300 SRV 10 100 1 strip.skydns.test."], &["strip.skydns.test. 300 A 10.0.3.1"]),
    (T::A, "grp", Rc::NoError, &["300 A 10.0.4.1", "300 A 10.0.4.3"], &[]),
    (T::A, "deep.grp", Rc::NoError, &["300 A 10.0.4.2", "300 A 10.0.4.3"], &[]),
    (T::A, "a.*", Rc::NoError, &["60 A 10.0.0.1", "60 A 10.0.2.1", "60 A 10.0.4.1", "60 A 10.0.8.1"], &[]),
    (T::A, "*.web", Rc::NoError, &["60 A 10.0.0.1", "60 A 10.0.0.2"], &[]),
    (T::A, "*.web1", Rc::NoError, &[], &[]),
    (T::A, "nosuch.any", Rc::NoError, &[], &[]),
    (T::A, "*.nosuch", Rc::NXDomain, &[], &[]),
    (T::A, "nosuch", Rc::NXDomain, &[], &[]),
    (T::A, "x.a.web", Rc::NXDomain, &[], &[]),
    (T::TXT, "web", Rc::NoError, &[], &[]),
    (T::HINFO, "web", Rc::NoError, &[], &[]),
    (T::NS, "web", Rc::NoError, &[], &[]),
    (T::SOA, "nosuch", Rc::NXDomain, &[], &[]),
    (T::A, "bad", Rc::ServFail, &[], &[]),
    (T::A, "*.bad", Rc::ServFail, &[], &[]),
    (T::A, "half", Rc::NoError, &["300 A 10.0.5.1"], &[]),
    (T::A, "", Rc::NoError, &["300 A 10.0.7.1"], &[]),
    (T::NS, "", Rc::NoError, &["300 NS a.ns.dns.skydns.test.", "300 NS ns.example.org."],
        &["a.ns.dns.skydns.test. 300 A 10.0.6.1"]),
    (T::HINFO, "", Rc::NoError, &[], &[]),
    (T::MX, "post", Rc::NoError, &["300 MX 5 a.post.skydns.test.", "300 MX 10 mx.example.org."],
        &["a.post.skydns.test. 300 A 10.0.8.1"]),
    (T::MX, "c.post", Rc::NoError, &[], &[]),
    (T::PTR, "back", Rc::NoError, &["300 PTR www.example.org."], &[]),
    (T::PTR, "own", Rc::NoError, &[], &[]),
    (T::SRV, "_web1._tcp", Rc::NoError, &["300 SRV 10 100 0 web1.skydns.test."], &["web1.skydns.test. 300 A 10.0.0.9"]),
    (T::A, "_web._udp", Rc::NoError, &["60 A 10.0.0.1", "60 A 10.0.0.2"], &[]),
    (T::A, "_literal._udp", Rc::NoError, &["300 A 10.0.9.1"], &[]),
    (T::A, "_literal._tcp", Rc::NoError, &["300 A 10.0.9.2"], &[]),
    (T::SRV, "_nosuch._tcp", Rc::NXDomain, &[], &[]),
    (T::MX, "_udp", Rc::NoError, &[], &[]),
    (T::A, "_tcp.web1", Rc::NoError, &[], &[]),
    (T::A, "_tcp.nosuch", Rc::NXDomain, &[], &[]),
    (T::SRV, "_web._sctp", Rc::NXDomain, &[], &[]),
    (T::SRV, "web._tcp", Rc::NXDomain, &[], &[]),
    (T::ANY, "web", Rc::Refused, &[], &[]),
    (T::AXFR, "", Rc::Refused, &[], &[]),
];

fn in_zone(name: &str) -> String {
    if name.is_empty() { "skydns.test.".to_owned() } else { format!("{name}.skydns.test.") }
}

#[test]
fn skydns_rules_table() {
    let tree = snapshot(TREE);
    for (qtype, name, rcode, answers, additional) in TABLE {
        let name = in_zone(name);
        let response = ask(&tree, &name, *qtype);
        let case = format!("{qtype} {name}");
        assert_eq!(response.rcode, *rcode, "{case}");
        let expected: BTreeSet<_> = answers.iter().map(|line| format!("{name} {line}")).collect();
        assert_eq!(BTreeSet::from_iter(lines(&response.answers)), expected, "{case}");
        assert_eq!(
            BTreeSet::from_iter(lines(&response.additional)),
            additional.iter().map(ToString::to_string).collect(),
            "{case}"
        );
        let negative = answers.is_empty() && matches!(rcode, Rc::NoError | Rc::NXDomain);
        let authority: Vec<_> = response.authority.iter().map(|r| (r.name.to_string(), r.record_type())).collect();
        let soa = ("skydns.test.".to_owned(), T::SOA);
        assert_eq!(authority, if negative { vec![soa] } else { vec![] }, "{case}");
        assert_eq!(response.authoritative, matches!(rcode, Rc::NoError | Rc::NXDomain), "{case}");
    }
}

#[test]
fn srv_is_lowest_priority_first_and_rotates_within_one() {
    let tree = snapshot(TREE);
    let order = |rotation| {
        let response = answer(&tree, Health::Current, &settings(), &question("web.skydns.test.", T::SRV), rotation);
        lines(&response.answers)
            .iter()
            .map(|line| line.split(' ').next_back().unwrap()[..1].to_owned())
            .collect::<String>()
    };
    assert_eq!([order(0), order(1), order(2)], ["acb", "cab", "acb"]);
    let first = |rotation| {
        let response = answer(&tree, Health::Current, &settings(), &question("web.skydns.test.", T::A), rotation);
        response.answers[0].data.to_string()
    };
    assert_eq!([first(0), first(1), first(2)], ["10.0.0.1", "10.0.0.2", "10.0.0.1"]);
}

#[test]
fn exact_weights_are_the_registered_ones() {
    let exact = DnsSettings { srv_weights: SrvWeights::Exact, ..settings() };
    let response = answer(&snapshot(TREE), Health::Current, &exact, &question("web.skydns.test.", T::SRV), 0);
    let weights: Vec<_> = lines(&response.answers).iter().map(|l| l.split(' ').nth(4).unwrap().to_owned()).collect();
    assert_eq!(weights, ["100", "300", "100"]);
    assert_eq!(response.stored_weights, [100, 300, 100]);
}

#[test]
fn best_priority_addresses_only() {
    let tree = snapshot(&[
        ("db/a", r#"{"host":"10.0.0.1","priority":1}"#),
        ("db/b", r#"{"host":"10.0.0.2","priority":1}"#),
        ("db/c", r#"{"host":"10.0.0.3","text":"c"}"#),
        ("db/d", r#"{"host":"2001:db8::4","priority":20}"#),
        ("db/e", r#"{"host":"nosuch.skydns.test"}"#),
        ("alias", r#"{"host":"db.skydns.test"}"#),
        ("two/first", r#"{"host":"nosuch.skydns.test","priority":1}"#),
        ("two/second", r#"{"host":"db.skydns.test","priority":2}"#),
    ]);
    let best = DnsSettings { addresses: AddressSelection::Best, ..settings() };
    let data = |name: &str, qtype| {
        let response = answer(&tree, Health::Current, &best, &question(&in_zone(name), qtype), 0);
        let mut data: Vec<_> = response.answers.iter().map(|record| record.data.to_string()).collect();
        data.sort();
        data.join(" ")
    };
    assert_eq!(data("db", T::A), "10.0.0.1 10.0.0.2");
    assert_eq!(data("db", T::AAAA), "2001:db8::4", "the best of those that have one");
    assert_eq!(data("c.db", T::A), "10.0.0.3", "by its own name");
    assert_eq!(data("alias", T::A), "10.0.0.1 10.0.0.2 db.skydns.test.");
    assert_eq!(data("two", T::A), "10.0.0.1 10.0.0.2 db.skydns.test.", "an alias that leads nowhere is no better");
    assert_eq!(data("db", T::TXT), "c");
    assert_eq!(data("db", T::SRV).split(' ').filter(|word| word.ends_with(".test.")).count(), 5);
}

#[test]
fn owner_names_repeat_the_case_of_the_question() {
    let tree = snapshot(TREE);
    assert_eq!(lines(&ask(&tree, "wEB.SkyDNS.tesT.", T::AAAA).answers), ["wEB.SkyDNS.tesT. 300 AAAA 2001:db8::1"]);
    assert_eq!(ask(&tree, "NoSuch.SkyDNS.tesT.", T::A).authority[0].name.to_string(), "SkyDNS.tesT.");
}

#[test]
fn soa_has_hostmaster_and_serial() {
    let response = ask(&snapshot(TREE), "skydns.test.", T::SOA);
    let soa = "skydns.test. 15 SOA ns.dns.skydns.test. hostmaster.skydns.test. 7 7200 1800 86400 15";
    assert_eq!(lines(&response.answers), [soa]);
    let named = DnsSettings { hostmaster: Some(Name::parse("ops.example.org").unwrap()), ..settings() };
    let response = answer(&snapshot(&[]), Health::Current, &named, &question("skydns.test.", T::SOA), 0);
    assert!(lines(&response.answers)[0].contains("ops.example.org."), "also in an empty zone");
}

#[test]
fn empty_zone_apex_is_nodata() {
    let empty = snapshot(&[]);
    for qtype in [T::A, T::SRV, T::NS, T::TXT] {
        let response = ask(&empty, "skydns.test.", qtype);
        assert_eq!((response.rcode, response.authority.len()), (Rc::NoError, 1), "{qtype}");
    }
    assert_eq!(ask(&empty, "x.skydns.test.", T::A).rcode, Rc::NXDomain);
}

#[test]
fn names_out_of_zone_and_unloaded_stores_get_no_nxdomain() {
    let tree = snapshot(TREE);
    let response = ask(&tree, "example.org.", T::A);
    assert_eq!((response.rcode, response.extended_error), (Rc::Refused, Some(ExtendedError::NotAuthoritative)));
    let empty = skyhound_core::catalog::Snapshot::empty(Keyspace::from(Layout::new("/skydns")));
    for (name, rcode) in [("web.skydns.test.", Rc::ServFail), ("skydns.test.", Rc::ServFail), ("org.", Rc::Refused)] {
        let response = answer(&empty, Health::NeverLoaded, &settings(), &question(name, T::SOA), 0);
        assert_eq!((response.rcode, response.authority.len()), (rcode, 0), "{name}");
    }
}

#[test]
fn stale_answers_have_a_short_ttl_and_an_extended_error() {
    let stale = Health::Stale { since: tokio::time::Instant::now() };
    let tree = snapshot(TREE);
    for (name, rcode, error) in [
        ("web.skydns.test.", Rc::NoError, ExtendedError::Stale),
        ("nosuch.skydns.test.", Rc::NXDomain, ExtendedError::StaleNxDomain),
    ] {
        let response = answer(&tree, stale, &settings(), &question(name, T::SRV), 0);
        assert_eq!((response.rcode, response.extended_error), (rcode, Some(error)));
        let mut all = response.answers.iter().chain(&response.authority).chain(&response.additional);
        assert!(all.all(|record| record.ttl == 10), "{response:?}");
    }
}

#[test]
fn apex_answers_are_bounded() {
    let items: Vec<_> = (0..200).map(|i| (format!("s/{i}"), format!(r#"{{"host":"10.1.0.{i}"}}"#))).collect();
    let tree = snapshot(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
    for qtype in [T::A, T::SRV] {
        let response = ask(&tree, "skydns.test.", qtype);
        assert_eq!(response.answers.len(), 50, "{qtype}");
        assert!(response.additional.len() <= 50, "{qtype}");
        assert_eq!(ask(&tree, "s.skydns.test.", qtype).answers.len(), 200, "{qtype}");
    }
}

#[test]
fn oversized_sets_rotate_through_a_window() {
    let items: Vec<_> = (0..40).map(|i| (format!("s/{}/{i}", i % 7), format!(r#"{{"host":"10.1.0.{i}"}}"#))).collect();
    let tree = snapshot(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
    let limited = DnsSettings { entries_max: 15, ..settings() };
    let mut seen = BTreeSet::new();
    for rotation in 0..40 {
        let response = answer(&tree, Health::Current, &limited, &question("s.skydns.test.", T::A), rotation);
        assert_eq!(response.answers.len(), 15, "rotation {rotation}");
        seen.extend(response.answers.iter().map(|record| record.data.to_string()));
    }
    assert_eq!(seen.len(), 40);
}

#[test]
fn aliases_that_fan_out_are_bounded() {
    // Seven names of twenty aliases each, all to the next name: 20⁷ chains that lead nowhere.
    let items: Vec<_> = (0..140)
        .map(|i| (format!("f{}/{}", i / 20, i % 20), format!(r#"{{"host":"f{}.skydns.test"}}"#, i / 20 + 1)))
        .collect();
    let tree = snapshot(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
    let response = ask(&tree, "f0.skydns.test.", T::A);
    assert_eq!((response.rcode, response.answers.len()), (Rc::NoError, 0));
}

#[test]
fn txt_follows_aliases() {
    let response = lines(&ask(&snapshot(TREE), "words.skydns.test.", T::TXT).answers);
    assert_eq!(response.len(), 3, "{response:?}");
    assert_eq!(response[0], "words.skydns.test. 300 CNAME text.skydns.test.");
}

#[test]
fn local_name_resolves_to_the_configured_name() {
    let tree = snapshot(TREE);
    let local = DnsSettings { local: Some(Name::parse("a.web.skydns.test").unwrap()), ..settings() };
    let ask = |settings: &DnsSettings, name| answer(&tree, Health::Current, settings, &question(name, T::A), 0);
    let response = ask(&local, "Local.dns.skydns.test.");
    assert_eq!(lines(&response.answers), ["Local.dns.skydns.test. 60 A 10.0.0.1"]);
    assert_eq!(ask(&settings(), "local.dns.skydns.test.").rcode, Rc::NXDomain);
    assert_eq!(ask(&local, "x.local.dns.skydns.test.").rcode, Rc::NXDomain);
}

#[test]
fn class_ch_describes_the_server() {
    let named = DnsSettings { server_id: "ns7".into(), ..settings() };
    let ask = |settings: &DnsSettings, name: &str, qtype| {
        let question = Question::new(WireName::from_ascii(name).unwrap(), qtype, DNSClass::CH).unwrap();
        let response = answer(&snapshot(&[]), Health::NeverLoaded, settings, &question, 0);
        (response.rcode, response.answers.first().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.dns_class, r.data)))
    };
    let id = (Rc::NoError, Some("ID.server. 0 CH ns7".to_owned()));
    assert_eq!(ask(&named, "ID.server.", T::TXT), id);
    assert!(ask(&named, "version.bind.", T::TXT).1.unwrap().contains("skyhound"));
    assert_eq!(ask(&settings(), "hostname.bind.", T::TXT), (Rc::Refused, None));
    assert_eq!(ask(&named, "version.bind.", T::A), (Rc::Refused, None));
    assert_eq!(ask(&named, "skydns.test.", T::TXT), (Rc::Refused, None));
}

#[test]
fn lease_bounds_the_ttl() {
    use skyhound_core::catalog::StoredEntry;
    use skyhound_model::{Entry, Key};
    use skyhound_store::{LeaseId, Revision};
    use std::num::NonZeroU32;
    let ttl = |entry_ttl: u32, lease: Option<Option<u32>>| {
        settings().ttl_of(&StoredEntry {
            key: Key::from("/skydns/a"),
            entry: Entry { ttl: entry_ttl, ..Entry::default() },
            revision: Revision(1),
            lease: lease.map(|_| LeaseId(1)),
            lease_ttl_s: lease.flatten().and_then(NonZeroU32::new),
            service: None,
            in_mirror: false,
        })
    };
    assert_eq!([ttl(0, None), ttl(0, Some(None)), ttl(0, Some(Some(120)))], [300, 30, 120]);
    assert_eq!([ttl(400, None), ttl(400, Some(None)), ttl(400, Some(Some(120)))], [400, 400, 120]);
    assert_eq!([ttl(0, Some(Some(5))), ttl(0, Some(Some(200_000))), ttl(7, Some(Some(120)))], [30, 86_400, 7]);
}

#[test]
fn duplicate_records_get_the_shorter_ttl() {
    let entries = [
        ("web/a", r#"{"host":"10.0.0.1","ttl":60}"#),
        ("web/b", r#"{"host":"10.0.0.1"}"#),
        ("web/c", r#"{"host":"10.0.0.1","ttl":90}"#),
    ];
    let snapshot = snapshot(&entries);
    for rotation in 0..3 {
        let response = answer(&snapshot, Health::Current, &settings(), &question("web.skydns.test.", T::A), rotation);
        assert_eq!(lines(&response.answers), ["web.skydns.test. 60 A 10.0.0.1"], "rotation {rotation}");
    }
}

#[test]
fn empty_non_terminals_are_nodata() {
    let snapshot = snapshot(TREE);
    for (name, qtype, rcode) in [
        ("_tcp.skydns.test.", T::A, Rc::NoError),
        ("_tcp.web.skydns.test.", T::A, Rc::NoError),
        ("_tcp.nosuch.skydns.test.", T::A, Rc::NXDomain),
        ("_sctp.web.skydns.test.", T::A, Rc::NXDomain),
        ("dns.skydns.test.", T::A, Rc::NoError),
    ] {
        let response = ask(&snapshot, name, qtype);
        assert_eq!(response.rcode, rcode, "{name}");
    }
    let empty = super::testing::snapshot(&[]);
    let local = DnsSettings { local: Some(Name::parse("web.skydns.test").unwrap()), ..settings() };
    for (settings, rcode) in [(settings(), Rc::NXDomain), (local, Rc::NoError)] {
        let response = answer(&empty, Health::Current, &settings, &question("dns.skydns.test.", T::A), 0);
        assert_eq!(response.rcode, rcode);
    }
}

#[test]
fn reverse_zone_hosts_are_no_aliases() {
    let put = |key: &str, value: &str| {
        skyhound_store::Change::Put(skyhound_store::Item {
            key: skyhound_model::Key::from(format!("/skydns/{key}")),
            value: value.to_owned().into_bytes().into(),
            revision: skyhound_store::Revision(7),
            lease: None,
        })
    };
    let changes = vec![
        put("arpa/in-addr/10/0/0/1", r#"{"host":"web.skydns.test","text":"rack 7"}"#),
        put("test/skydns/web", r#"{"host":"10.0.0.1"}"#),
    ];
    let batch = skyhound_store::Batch { revision: skyhound_store::Revision(7), changes };
    let snapshot = skyhound_core::catalog::Snapshot::empty(Keyspace::from(Layout::new("/skydns"))).apply(&batch);
    let zones = ["10.in-addr.arpa", "skydns.test"].map(|zone| Name::parse(zone).unwrap());
    let settings = DnsSettings::new(zones.to_vec());
    let ask = |name, qtype| answer(&snapshot, Health::Current, &settings, &question(name, qtype), 0);
    let ptr = ask("1.0.0.10.in-addr.arpa.", T::PTR);
    assert_eq!(lines(&ptr.answers), ["1.0.0.10.in-addr.arpa. 300 PTR web.skydns.test."]);
    assert_eq!(lines(&ask("1.0.0.10.in-addr.arpa.", T::TXT).answers), ["1.0.0.10.in-addr.arpa. 300 TXT rack 7"]);
    for name in ["1.0.0.10.in-addr.arpa.", "0.0.10.in-addr.arpa.", "10.in-addr.arpa."] {
        for qtype in [T::A, T::AAAA, T::CNAME] {
            let response = ask(name, qtype);
            assert_eq!(
                (response.rcode, response.answers.len(), response.authority.len()),
                (Rc::NoError, 0, 1),
                "{name} {qtype}"
            );
        }
    }
}
