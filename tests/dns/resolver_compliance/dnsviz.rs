//! DNSViz: asks in all the ways a resolver may come to, and writes down what is wrong with the answers.

use crate::resolver_compliance::site::{ZONES, site};
use serde_json::Value;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::dnskey::{self, KeyFiles};
use skyhound_test_support::multi_thread_test;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// The time limit of a run. It asks some hundred times.
const DEADLINE: Duration = Duration::from_secs(120);
/// The types that are queried for each name.
const TYPES: &str = "SOA,NS,A,AAAA,SRV,TXT,MX,PTR,DNSKEY,CDS,CDNSKEY,CAA";
/// Debian's DNSViz (0.9.4) does not find the version of Debian's pygraphviz (1.7), without which it takes no trust
/// anchors: it looks for it in a module that went away.
const PYGRAPHVIZ: &str = "import pygraphviz, types
pygraphviz.release = types.SimpleNamespace(version=pygraphviz.__version__)
";

/// The responses that it received.
struct Probe {
    dir: TempDir,
}

impl Probe {
    /// Asks the daemon for names. Its zones are asked as islands, of which no parent here knows anything, but for
    /// `below`, whose parent is one of them.
    async fn of(daemon: &Daemon, below: &[&str], names: &[&str]) -> Self {
        let probe = Self { dir: tempfile::tempdir().unwrap() };
        let islands = ZONES.iter().map(|zone| format!("{zone}+"));
        let zones = islands.chain(below.iter().map(ToString::to_string));
        // `-E`: also with an EDNS version, flags and options that there are not yet.
        let mut command = Command::new("dnsviz");
        command.args(["probe", "-d", "1", "-A", "-E", "-R", TYPES]);
        for zone in zones {
            command.args(["-x", &format!("{zone}:{}:{}", daemon.dns.ip(), daemon.dns.port())]);
        }
        run(command.arg("-o").arg(probe.path("probed")).args(names)).await;
        probe
    }

    /// The judgement of each name.
    async fn judged(&self) -> Value {
        self.grok(Command::new("dnsviz").arg("grok")).await
    }

    /// The same, when these keys are trusted.
    async fn judged_trusting(&self, keys: &[&KeyFiles]) -> Value {
        let anchors: Vec<_> = keys.iter().map(|key| dnskey::record(&key.stem) + "\n").collect();
        std::fs::write(self.path("anchors"), anchors.concat()).unwrap();
        std::fs::write(self.path("sitecustomize.py"), PYGRAPHVIZ).unwrap();
        let mut command = Command::new("dnsviz");
        command.env("PYTHONPATH", self.dir.path());
        self.grok(command.args(["grok", "-t"]).arg(self.path("anchors"))).await
    }

    async fn grok(&self, command: &mut Command) -> Value {
        let printed = run(command.arg("-r").arg(self.path("probed"))).await;
        serde_json::from_slice(&printed).expect("dnsviz prints JSON")
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

async fn run(command: &mut Command) -> Vec<u8> {
    let output = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output())
        .await
        .expect("dnsviz ends in time")
        .expect("dnsviz is installed (tests/run installs it)");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Every error and warning, and where it is.
fn complaints(judged: &Value) -> Vec<String> {
    let mut all = Vec::new();
    collect("", judged, &mut all);
    all
}

fn collect(at: &str, value: &Value, all: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => return,
    };
    for (name, child) in children {
        if ["errors", "warnings", "error"].contains(&name.as_str()) {
            all.push(format!("{at}: {child}"));
        }
        collect(&format!("{at}/{name}"), child, all);
    }
}

/// Names, and the status of the responses for them.
const NAMES: [(&str, &str); 13] = [
    ("skydns.test", "NOERROR"),
    ("web.skydns.test", "NOERROR"),
    ("many.skydns.test", "NOERROR"),
    ("post.skydns.test", "NOERROR"),
    ("text.skydns.test", "NOERROR"),
    ("alias.skydns.test", "NOERROR"),
    ("one.chain.skydns.test", "NOERROR"),
    ("deep.skydns.test", "NOERROR"),
    ("_web._tcp.skydns.test", "NOERROR"),
    ("nosuch.skydns.test", "NXDOMAIN"),
    ("a.b.nosuch.skydns.test", "NXDOMAIN"),
    ("1.0.0.10.in-addr.arpa", "NOERROR"),
    ("9.9.9.10.in-addr.arpa", "NXDOMAIN"),
];

/// Checks that the names have their status, and that nothing is reported but SkyDNS's rule, and CoreDNS's: a host
/// that is a name is an alias for queries of addresses, and a target for queries of SRV. For a query of a type that
/// it has not there is no alias, and so none in the proof either.
fn check(judged: &Value, known: &[&str]) {
    for (name, status) in NAMES {
        assert_eq!(judged[format!("{name}.")]["status"], status, "{name} in {judged:#}");
    }
    let srv = &judged["_web._tcp.skydns.test."]["queries"]["_web._tcp.skydns.test./IN/SRV"]["answer"][0]["rdata"];
    assert_eq!(srv.as_array().map(Vec::len), Some(2), "it has read the answers");
    let is_known = |complaint: &String| {
        let of_alias = complaint.starts_with("/alias.") || complaint.contains(".chain.skydns.test.");
        of_alias && known.iter().any(|code| complaint.contains(code))
    };
    let (seen, unknown): (Vec<_>, Vec<_>) = complaints(judged).into_iter().partition(is_known);
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    // Which also shows that a complaint is seen here.
    for code in known {
        assert!(seen.iter().any(|complaint| complaint.contains(code)), "{code}: {seen:?}");
    }
}

/// The status of each RRset of a name, including the proofs of denial: each status once.
fn trust(judged: &Value, name: &str) -> Vec<String> {
    let queries = judged[format!("{name}.")]["queries"].as_object().expect("it was asked").values();
    let response =
        queries.flat_map(|query| query.as_object().unwrap().values()).flat_map(|response| response.as_array().unwrap());
    let mut all: Vec<_> = response.map(|response| response["status"].to_string()).collect();
    all.sort();
    all.dedup();
    all
}

#[multi_thread_test]
async fn an_auditor_finds_nothing_wrong_with_an_unsigned_zone() {
    let (_etcd, daemon) = site(&[]).await;
    let probe = Probe::of(&daemon, &[], &NAMES.map(|(name, _)| name)).await;
    check(&probe.judged().await, &["CNAME_WITH_OTHER_DATA"]);
}

/// Two zones with keys, and below the one of them a zone with a key and one without.
#[multi_thread_test]
async fn an_auditor_finds_nothing_wrong_with_a_signed_zone() {
    const BELOW: [&str; 2] = ["sub.skydns.test", "bare.skydns.test"];
    let made = async |zone| KeyFiles::make(zone, "ecdsap256sha256").await;
    let keys = [made(ZONES[0]).await, made(ZONES[1]).await, made(BELOW[0]).await];
    let mut args = BELOW.map(|zone| ["--dns-root", zone]).concat();
    args.extend(keys.iter().flat_map(|key| ["--dnssec-key", key.stem.to_str().unwrap()]));
    let (_etcd, daemon) = site(&args).await;

    let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).chain([BELOW[0], "x.sub.skydns.test"]).collect();
    let probe = Probe::of(&daemon, &BELOW[..1], &names).await;
    let judged = probe.judged_trusting(&[&keys[0], &keys[1]]).await;
    check(&judged, &["CNAME_WITH_OTHER_DATA", "EXISTING_TYPE_NOT_IN_BITMAP"]);
    for name in names.iter().filter(|name| !name.starts_with("alias") && !name.contains("chain")) {
        assert_eq!(trust(&judged, name), ["\"SECURE\""], "{name} in {judged:#}");
    }
    assert_eq!(judged["sub.skydns.test."]["delegation"]["status"], "SECURE", "{judged:#}");

    let judged = probe.judged_trusting(&[&made(ZONES[0]).await]).await;
    assert_ne!(trust(&judged, "web.skydns.test"), ["\"SECURE\""], "with a key that is not the zone's");

    // Without an anchor: with one it breaks off at a zone without a key.
    let judged = Probe::of(&daemon, &BELOW[1..], &[BELOW[1], "x.bare.skydns.test"]).await.judged().await;
    assert_eq!(complaints(&judged), [""; 0]);
    assert_eq!(judged["bare.skydns.test."]["delegation"]["status"], "INSECURE", "{judged:#}");
}
