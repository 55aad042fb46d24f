//! Unbound in front, as strict as it can be set: names in random case, one label more at a time, no way around.

use crate::resolver_compliance::site::{MANY, ZONES, site};
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::unbound::Unbound;

/// The strictest settings.
const STRICT: &[&str] = &[
    "use-caps-for-id: yes",
    "qname-minimisation: yes",
    "qname-minimisation-strict: yes",
    "harden-below-nxdomain: yes",
    "harden-large-queries: yes",
    "harden-short-bufsize: yes",
    "edns-buffer-size: 1232",
];

/// Name, type, status, how many records of that type the answer has.
#[rustfmt::skip]
const QUESTIONS: &[(&str, &str, &str, usize)] = &[
    ("web.skydns.test", "A", "NOERROR", 1),
    ("web.skydns.test", "AAAA", "NOERROR", 1),
    ("web.skydns.test", "SRV", "NOERROR", 2),
    ("a.web.skydns.test", "SRV", "NOERROR", 1),
    ("text.skydns.test", "TXT", "NOERROR", 1),
    ("post.skydns.test", "MX", "NOERROR", 1),
    ("skydns.test", "SOA", "NOERROR", 1),
    ("skydns.test", "NS", "NOERROR", 1),
    ("skydns.test", "A", "NOERROR", 1),
    ("1.0.0.10.in-addr.arpa", "PTR", "NOERROR", 1),
    // Aliases, one and three long.
    ("alias.skydns.test", "CNAME", "NOERROR", 1),
    ("alias.skydns.test", "A", "NOERROR", 1),
    ("one.chain.skydns.test", "AAAA", "NOERROR", 1),
    // There, but not that.
    ("web.skydns.test", "TXT", "NOERROR", 0),
    ("web.skydns.test", "HTTPS", "NOERROR", 0),
    ("web.skydns.test", "DS", "NOERROR", 0),
    ("0.0.10.in-addr.arpa", "PTR", "NOERROR", 0),
    // Names that are there for what is below them.
    ("deep.skydns.test", "TXT", "NOERROR", 0),
    ("x.deep.skydns.test", "MX", "NOERROR", 0),
    ("_tcp.skydns.test", "A", "NOERROR", 0),
    ("z.y.x.deep.skydns.test", "A", "NOERROR", 1),
    // Not there, near and deep; and what is beside it is not denied with it.
    ("nosuch.skydns.test", "A", "NXDOMAIN", 0),
    ("a.b.c.d.nosuch.skydns.test", "SRV", "NXDOMAIN", 0),
    ("nosuch.web.skydns.test", "A", "NXDOMAIN", 0),
    ("9.9.9.10.in-addr.arpa", "PTR", "NXDOMAIN", 0),
    ("_nosuch._tcp.skydns.test", "SRV", "NXDOMAIN", 0),
    // RFC 2782's way, which is in no store.
    ("_web._tcp.skydns.test", "SRV", "NOERROR", 2),
    // More than UDP holds: over UDP, and then over TCP.
    ("many.skydns.test", "SRV", "NOERROR", MANY),
    ("many.skydns.test", "A", "NOERROR", MANY),
    // The wildcard of questions, and a name in other letters.
    ("*.web.skydns.test", "A", "NOERROR", 1),
    ("WEB.SkyDNS.test", "SRV", "NOERROR", 2),
];

#[multi_thread_test]
async fn a_strict_resolver_resolves_every_type() {
    let (_etcd, daemon) = site(&[]).await;
    let insecure = ZONES.map(|zone| format!("domain-insecure: \"{zone}.\""));
    let settings: Vec<_> = STRICT.iter().copied().chain(insecure.iter().map(String::as_str)).collect();
    let unbound = Unbound::start(daemon.dns, &ZONES, &settings).await;
    let mut wrong = Vec::new();
    // A second time from the other end: what a resolver learnt from one answer must not deny another.
    for (name, rtype, status, records) in QUESTIONS.iter().chain(QUESTIONS.iter().rev()) {
        let answer = unbound.dig().query(name, rtype).await.unwrap();
        let found = answer.answer.iter().filter(|record| record.rtype == *rtype).count();
        if (answer.status.as_str(), found) != (*status, *records) {
            wrong.push(format!("{name} {rtype}: {} with {found} records; {status} with {records}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), unbound.log());
    assert!(daemon.metric("skyhound_dns_truncated_responses_total").await >= 1.0, "the large sets came over TCP");
    let log = unbound.log();
    assert!(!log.contains("SERVFAIL"), "{log}");
}
