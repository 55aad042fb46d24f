//! The answers of SkyDNS and CoreDNS from the same keys, compared with the running daemon: every case of `cases/`,
//! over UDP and TCP, on both stores, with and without an upstream.
//!
//! A case is met, or `choices.json` says what ours answers instead, and why. A difference that is not
//! listed fails; so does a listed one that is none. `docs/skydns.md` shows the choices as a table.
//!
//! The fields of a case: `rcode` (or one of `accept_rcodes`), the sections (a missing one is not compared),
//! `order_matters`, `exact_count`, `count` and `min_count` by section, `flags`, `tc` (of the answer over UDP),
//! `echo_case`, `edns` (0: none), `do`, `qclass`, `transport`, `compare`, `repeat`, and whether it
//! `needs_upstream` or `needs_no_upstream`.

mod ask;
mod embed;
mod expect;
mod load;
mod upstream;
mod vectors;

use serde_json::Value;
use skyhound::server::STORE_FILE;
use skyhound_store::embedded::Embedded;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::{SOON, try_until};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use upstream::Upstream;
use vectors::{Case, Choice, File};

/// The results of a run.
#[derive(Default)]
struct Tally {
    passed: usize,
    otherwise: usize,
    failed: Vec<String>,
}

#[multi_thread_test]
async fn the_embedded_store_answers_as_the_originals_do() {
    run("embedded", None).await;
}

#[multi_thread_test]
async fn etcd_answers_as_the_originals_do() {
    run("etcd", Some(&EtcdProcess::start().await)).await;
}

async fn run(store: &str, etcd: Option<&EtcdProcess>) {
    let choices = vectors::choices();
    let mut tally = Tally::default();
    for file in vectors::files() {
        serve(&file, None, etcd, &choices, &mut tally).await;
        if let Some(records) = &file.upstream {
            let upstream = Upstream::start(records).await;
            serve(&file, Some(upstream.addr), etcd, &choices, &mut tally).await;
        }
    }
    let Tally { passed, otherwise, failed } = &tally;
    eprintln!("{store}: {passed} passed, {otherwise} answered otherwise by choice, {} failed", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Starts a daemon on a file's records and puts every case to it.
async fn serve(
    file: &File,
    upstream: Option<SocketAddr>,
    etcd: Option<&EtcdProcess>,
    choices: &[Choice],
    tally: &mut Tally,
) {
    let asked: Vec<_> = file
        .cases
        .iter()
        .filter(|case| if upstream.is_some() { !case.needs_no_upstream } else { !case.needs_upstream })
        .collect();
    if asked.is_empty() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut args: Vec<String> = ["--log-level", "error", "--default-category", "services"].map(str::to_owned).into();
    if let Some(etcd) = etcd {
        load::load(&etcd.store().await, file, upstream).await;
        args.extend(["--etcd-api".into(), etcd.endpoint()]);
    } else {
        // Closed again before the daemon opens the file.
        load::load(&Embedded::open(&dir.path().join(STORE_FILE)).unwrap(), file, upstream).await;
        args.extend(["--data-dir".into(), dir.path().display().to_string()]);
    }
    for zone in &file.zones {
        args.extend(["--dns-root".into(), zone.clone()]);
    }
    for (setting, value) in &file.config {
        args.extend([format!("--{setting}"), value.clone()]);
    }
    if let Some(key) = &file.key {
        let stem = dir.path().join(&key.stem);
        for (extension, text) in [("key", &key.public), ("private", &key.private)] {
            std::fs::write(format!("{}.{extension}", stem.display()), text).unwrap();
        }
        args.extend(["--dnssec-key".into(), stem.display().to_string()]);
    }
    if let Some(upstream) = upstream {
        args.extend(["--nameserver".into(), upstream.to_string()]);
    }
    let daemon = Daemon::start(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for case in asked {
        judge(file, case, daemon.dns, choices, tally).await;
    }
}

/// Puts a case, and finds what was chosen about it.
async fn judge(file: &File, case: &Case, server: SocketAddr, choices: &[Choice], tally: &mut Tally) {
    let chosen = choices.iter().find_map(|choice| choice.cases.get(&case.id));
    let wrong = wrong_with(case, server).await;
    let verdict = match chosen {
        None => wrong.map(|wrong| format!("{}: {} {}: {wrong}", case.id, case.qname, case.qtype)),
        Some(_) if wrong.is_none() => Some(format!("{}: is met, and listed in choices.json all the same", case.id)),
        Some(Value::String(instead)) => {
            let other = file.cases.iter().find(|other| other.id == *instead);
            let same = other.is_some_and(|o| {
                let listed = choices.iter().any(|choice| choice.cases.contains_key(&o.id));
                (&o.qname, &o.qtype) == (&case.qname, &case.qtype) && !listed
            });
            (!same).then(|| format!("{}: {instead} is no case of that question that is met", case.id))
        }
        Some(fields) => {
            let ours = Case::changed(&case.id, file, fields);
            wrong_with(&ours, server).await.map(|wrong| format!("{}: {wrong}", ours.id))
        }
    };
    match verdict {
        Some(failure) => tally.failed.push(failure),
        None if chosen.is_some() => tally.otherwise += 1,
        None => tally.passed += 1,
    }
}

/// The differences in the answers to a case, over either transport. Asks again for a while: the daemon may
/// still be reading the lease TTLs, which the store does not deliver with the entries.
async fn wrong_with(case: &Case, server: SocketAddr) -> Option<String> {
    let asking = async || {
        for _ in 0..case.repeat {
            let wrong = once(case, server).await;
            if !wrong.is_empty() {
                return Err(wrong);
            }
        }
        Ok(())
    };
    let first = asking().await;
    if first.is_err() && case.id.starts_with("ttl.lease") {
        return try_until(SOON / 10, asking).await.err();
    }
    first.err()
}

async fn once(case: &Case, server: SocketAddr) -> String {
    let over_tcp = ask::tcp(server, case).await;
    if case.transport.as_deref() == Some("tcp") {
        return expect::differences(case, &over_tcp, None);
    }
    let over_udp = ask::udp(server, case).await;
    let as_it_is = !over_udp.metadata.truncation || case.compare.as_deref() == Some("udp");
    let last = if as_it_is { &over_udp } else { &over_tcp };
    let wrong = expect::differences(case, last, Some(&over_udp));
    // What is asked over TCP from the start is not another answer. (`tc` is about UDP alone.)
    if wrong.is_empty() && as_it_is && case.compare.is_none() {
        return expect::differences(case, &over_tcp, None);
    }
    wrong
}

/// The page that people read is made from what the tests read.
#[test]
fn the_page_shows_every_choice() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/skydns.md")).unwrap();
    let row = |c: &Choice| format!("| {} | {} | {} |", c.matter, c.ours, c.reason);
    let table: Vec<_> = vectors::choices().iter().map(row).collect();
    assert!(page.contains(&table.join("\n")), "docs/skydns.md lacks this table:\n{}", table.join("\n"));
}

/// A case is chosen about once, and only when there is something to choose.
#[test]
fn choices_name_cases_that_there_are() {
    let files = vectors::files();
    let ids: BTreeMap<_, _> = files.iter().flat_map(|f| &f.cases).map(|c| (c.id.as_str(), c)).collect();
    assert_eq!(ids.len(), 309, "a case is lost, or named twice");
    let mut seen = std::collections::BTreeSet::new();
    for (id, choice) in vectors::choices().iter().flat_map(|c| c.cases.keys().map(|id| (id.clone(), c.matter.clone())))
    {
        assert!(ids.contains_key(id.as_str()), "{choice}: no case {id}");
        assert!(seen.insert(id.clone()), "{choice}: {id} is listed twice");
    }
}
