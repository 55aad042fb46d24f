//! DNSViz: asks in all the ways a resolver may come to, and writes down what is wrong with the answers.

use crate::site::site;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::process::Command;

/// How long a run may take. It asks some hundred times.
const DEADLINE: Duration = Duration::from_secs(120);

/// Of each name, what DNSViz has to say. The zone is asked as an island: it has no parent here that delegates to
/// it, and so nothing is said about a delegation.
async fn judged(server: SocketAddr, zone: &str, names: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let probed = dir.path().join("probed");
    let authoritative = format!("{zone}+:{}:{}", server.ip(), server.port());
    run(Command::new("dnsviz")
        .args(["probe", "-d", "1", "-A", "-R", "SOA,NS,A,AAAA,SRV,TXT,MX,PTR", "-x", &authoritative, "-o"])
        .arg(&probed)
        .args(names))
    .await;
    let printed = run(Command::new("dnsviz").args(["grok", "-r"]).arg(&probed)).await;
    serde_json::from_slice(&printed).expect("dnsviz prints JSON")
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

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_finds_nothing_wrong_with_an_unsigned_zone() {
    let (_etcd, daemon) = site(&[]).await;
    let names = [
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
    ];
    let judged = judged(daemon.dns, "skydns.test", &names.map(|(name, _)| name)).await;
    for (name, status) in names {
        assert_eq!(judged[format!("{name}.")]["status"], status, "{name} in {judged:#}");
    }
    let srv = &judged["_web._tcp.skydns.test."]["queries"]["_web._tcp.skydns.test./IN/SRV"]["answer"][0]["rdata"];
    assert_eq!(srv.as_array().map(Vec::len), Some(2), "it has read the answers");
    // SkyDNS's rule, and CoreDNS's: a host that is a name is an alias to who asks for addresses, and a target to
    // who asks for SRV. Everything else would be a finding.
    let (known, unknown): (Vec<_>, Vec<_>) =
        complaints(&judged).into_iter().partition(|complaint| complaint.contains("CNAME_WITH_OTHER_DATA"));
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    // Which also shows that a complaint is seen here.
    assert!(!known.is_empty());
    assert!(known.iter().all(|complaint| complaint.contains("alias.") || complaint.contains("chain.")), "{known:?}");
}
