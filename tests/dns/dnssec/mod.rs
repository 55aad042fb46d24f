//! A signed zone before validators that are not ours: BIND's `delv`, and `unbound` as the resolver in front.
//!
//! Answers that they validate are signed right; and because a validator may accept anything, each of them also has to
//! find something wrong.

mod zone;

use skyhound_test_support::dig::Answer;
use skyhound_test_support::unbound::Unbound;
use std::process::Stdio;
use tokio::process::Command;
use zone::Zone;

/// Questions of every kind, with the rcode of their answers. What is empty and NOERROR has no such record.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("skydns.test", "SOA", "NOERROR"),
    ("skydns.test", "DNSKEY", "NOERROR"),
    ("skydns.test", "CDS", "NOERROR"),
    ("skydns.test", "NS", "NOERROR"),
    ("skydns.test", "A", "NOERROR"),
    ("skydns.test", "CAA", "NOERROR"),
    ("web.skydns.test", "A", "NOERROR"),
    ("WeB.skydns.test", "AAAA", "NOERROR"),
    ("web.skydns.test", "SRV", "NOERROR"),
    ("web.skydns.test", "TXT", "NOERROR"),
    ("web.skydns.test", "MX", "NOERROR"),
    // Resolvers ask for `_tcp.skydns.test` first, and stop when that is denied.
    ("_web._tcp.skydns.test", "SRV", "NOERROR"),
    ("local.dns.skydns.test", "A", "NOERROR"),
    ("alias.skydns.test", "A", "NOERROR"),
    ("alias.skydns.test", "CNAME", "NOERROR"),
    ("pool.skydns.test", "A", "NOERROR"),
    ("mail.skydns.test", "MX", "NOERROR"),
    ("*.skydns.test", "TXT", "NOERROR"),
    ("*.web.skydns.test", "SRV", "NOERROR"),
    ("any.web.skydns.test", "A", "NOERROR"),
    ("a.*.skydns.test", "A", "NOERROR"),
    ("big.skydns.test", "A", "NOERROR"),
    ("big.skydns.test", "SRV", "NOERROR"),
    ("nobody.skydns.test", "A", "NXDOMAIN"),
    ("a.b.c.nobody.skydns.test", "SRV", "NXDOMAIN"),
    ("nobody.web.skydns.test", "TXT", "NXDOMAIN"),
    ("*.nobody.skydns.test", "A", "NXDOMAIN"),
];

/// The output of `delv` for a question to this zone.
async fn delv(zone: &Zone, anchor: &str, name: &str, rtype: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let anchors = dir.path().join("anchors");
    std::fs::write(&anchors, format!("trust-anchors {{ skydns.test. static-key {anchor}; }};\n")).unwrap();
    let output = Command::new("delv")
        .arg(format!("@{}", zone.daemon.dns.ip()))
        .args(["-p", &zone.daemon.dns.port().to_string(), "+root=skydns.test", "-a"])
        .arg(&anchors)
        // `-q` and `-t`: a name may look like an option.
        .args(["-q", name, "-t", rtype])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("delv runs (tests/run installs it)");
    format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
}

#[tokio::test]
async fn delv_finds_every_answer_right() {
    let zone = Zone::signed("ecdsap256sha256").await;
    for (name, rtype, rcode) in QUESTIONS {
        let output = delv(&zone, &zone.anchor, name, rtype).await;
        let (empty, none) = (output.contains("ncache nxrrset"), output.contains("ncache nxdomain"));
        assert!(
            output.contains("; fully validated") || output.contains("; negative response, fully validated"),
            "{output}"
        );
        assert_eq!(none, *rcode == "NXDOMAIN", "{name} {rtype}: {output}");
        let none_of_that_type = [("skydns.test", "NS"), ("skydns.test", "CAA"), ("web.skydns.test", "MX")];
        assert_eq!(empty, none_of_that_type.contains(&(name, rtype)), "{name} {rtype}: {output}");
    }
}

#[tokio::test]
async fn delv_finds_what_is_wrong() {
    let (zone, other) = (Zone::signed("ecdsap256sha256").await, Zone::signed("ed25519").await);
    let output = delv(&zone, &other.anchor, "web.skydns.test", "A").await;
    assert!(!output.contains("fully validated"), "with another zone's key: {output}");
    let unsigned = Zone::start(&[]).await;
    let output = delv(&unsigned, &zone.anchor, "web.skydns.test", "A").await;
    assert!(!output.contains("fully validated"), "without signatures: {output}");
}

/// A resolver that trusts a key by its DS record.
async fn resolver(zone: &Zone, ds: &str) -> Unbound {
    let settings = ["module-config: \"validator iterator\"", &format!("trust-anchor: \"{ds}\""), "val-log-level: 2"];
    Unbound::start(zone.daemon.dns, &["skydns.test"], &settings).await
}

/// Returns whether a resolver has validated an answer: AD (RFC 4035 section 3.2.3).
fn secure(response: &Answer) -> bool {
    response.has_flag("ad")
}

#[tokio::test]
async fn unbound_finds_every_answer_right() {
    for algorithm in ["ecdsap256sha256", "ed25519"] {
        let zone = Zone::signed(algorithm).await;
        let unbound = resolver(&zone, &zone.ds).await;
        let dig = unbound.dig().option("+adflag");
        for (name, rtype, rcode) in QUESTIONS {
            let response = dig.query(name, rtype).await.unwrap_or_else(|e| panic!("{name} {rtype}: {e}"));
            assert!(response.status == *rcode && secure(&response), "{name} {rtype} ({algorithm}): {response:?}");
        }
        // As large as an answer can be.
        assert_eq!(dig.query("big.skydns.test", "A").await.unwrap().data("A").len(), zone::BIG);
        let huge = dig.clone().tcp().query("huge.skydns.test", "SRV").await.unwrap();
        assert!(secure(&huge) && huge.ports().len() > 800, "{} {:?}", huge.ports().len(), huge.flags);
    }
}

#[tokio::test]
async fn unbound_finds_what_is_wrong() {
    let (zone, other) = (Zone::signed("ecdsap256sha256").await, Zone::signed("ecdsap256sha256").await);
    let unbound = resolver(&zone, &other.ds).await;
    let response = unbound.dig().query("web.skydns.test", "A").await.unwrap();
    assert_eq!(response.status, "SERVFAIL", "with another zone's key: {response:?}");
    let response = unbound.dig().option("+cdflag").query("web.skydns.test", "A").await.unwrap();
    assert_eq!((response.status.as_str(), response.data("A").len()), ("NOERROR", 2), "it was reached: {response:?}");
}

/// Keys that BIND made, of every kind that signs.
#[tokio::test]
async fn keys_of_bind_sign() {
    for algorithm in ["RSASHA256", "ECDSAP256SHA256", "ED25519"] {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("dnssec-keygen")
            .args(["-q", "-a", algorithm, "-f", "KSK", "-K"])
            .arg(dir.path())
            .args(if algorithm.starts_with("RSA") { &["-b", "2048"][..] } else { &[] })
            .arg("skydns.test")
            .output()
            .await
            .expect("dnssec-keygen runs (tests/run installs it)");
        let stem = dir.path().join(String::from_utf8(made.stdout).unwrap().trim());
        let zone = Zone::with_key(&stem).await;
        for (name, rtype, _) in &QUESTIONS[..8] {
            let output = delv(&zone, &zone.anchor, name, rtype).await;
            assert!(output.contains("fully validated"), "{algorithm}: {output}");
        }
    }
}

/// The DS record of `dnssec-keygen` equals the one that BIND computes from the key, and no key is overwritten.
#[tokio::test]
async fn the_ds_is_the_one_that_bind_computes() {
    let zone = Zone::signed("ecdsap256sha256").await;
    let public = format!("{}.key", zone.stem.display());
    let expected =
        Command::new("dnssec-dsfromkey").args(["-2", &public]).output().await.expect("dnssec-dsfromkey runs");
    assert_eq!(String::from_utf8(expected.stdout).unwrap().trim(), zone.ds);
    let private = std::fs::metadata(format!("{}.private", zone.stem.display())).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&private.permissions()) & 0o777, 0o600);
}
