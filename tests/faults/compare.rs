//! CoreDNS, from the same etcd: the same answers.

use std::collections::BTreeSet;

use skyhound_test_support::coredns::CoreDns;
use skyhound_test_support::dig::{Dig, Record};
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

/// Owner, type and data, without the order and the TTL.
fn set(records: &[Record], types: &[&str]) -> BTreeSet<String> {
    let records = records.iter().filter(|r| types.contains(&&*r.rtype));
    records.map(|r| format!("{} {} {}", r.name.to_ascii_lowercase(), r.rtype, r.data.to_ascii_lowercase())).collect()
}

/// The parts of a server's response in which both have to agree.
async fn comparable(
    dig: &Dig,
    name: &str,
    rtype: &str,
) -> Result<(String, BTreeSet<String>, BTreeSet<String>), String> {
    let answer = dig.query(name, rtype).await.map_err(|e| e.to_string())?;
    let additional = if rtype == "SRV" { set(&answer.additional, &["A", "AAAA"]) } else { BTreeSet::new() };
    Ok((answer.status, set(&answer.answer, &["SRV", "A", "AAAA", "TXT", "CNAME"]), additional))
}

#[multi_thread_test]
async fn coredns_answers_the_same() {
    let etcd = EtcdProcess::start().await;
    let Some(coredns) = CoreDns::start(&etcd.endpoint(), &["skydns.local"]).await else { return };
    let (one, two) = (Site::at(&etcd, &[]).await, Site::at(&etcd, &[]).await);
    let mut held = Vec::new();
    for (turn, query) in [
        "service=web&host=10.0.0.1&port=80",
        "service=web&host=10.0.0.2&port=81&weight=10",
        "service=web&host=10.0.0.3&port=82&weight=97&priority=2",
        "service=web&host=10.0.0.4&port=83&weight=97&priority=2",
        "service=web&host=2001:db8::5&port=84&priority=2&weight=0",
        "service=web&host=10.0.0.1&port=85&priority=0",
        "service=web&host=10.0.0.1&port=80&category=services,production",
        "service=web&host=2001:db8::1&port=80&category=services,production&prefix=blue",
        "service=api.web&host=10.0.1.1&port=90",
        "service=db&host=10.0.2.1&port=5432&category=db",
        "service=db&host=10.0.2.2&port=5432&category=db&priority=65535&weight=65535",
        "service=peer&port=7",
        "service=notes&host=10.0.3.1&port=1&text=hello+world",
        "service=weights&host=10.0.4.1&port=1&weight=1",
        "service=weights&host=10.0.4.2&port=2&weight=2",
        "service=weights&host=10.0.4.3&port=3&weight=65535",
    ]
    .into_iter()
    .enumerate()
    {
        held.push(if turn % 2 == 0 { &one } else { &two }.provide(query).await);
    }
    held[0].text(r#"{"op":"update","weight":300,"priority":2}"#);
    let questions = [
        ("web.services.skydns.local", "SRV"),
        ("web.services.skydns.local", "A"),
        ("web.services.skydns.local", "AAAA"),
        ("*.services.skydns.local", "SRV"),
        ("api.web.services.skydns.local", "SRV"),
        ("web.services.production.skydns.local", "SRV"),
        ("production.skydns.local", "SRV"),
        ("production.skydns.local", "AAAA"),
        ("services.skydns.local", "SRV"),
        ("db.db.skydns.local", "SRV"),
        ("db.skydns.local", "A"),
        ("peer.services.skydns.local", "SRV"),
        ("peer.services.skydns.local", "AAAA"),
        ("weights.services.skydns.local", "SRV"),
        ("nobody.services.skydns.local", "SRV"),
        ("we.services.skydns.local", "SRV"),
    ];
    let ours = [&one, &two].map(|daemon| daemon.dig().tcp());
    let reference = coredns.dig().tcp();
    for (name, rtype) in questions {
        for ours in &ours {
            // What the other node registered arrives a moment later.
            wait_until(SOON, async || {
                let (ours, reference) =
                    tokio::try_join!(comparable(ours, name, rtype), comparable(&reference, name, rtype))?;
                if ours == reference {
                    Ok(())
                } else {
                    Err(format!("{name} {rtype}\nours:   {ours:#?}\ntheirs: {reference:#?}"))
                }
            })
            .await;
        }
    }
    // And nothing is left when they go.
    futures_util::future::join_all(held.into_iter().map(skyhound_test_support::provider::Provider::close)).await;
    for dig in ours.iter().chain([&reference]) {
        wait_until(SOON, async || {
            let answer = dig.query("services.skydns.local", "SRV").await.map_err(|e| e.to_string())?;
            if answer.status == "NXDOMAIN" { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}
