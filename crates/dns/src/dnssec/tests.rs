//! Whole answers, from bytes to bytes: every RRset in them is sent with its signatures, or not at all.

use super::super::general::{ResponseState, respond};
use super::super::handler::Handler;
use super::super::message::Transport;
use super::super::settings::{DnsSettings, ForwardSettings};
use super::super::testing::snapshot;
use super::{ADDITIONAL_RRSETS_MAX, key::ZoneKey, rrsets};
use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::dnssec::{Algorithm, Verifier};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use proptest::prelude::*;
use skyhound_core::catalog::Catalog;
use skyhound_model::Name;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

struct Signed {
    handler: Handler,
    settings: DnsSettings,
}

/// The zones, and those of them that have a key.
fn settings(zones: &[&str], signed: &[&str]) -> DnsSettings {
    let mut settings = DnsSettings::new(zones.iter().map(|zone| Name::parse(zone).unwrap()).collect());
    settings.keys = signed.iter().map(|zone| Arc::new(ZoneKey::for_zone(zone, Algorithm::ED25519))).collect();
    settings
}

impl Signed {
    fn new(settings: DnsSettings, items: &[(&str, &str)]) -> Self {
        let handler = Handler::new(Catalog::fixed(Arc::new(snapshot(items))), settings.clone());
        Self { handler, settings }
    }

    fn with_entries(items: &[(&str, &str)]) -> Self {
        Self::new(settings(&["skydns.test"], &["skydns.test"]), items)
    }

    /// A service with `count` instances.
    fn with_instances(count: usize, value: impl Fn(usize) -> String) -> Self {
        let items: Vec<_> = (0..count).map(|i| (format!("web/i{i:05}"), value(i))).collect();
        Self::with_entries(&items.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
    }

    fn query(&self, name: &str, qtype: RecordType, edns: (u16, bool), transport: Transport) -> Message {
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.queries.push(Query::query(WireName::from_ascii(name).unwrap(), qtype));
        message.edns = Some(Edns::new());
        message.edns.as_mut().unwrap().set_max_payload(edns.0).set_dnssec_ok(edns.1);
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let ResponseState::Ready(Some(bytes)) = respond(&self.handler, &message.to_vec().unwrap(), from, transport)
        else {
            panic!("no answer to {name} {qtype}");
        };
        assert!(bytes.len() <= usize::from(if transport == Transport::Udp { edns.0.max(512) } else { u16::MAX }));
        Message::from_vec(&bytes).unwrap()
    }

    /// Queries with DO over TCP, and verifies every RRset of a signed zone.
    fn signed(&self, name: &str, qtype: RecordType) -> Message {
        let response = self.query(name, qtype, (1232, true), Transport::Tcp);
        self.verify_signatures(&response);
        response
    }

    fn verify_signatures(&self, response: &Message) {
        for section in [&response.answers, &response.authorities, &response.additionals] {
            let (signatures, records): (Vec<&Record>, Vec<&Record>) = section.iter().partition(|r| rrsig(r).is_some());
            for set in rrsets(&records.into_iter().cloned().collect::<Vec<_>>()) {
                self.verify_rrset(&set, &signatures);
            }
        }
    }

    /// Asserts that an RRset has a signature of each key of its zone.
    fn verify_rrset(&self, set: &[Record], signatures: &[&Record]) {
        let (name, rtype) = (&set[0].name, set[0].record_type());
        let zone_of = if rtype == RecordType::DS { name.base_name() } else { name.clone() };
        let tree_name = super::wire::to_tree_name(&zone_of).unwrap();
        let Some(zone) = self.settings.zone_of(&tree_name) else { return };
        for key in self.settings.keys_of(zone) {
            let is_valid = |record: &&&Record| {
                let sig = rrsig(record).unwrap();
                record.name == *name
                    && sig.input().key_tag == key.tag()
                    && key.dnskey().verify_rrsig(name, set[0].dns_class, sig, set.iter()).is_ok()
            };
            assert!(signatures.iter().any(|s| is_valid(&s)), "{name} {rtype} has no valid signature: {signatures:?}");
        }
    }
}

fn rrsig(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => Some(rrsig),
        _ => None,
    }
}

fn types(records: &[Record]) -> Vec<RecordType> {
    records.iter().map(Record::record_type).collect()
}

const TREE: &[(&str, &str)] = &[
    ("web/a", r#"{"host":"10.0.0.1","port":1}"#),
    ("web/b", r#"{"host":"10.0.0.2","port":2,"priority":20,"ttl":60}"#),
    ("web/c", r#"{"host":"2001:db8::1","port":3,"text":"three"}"#),
    ("alias", r#"{"host":"web.skydns.test"}"#),
    ("out", r#"{"host":"www.example.org"}"#),
    ("both/x", r#"{"host":"alias.skydns.test"}"#),
    ("both/y", r#"{"host":"web.skydns.test"}"#),
    ("dns/ns/a", r#"{"host":"10.0.0.53"}"#),
];

#[test]
fn every_rrset_is_signed() {
    let zone = Signed::with_entries(TREE);
    for (name, qtype, expected) in [
        ("web", RecordType::SRV, "SRV SRV SRV RRSIG / / A A AAAA RRSIG RRSIG RRSIG"),
        ("web", RecordType::A, "A A RRSIG / /"),
        ("WEB", RecordType::TXT, "TXT RRSIG / /"),
        ("*", RecordType::AAAA, "AAAA RRSIG / /"),
        ("any.web", RecordType::A, "A A RRSIG / /"),
        ("_web._tcp", RecordType::SRV, "SRV SRV SRV RRSIG / / A A AAAA RRSIG RRSIG RRSIG"),
        ("alias", RecordType::A, "CNAME RRSIG A A RRSIG / /"),
        ("out", RecordType::A, "CNAME RRSIG / /"),
        ("web", RecordType::MX, "/ SOA RRSIG NSEC3 RRSIG /"),
        ("web", RecordType::DS, "/ SOA RRSIG NSEC3 RRSIG /"),
        ("web", RecordType::DNSKEY, "/ SOA RRSIG NSEC3 RRSIG /"),
        ("nobody", RecordType::A, "/ SOA RRSIG NSEC3 RRSIG NSEC3 RRSIG NSEC3 RRSIG /"),
        ("*.nobody", RecordType::A, "/ SOA RRSIG NSEC3 RRSIG NSEC3 RRSIG /"),
    ] {
        let response = zone.signed(&format!("{name}.skydns.test."), qtype);
        let mut all = [&response.answers, &response.authorities, &response.additionals].map(|s| types(s));
        all[2].sort(); // in the order of the answers, which rotates
        let shown = all.map(|types| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).join(" / ");
        assert_eq!(shown.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{name} {qtype}");
        assert!(response.metadata.authoritative && !response.metadata.authentic_data);
    }
    let response = zone.signed("both.skydns.test.", RecordType::A);
    assert!(types(&response.answers).starts_with(&[RecordType::CNAME, RecordType::RRSIG]), "{:?}", response.answers);
}

#[test]
fn apex_publishes_its_keys() {
    let zone = Signed::with_entries(TREE);
    for qtype in [RecordType::DNSKEY, RecordType::CDS, RecordType::CDNSKEY, RecordType::SOA, RecordType::NS] {
        let response = zone.signed("SkyDNS.test.", qtype);
        assert_eq!(types(&response.answers), [qtype, RecordType::RRSIG]);
    }
    let ds = zone.signed("skydns.test.", RecordType::DS);
    assert_eq!(types(&ds.authorities).len(), 4, "the parent zone answers: {ds:?}");
    let plain = zone.query("skydns.test.", RecordType::DNSKEY, (1232, false), Transport::Udp);
    assert_eq!(types(&plain.answers), [RecordType::DNSKEY], "also for clients without DO");
}

#[test]
fn every_key_signs_every_rrset() {
    let mut settings = settings(&["skydns.test"], &["skydns.test", "skydns.test"]);
    settings.keys.push(Arc::new(ZoneKey::for_zone("skydns.test", Algorithm::ECDSAP256SHA256)));
    let response = Signed::new(settings, TREE).signed("web.skydns.test.", RecordType::TXT);
    assert_eq!(response.answers.len(), 4);
}

#[test]
fn without_do_or_a_key_nothing_is_signed() {
    let (with, without) = (Signed::with_entries(TREE), Signed::new(settings(&["skydns.test"], &[]), TREE));
    for name in ["alias.skydns.test.", "nobody.skydns.test.", "skydns.test.", "example.org."] {
        let plain = without.query(name, RecordType::A, (1232, false), Transport::Tcp);
        let counts = |response: &Message| {
            (response.metadata.response_code, response.answers.len(), response.authorities.clone())
        };
        for (zone, edns) in [(&with, false), (&without, true)] {
            assert_eq!(
                counts(&zone.query(name, RecordType::A, (1232, edns), Transport::Tcp)),
                counts(&plain),
                "{name}"
            );
        }
    }
    assert_eq!(without.query("skydns.test.", RecordType::DNSKEY, (1232, true), Transport::Tcp).answers, []);
}

#[test]
fn zones_sign_with_their_own_keys() {
    let zones = ["test", "skydns.test", "web.skydns.test"];
    let top = Signed::new(settings(&zones, &["test", "skydns.test"]), TREE);
    let ds = top.signed("skydns.test.", RecordType::DS);
    assert_eq!(types(&ds.answers), [RecordType::DS, RecordType::RRSIG]);
    assert_eq!(rrsig(&ds.answers[1]).unwrap().input().signer_name.to_string(), "test.");
    // A zone without a key below a signed one: the parent zone denies its DS.
    let none = top.signed("web.skydns.test.", RecordType::DS);
    assert_eq!(types(&none.authorities), [RecordType::SOA, RecordType::RRSIG, RecordType::NSEC3, RecordType::RRSIG]);
    assert_eq!(none.authorities[0].name.to_string(), "skydns.test.");
    let RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) = &none.authorities[2].data else { panic!("{none:?}") };
    assert_eq!(nsec3.type_bit_maps().collect::<Vec<_>>(), [RecordType::NS, RecordType::RRSIG]);
    // It is not signed; an alias into it from a signed zone is.
    assert_eq!(types(&top.signed("web.skydns.test.", RecordType::TXT).answers), [RecordType::TXT]);
    let alias = top.signed("alias.skydns.test.", RecordType::TXT);
    assert_eq!(types(&alias.answers), [RecordType::CNAME, RecordType::RRSIG, RecordType::TXT]);
    // Without a key of the parent zone, the zone itself answers, as for other types.
    let below = Signed::new(settings(&zones, &["skydns.test"]), TREE);
    assert_eq!(below.signed("skydns.test.", RecordType::DS).authorities[0].name.to_string(), "skydns.test.");
}

/// Records of another server are passed on without a signature; those about a signed zone are dropped.
#[tokio::test]
async fn upstream_records_are_not_signed() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let forward = ForwardSettings { servers: vec![socket.local_addr().unwrap()], ..ForwardSettings::default() };
    let zone = Signed::new(DnsSettings { forward, ..settings(&["skydns.test"], &["skydns.test"]) }, TREE);
    let other = async {
        let mut bytes = [0; 512];
        let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
        let mut response = Message::from_vec(&bytes[..length]).unwrap();
        response.metadata.message_type = MessageType::Response;
        for name in ["www.example.org.", "web.skydns.test."] {
            let name = WireName::from_ascii(name).unwrap();
            response.answers.push(Record::from_rdata(name, 9, RData::A("192.0.2.66".parse().unwrap())));
        }
        socket.send_to(&response.to_vec().unwrap(), from).await.unwrap();
    };
    let mut request = Message::new(1, MessageType::Query, OpCode::Query);
    request.metadata.recursion_desired = true;
    request.queries.push(Query::query(WireName::from_ascii("out.skydns.test.").unwrap(), RecordType::A));
    request.edns = Some(Edns::new());
    request.edns.as_mut().unwrap().set_dnssec_ok(true);
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let response = respond(&zone.handler, &request.to_vec().unwrap(), from, Transport::Udp);
    let ResponseState::Pending(pending) = response else { panic!("no upstream query was sent") };
    let (bytes, ()) = tokio::join!(pending, other);
    let response = Message::from_vec(&bytes).unwrap();
    zone.verify_signatures(&response);
    assert_eq!(types(&response.answers), [RecordType::CNAME, RecordType::RRSIG, RecordType::A]);
    assert_eq!(response.answers[2].name.to_string(), "www.example.org.");
}

#[test]
fn oversized_answers_are_drawn_then_signed() {
    for (count, value) in [
        (
            3000,
            (|i| format!(r#"{{"host":"10.0.{}.{}","port":80,"weight":{}}}"#, i / 256, i % 256, i % 7))
                as fn(usize) -> _,
        ),
        (3000, |i| format!(r#"{{"host":"host-{i}.example.org","port":80}}"#)),
        // With compression it would fit.
        (1600, |i| format!(r#"{{"host":"10.0.{}.{}","port":80}}"#, i / 256, i % 256)),
    ] {
        let zone = Signed::with_instances(count, value);
        let response = zone.signed("web.skydns.test.", RecordType::SRV);
        assert!(
            (800..count).contains(&response.answers.len()) && !response.metadata.truncation,
            "{}",
            response.answers.len()
        );
        assert_eq!(response.metadata.response_code, ResponseCode::NoError);
        assert_eq!(zone.handler.stats().subset(), 1);
    }
}

/// Truncation over UDP costs no signature, and an RRset is signed once only.
#[test]
fn truncated_answers_cost_no_signature() {
    let zone = Signed::with_instances(200, |i| format!(r#"{{"host":"10.0.0.{i}","port":80}}"#));
    let signature_count = || zone.handler.stats().signatures();
    let udp = zone.query("web.skydns.test.", RecordType::SRV, (1232, true), Transport::Udp);
    assert!(udp.metadata.truncation && udp.answers.is_empty());
    assert_eq!(signature_count(), 0);
    for _ in 0..5 {
        zone.signed("web.skydns.test.", RecordType::A);
    }
    assert_eq!(signature_count(), 1);
    zone.signed("nobody.skydns.test.", RecordType::A);
    zone.signed("noone.skydns.test.", RecordType::TXT);
    assert_eq!(signature_count(), 1 + 4 + 1, "the SOA, the encloser and its wildcard are the same for both");
}

#[test]
fn signed_rrsets_are_bounded() {
    let zone = Signed::with_instances(200, |i| format!(r#"{{"host":"10.0.0.{i}","port":80}}"#));
    let response = zone.signed("web.skydns.test.", RecordType::SRV);
    assert_eq!((response.answers.len(), response.additionals.len()), (201, 2 * ADDITIONAL_RRSETS_MAX));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rrsets_are_sent_with_their_signatures_or_not_at_all(count in 1usize..40, size in 0u16..1400, name in 0usize..4) {
        let zone = Signed::with_instances(count, |i| format!(r#"{{"host":"10.0.0.{i}","port":80,"text":"text {i}"}}"#));
        let (name, qtype) = [
            ("web.skydns.test.", RecordType::SRV),
            ("web.skydns.test.", RecordType::A),
            ("a.rather.long.name.that.does.not.exist.skydns.test.", RecordType::A),
            ("web.skydns.test.", RecordType::MX),
        ][name];
        let whole = zone.query(name, qtype, (size, true), Transport::Tcp);
        let udp = zone.query(name, qtype, (size, true), Transport::Udp);
        zone.verify_signatures(&udp);
        let missing = udp.answers.len() < whole.answers.len() || udp.authorities.len() < whole.authorities.len();
        prop_assert_eq!(udp.metadata.truncation, missing);
    }
}
