//! The invariant of the fast path: its response equals that of the general path, or there is none.

use super::super::general::{ResponseState, respond};
use super::super::handler::Handler;
use super::super::message::Transport;
use super::super::settings::{DnsSettings, ForwardSettings};
use super::super::stats::DnsStats;
use super::super::testing::snapshot;
use super::{CacheId, FastPath};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use proptest::prelude::*;
use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::{Catalog, Health, Snapshot};
use skyhound_model::{Layout, Name};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Both paths over one catalog.
struct Paths {
    catalog: Arc<Catalog>,
    fast: FastPath,
    general: Handler,
}

fn settings() -> DnsSettings {
    let zones = ["skydns.test", "deep.skydns.test", "other"].map(|zone| Name::parse(zone).unwrap());
    let servers = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9))];
    let forward = ForwardSettings { servers, ..ForwardSettings::default() };
    DnsSettings { apex_max: 3, forward, ..DnsSettings::new(zones.to_vec()) }
}

impl Paths {
    fn new() -> Self {
        Self::with_settings(settings())
    }

    fn with_settings(settings: DnsSettings) -> Self {
        let catalog = Catalog::new(Keyspace::from(Layout::new("/skydns")));
        let general = Handler::new(Arc::clone(&catalog), settings.clone());
        let fast = FastPath::new(settings, CacheId::new(), &general.stats());
        Self { catalog, fast, general }
    }

    fn with_entries(items: &[(String, String)]) -> Self {
        let paths = Self::new();
        paths.set_snapshot(snapshot(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>()));
        paths
    }

    fn set_snapshot(&self, snapshot: Snapshot) {
        self.catalog.set(snapshot, Health::Current);
    }

    /// The response of the fast path, if it has one.
    fn fast(&self, query_message: &[u8], rotation: u32) -> Option<Vec<u8>> {
        let snapshot = self.catalog.snapshot();
        let view = self.fast.view(&snapshot, self.catalog.health())?;
        let mut buffer = [0xee; 4096];
        buffer[..query_message.len()].copy_from_slice(query_message);
        let length = self.fast.answer(&view, &mut buffer, query_message.len(), client(query_message).ip(), rotation)?;
        Some(buffer[..length].to_vec())
    }

    fn general(&self, query_message: &[u8], transport: Transport) -> Message {
        match respond(&self.general, query_message, client(query_message), transport) {
            ResponseState::Ready(Some(bytes)) => Message::from_vec(&bytes).unwrap(),
            _ => panic!("the general path has no answer"),
        }
    }
}

/// A client: one for which queries are forwarded, or one without that permission.
fn client(query_message: &[u8]) -> SocketAddr {
    let is_local = query_message.len().is_multiple_of(2);
    SocketAddr::from((if is_local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(203, 0, 113, 9) }, 7))
}

fn query_message(name: &str, qtype: RecordType, edns: Option<(u16, bool)>) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = name.len().is_multiple_of(2);
    message.metadata.checking_disabled = name.len().is_multiple_of(3);
    message.queries.push(Query::query(WireName::from_ascii(name).unwrap(), qtype));
    if let Some((payload, dnssec_ok)) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns.set_dnssec_ok(dnssec_ok);
        message.edns = Some(edns);
    }
    message.to_vec().unwrap()
}

/// Records without their order, in lower case: which of their names repeat the case of the question depends on the
/// compression.
fn set(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|r| format!("{} {} {:?}", r.name, r.ttl, r.data).to_lowercase()).collect()
}

fn priorities(records: &[Record]) -> Vec<u16> {
    let srv = |record: &Record| if let RData::SRV(srv) = &record.data { Some(srv.priority) } else { None };
    records.iter().filter_map(srv).collect()
}

/// Checks the invariant for one question. Returns whether the fast path answered it.
fn agree(paths: &Paths, message: &[u8], rotation: u32) -> bool {
    let Some(bytes) = paths.fast(message, rotation) else { return false };
    let response = Message::from_vec(&bytes).expect("a message");
    let whole = paths.general(message, Transport::Tcp);
    let general = paths.general(message, Transport::Udp);
    let read = Message::from_vec(message).unwrap();
    let limit = read.edns.as_ref().map_or(512, |edns| edns.max_payload().min(1232)).max(512);
    assert!(bytes.len() <= usize::from(limit), "{} over {limit}", bytes.len());
    // All of the header except for TC, which the size decides, and the bytes of the question.
    let mut metadata = response.metadata;
    metadata.truncation = false;
    assert_eq!((metadata, &response.edns), (whole.metadata, &whole.edns));
    assert_eq!(
        bytes[12..].get(..response.queries[0].name().len() + 4),
        message[12..].get(..response.queries[0].name().len() + 4)
    );
    let same = [(&response.answers, &whole.answers), (&response.authorities, &whole.authorities)];
    if response.metadata.truncation {
        assert!(general.metadata.truncation, "the general path does not truncate this");
        assert!(set(&response.answers).is_subset(&set(&whole.answers)) && response.additionals.is_empty());
        assert!(response.answers.len().abs_diff(general.answers.len()) <= 1 + general.answers.len() / 8);
    } else {
        for (response, whole) in same {
            assert_eq!(set(response), set(whole));
        }
        // The part of the additional section that fits depends on the compression.
        assert!(set(&response.additionals).is_subset(&set(&whole.additionals)));
        if general.additionals.len() == whole.additionals.len() && bytes.len() < usize::from(limit) / 2 {
            assert_eq!(response.additionals.len(), whole.additionals.len());
        }
        assert!(response.answers.iter().all(|record| record.name.to_string() == read.queries[0].name().to_string()));
    }
    assert_eq!(priorities(&response.answers), priorities(&whole.answers)[..priorities(&response.answers).len()]);
    true
}

fn value() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec![
        r#""host":"10.0.0.1","#,
        r#""host":"10.0.0.1","#,
        r#""host":"10.0.0.2","#,
        r#""host":"2001:db8::1","#,
        r#""host":"b.skydns.test","#,
        r#""host":"www.example.org","#,
        "",
    ]);
    let more = prop::sample::select(vec![
        r#""port":80"#,
        r#""port":81,"priority":20"#,
        r#""weight":7"#,
        r#""ttl":60"#,
        r#""text":"t""#,
        r#""targetstrip":1,"port":9"#,
        r#""group":"g""#,
        "?",
    ]);
    (host, more).prop_map(|(host, more)| format!("{{{host}{more}}}"))
}

fn name() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "B", "c", "*", "any", "_a", "dns", "ns", "apex", "deep", "x1"]);
    let zone =
        prop::sample::select(vec!["skydns.test.", "SkyDNS.tesT.", "deep.skydns.test.", "other.", "org.", "test."]);
    (prop::collection::vec(label, 0..3), zone).prop_map(|(mut labels, zone)| {
        labels.push(zone);
        labels.join(".")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 2048 }))]

    #[test]
    fn fast_and_general_path_agree(
        keys in prop::collection::vec((prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "deep", "dns", "ns", "apex", "x1"]), 0..4), value()), 0..20),
        questions in prop::collection::vec((name(), 0..5usize, prop::option::of((prop::sample::select(vec![0u16, 512, 800, 1232, 4096]), any::<bool>())), any::<u32>()), 1..40),
    ) {
        let items: Vec<_> = keys.into_iter().map(|(labels, value)| (labels.join("/"), value)).collect();
        let paths = Paths::with_entries(&items);
        for (name, qtype, edns, rotation) in questions {
            let qtype = [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT, RecordType::MX][qtype];
            let message = query_message(&name, qtype, edns);
            // The first one fills the cache, the second one is answered from it.
            let first = agree(&paths, &message, rotation);
            prop_assert_eq!(first, agree(&paths, &message, rotation.wrapping_add(1)));
        }
    }

    #[test]
    fn sets_of_any_size_agree(count in 1usize..200, tiers in 1usize..4, payload in prop::sample::select(vec![None, Some((512, false)), Some((1232, true)), Some((4096, false))]), rotation: u32) {
        let entry = |i: usize| format!(r#"{{"host":"10.0.{}.{}","port":80,"priority":{}}}"#, i / 256, i % 256, 1 + i % tiers);
        let paths = Paths::with_entries(&(0..count).map(|i| (format!("web/instance-{i}"), entry(i))).collect::<Vec<_>>());
        for qtype in [RecordType::SRV, RecordType::A, RecordType::AAAA] {
            prop_assert!(agree(&paths, &query_message("wEb.skydns.test.", qtype, payload), rotation), "the fast path answers the common case");
        }
    }
}

#[test]
fn fast_path_takes_common_questions_only() {
    let items: Vec<_> = [
        ("web/a", r#"{"host":"10.0.0.1","port":80}"#),
        ("web/b", r#"{"host":"10.0.0.2","port":80}"#),
        ("out", r#"{"host":"www.example.org"}"#),
        ("bad/only", "?"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    let paths = Paths::with_entries(&items);
    let is_taken = |name: &str, qtype| agree(&paths, &query_message(name, qtype, Some((1232, false))), 1);
    for name in ["web.skydns.test.", "a.web.skydns.test.", "nosuch.skydns.test.", "x.y.z.other.", "x.deep.skydns.test."]
    {
        for qtype in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT] {
            assert!(is_taken(name, qtype), "{name} {qtype}");
        }
    }
    for name in [
        "out.skydns.test.",
        "bad.skydns.test.",
        "*.skydns.test.",
        "any.web.skydns.test.",
        "_web.skydns.test.",
        "x.dns.skydns.test.",
        "org.",
        "test.",
        "skydns.test.",
        "other.",
    ] {
        assert!(!is_taken(name, RecordType::SRV), "{name}");
    }
    assert!(!is_taken("web.skydns.test.", RecordType::MX));
    assert_eq!(counts(&paths.general.stats(), "NXDOMAIN"), 3 * 4 * 3, "each of the questions");
}

/// The number of responses with that rcode.
fn counts(stats: &DnsStats, rcode: &str) -> u64 {
    stats.rcodes().find(|(name, _)| *name == rcode).unwrap().1
}

#[test]
fn only_changes_below_invalidate_the_answer_cache() {
    let item = |key: &str, host: &str| (key.to_owned(), format!(r#"{{"host":"{host}"}}"#));
    let paths = Paths::with_entries(&[item("web/a", "10.0.0.1"), item("else/a", "10.0.9.9")]);
    let message = query_message("web.skydns.test.", RecordType::A, None);
    let answers = || Message::from_vec(&paths.fast(&message, 0).unwrap()).unwrap().answers.len();
    let cached =
        |at: &Snapshot| at.node(&Name::parse("web.skydns.test").unwrap()).unwrap().answer_slot().get(0).is_some();
    assert_eq!(answers(), 1);
    paths.set_snapshot(change(&paths.catalog.snapshot(), &item("else/b", "10.0.9.8")));
    assert!(cached(&paths.catalog.snapshot()), "a change elsewhere invalidates nothing");
    paths.set_snapshot(change(&paths.catalog.snapshot(), &item("web/b", "10.0.0.2")));
    assert!(!cached(&paths.catalog.snapshot()));
    assert_eq!(answers(), 2);
}

/// Returns the snapshot with one more entry.
fn change(at: &Snapshot, (key, value): &(String, String)) -> Snapshot {
    let revision = skyhound_store::Revision(at.revision().0 + 1);
    at.apply(&skyhound_store::Batch {
        revision,
        changes: vec![skyhound_store::Change::Put(skyhound_store::Item {
            key: skyhound_model::Key::from(format!("/skydns/test/skydns/{key}")),
            value: bytes::Bytes::copy_from_slice(value.as_bytes()),
            revision,
            lease: None,
        })],
    })
}

#[test]
fn cached_answers_of_other_settings_are_ignored() {
    let items = [("web/a".to_owned(), r#"{"host":"10.0.0.1"}"#.to_owned())];
    let (one, mut two) = (Paths::with_entries(&items), Paths::new());
    let message = query_message("web.skydns.test.", RecordType::A, None);
    assert!(one.fast(&message, 0).is_some());
    two.catalog = Arc::clone(&one.catalog);
    assert!(two.fast(&message, 0).is_none());
}

#[test]
fn fast_path_is_off_while_stale() {
    let paths = Paths::with_entries(&[("web/a".to_owned(), r#"{"host":"10.0.0.1"}"#.to_owned())]);
    let message = query_message("web.skydns.test.", RecordType::A, None);
    assert!(paths.fast(&message, 0).is_some());
    let stale = Health::Stale { since: tokio::time::Instant::now() };
    paths.catalog.set((*paths.catalog.snapshot()).clone(), stale);
    assert!(paths.fast(&message, 0).is_none());
}

/// Readers query while a writer switches a service between two states: an answer is one of them, never a mixture, and
/// never older than a change that was made before the question.
#[test]
fn answers_are_of_one_revision_while_the_tree_changes() {
    const ROUNDS: usize = 3_000;
    let state = |host: &str| {
        let items: Vec<_> = (0..3).map(|i| (format!("web/{i}"), format!(r#"{{"host":"{host}{i}"}}"#))).collect();
        snapshot(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
    };
    let (even, odd) = (state("10.0.0."), state("10.0.1."));
    let paths = Paths::new();
    paths.set_snapshot(even.clone());
    let catalog = &paths.catalog;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = Paths { catalog: Arc::clone(catalog), ..Paths::new() };
            let fast = FastPath::new(settings(), paths.fast.cache_id, &reader.general.stats());
            let reader = Paths { fast, ..reader };
            let done = &done;
            scope.spawn(move || {
                let message = query_message("web.skydns.test.", RecordType::A, None);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let response = Message::from_vec(&reader.fast(&message, 0).unwrap()).unwrap();
                    let third: BTreeSet<_> = response.answers.iter().map(|record| third_octet(&record.data)).collect();
                    assert_eq!((response.answers.len(), third.len()), (3, 1), "{response}");
                }
            });
        }
        for round in 0..ROUNDS {
            let next = if round % 2 == 0 { &odd } else { &even };
            paths.set_snapshot(change(next, &("else/x".to_owned(), r#"{"host":"10.9.9.9"}"#.to_owned())));
            let message = query_message("web.skydns.test.", RecordType::A, None);
            let response = Message::from_vec(&paths.fast(&message, 0).unwrap()).unwrap();
            assert_eq!(
                usize::from(third_octet(&response.answers[0].data)),
                (round + 1) % 2,
                "the writer reads its own change"
            );
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn third_octet(data: &RData) -> u8 {
    if let RData::A(a) = data { a.0.octets()[2] } else { panic!("{data} is no address") }
}

/// Questions with DO go to the general path in zones with keys; all others are answered by the fast path.
#[test]
fn dnssec_questions_go_to_the_general_path() {
    use super::super::dnssec::key::ZoneKey;
    use hickory_proto::dnssec::Algorithm;
    let keys = vec![Arc::new(ZoneKey::for_zone("deep.skydns.test", Algorithm::ED25519))];
    let paths = Paths::with_settings(DnsSettings { keys, ..settings() });
    paths.set_snapshot(snapshot(&[("web/a", r#"{"host":"10.0.0.1"}"#), ("deep/a", r#"{"host":"10.0.0.2"}"#)]));
    for (name, signed) in [
        ("web.skydns.test.", true), // the addresses of a subtree may lie in the zone below
        ("deep.skydns.test.", true),
        ("none.deep.skydns.test.", true),
        ("none.other.", false),
    ] {
        assert!(agree(&paths, &query_message(name, RecordType::A, Some((1232, false))), 0), "{name}");
        let with = query_message(name, RecordType::A, Some((1232, true)));
        assert_eq!(paths.fast(&with, 0).is_none(), signed, "{name}");
    }
}
