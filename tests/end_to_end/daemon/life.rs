//! The life of an instance from the 101 to the close.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use skyhound_test_support::ask::Ask;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::dig::{Answer, Dig};
use skyhound_test_support::provider::{Provider, Received};
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until, wait_until_due};

const FOO: &str = "foo.services.skydns.local";
/// The id of `service=foo&host=127.0.0.1&port=9999` (an example that was run against the original).
const FOO_ID: &str = "10ec6ea983c7a572acb0a023b9d645f6765c5a68";

async fn ask(dig: &Dig, name: &str, rtype: &str) -> Answer {
    dig.query(name, rtype).await.unwrap_or_else(|none| panic!("{name} {rtype}: {none}"))
}

/// Ends a socket.
type End = fn(Provider) -> futures_util::future::BoxFuture<'static, ()>;

pub async fn an_instance_is_in_dns_exactly_as_long_as_its_socket(site: Site) {
    let dig = site.dig();
    assert_eq!(ask(&dig, FOO, "SRV").await.status, "NXDOMAIN");
    let ends: [(&str, End); 3] = [
        ("a close frame", |p| Box::pin(p.close())),
        ("a reset", |p| Box::pin(p.reset())),
        ("the end of the connection", |p| Box::pin(async { drop(p) })),
    ];
    for (how, end) in ends {
        let held = site.provide("service=foo&host=127.0.0.1&port=9999&priority=20&weight=7&text=hello+there").await;

        let answer = ask(&dig, FOO, "SRV").await;
        assert!(answer.authoritative(), "{answer:?}");
        // One instance has all of the weight: its share of 100.
        let target = format!("{FOO_ID}.{FOO}.");
        assert_eq!(answer.data("SRV"), [format!("20 100 9999 {target}")]);
        assert!(answer.answer[0].ttl <= 30, "no longer than the timeout: {answer:?}");
        let additional: Vec<_> = answer.additional.iter().map(|r| (&*r.name, &*r.rtype, &*r.data)).collect();
        assert_eq!(additional, [(&*target, "A", "127.0.0.1")]);

        for name in [FOO, &target] {
            assert_eq!(ask(&dig, name, "A").await.data("A"), ["127.0.0.1"]);
            assert_eq!(ask(&dig, name, "TXT").await.data("TXT"), ["\"hello there\""]);
            let none = ask(&dig, name, "AAAA").await;
            assert_eq!((none.status.as_str(), none.answer.len()), ("NOERROR", 0));
            assert_eq!(none.authority[0].rtype, "SOA");
        }
        assert_eq!(ask(&dig.clone().tcp(), FOO, "SRV").await.ports(), [9999]);
        // The boundary is the label.
        assert_eq!(ask(&dig, "oo.services.skydns.local", "SRV").await.status, "NXDOMAIN");
        assert_eq!(ask(&dig, "FOO.Services.SkyDNS.local", "SRV").await.ports(), [9999]);

        assert!(held.is_open());
        let ended = Instant::now();
        end(held).await;
        site.dig().comes_to_deny(FOO).await;
        // Long before the timeout of 30 s.
        assert!(ended.elapsed() < SOON, "{how}: after {:?}", ended.elapsed());
        assert_eq!(ask(&dig, FOO, "A").await.status, "NXDOMAIN", "{how}");
    }
}

pub async fn priority_and_weight_are_answered(site: Site) {
    let mut held = Vec::new();
    for (port, rest) in
        [(1, ""), (2, "&priority=1&weight=300"), (3, "&priority=5&weight=1"), (4, "&priority=65535&weight=65535")]
    {
        held.push(site.provide(&format!("service=foo&host=10.0.0.{port}&port={port}{rest}")).await);
    }
    let srv = ask(&site.dig(), FOO, "SRV").await.srv();
    let numbers: Vec<_> = srv.iter().map(|srv| (srv.priority, srv.weight, srv.port)).collect();
    // Priority 1 and weight 100 by default; weights are shares of 100 within a priority.
    assert_eq!(numbers, [(1, 25, 1), (1, 75, 2), (5, 100, 3), (65535, 100, 4)]);
    let answer = ask(&site.dig(), FOO, "SRV").await;
    let order: Vec<_> = answer.answer.iter().map(|r| r.data.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(order, ["1", "1", "5", "65535"], "the lowest priority first");
    assert_eq!(answer.additional.len(), 4, "{answer:?}");
}

pub async fn categories_and_prefix_make_the_name(site: Site) {
    let _one = site.provide("service=foo&port=1&host=10.0.0.1&category=services,production").await;
    let _two = site.provide("service=foo&port=2&host=10.0.0.2&category=db&prefix=blue").await;
    let _three = site.provide("service=foo&port=3&host=10.0.0.3").await;
    let _four = site.provide("service=v1.foo&port=4&host=10.0.0.4&category=&prefix=").await;
    let dig = site.dig();
    let ports = async |name: &str| ask(&dig, name, "SRV").await.ports();
    assert_eq!(ports("foo.services.production.skydns.local").await, [1]);
    assert_eq!(ports("production.skydns.local").await, [1]);
    assert_eq!(ports(FOO).await, [3, 4], "the default category, and what is below the name");
    assert_eq!(ports("v1.foo.services.skydns.local").await, [4]);
    assert_eq!(ports("*.foo.services.skydns.local").await, [3, 4], "any label at that place");
    let blue = ask(&dig, "foo.db.skydns.local", "SRV").await.srv();
    let id = blue[0].target.split('.').next().unwrap_or_default();
    assert!(id.starts_with("blue-") && id.len() == 25, "{id}");
    assert_eq!(ports(&format!("{id}.foo.db.skydns.local")).await, [2]);
}

pub async fn no_host_is_the_peers_address(site: Site) {
    for host in ["", "&host=", "&host=0.0.0.0", "&host=::", "&host=%3A%3A"] {
        let held = site.provide(&format!("service=foo&port=7{host}")).await;
        assert_eq!(ask(&site.dig(), FOO, "A").await.data("A"), ["127.0.0.1"], "{host:?}");
        held.close().await;
        site.dig().comes_to_deny(FOO).await;
    }
    let _name = site.provide("service=foo&port=7&host=other.example.org").await;
    assert_eq!(ask(&site.dig(), FOO, "SRV").await.srv()[0].target, "other.example.org.");
}

pub async fn an_ipv6_peer_has_aaaa(site: Site) {
    // A further daemon on its own is enough where there is no etcd: what is tried is the address.
    let localhost = |port| SocketAddr::new("::1".parse().expect("an address"), port);
    let six = match &site.etcd {
        Some(etcd) => Daemon::start_on(localhost(0), localhost(0), &["--etcd-api", &etcd.endpoint()]).await,
        None => Daemon::start_on(localhost(0), localhost(0), &[]).await,
    };
    let held = six.provide("service=foo&port=7").await;
    let answer = ask(&six.dig(), FOO, "SRV").await;
    assert_eq!(answer.ports(), [7]);
    let additional: Vec<_> = answer.additional.iter().map(|r| (&*r.rtype, &*r.data)).collect();
    assert_eq!(additional, [("AAAA", "::1")]);
    assert_eq!(ask(&six.dig(), FOO, "AAAA").await.data("AAAA"), ["::1"]);
    assert_eq!(ask(&six.dig(), FOO, "A").await.answer, []);
    let mut four = None;
    if site.etcd.is_some() {
        // Both daemons know both families.
        four = Some(site.provide("service=foo&port=8").await);
        six.dig().comes_to_have(FOO, &[7, 8]).await;
        site.dig().comes_to_have(FOO, &[7, 8]).await;
        assert_eq!(ask(&site.dig(), FOO, "AAAA").await.data("AAAA"), ["::1"]);
        assert_eq!(ask(&site.dig(), FOO, "A").await.data("A"), ["127.0.0.1"]);
    }
    held.close().await;
    six.dig().comes_to_have(FOO, if four.is_some() { &[8] } else { &[] }).await;
}

/// A test without a wait and without a second try.
pub async fn registered_means_visible_at_once(site: Site) {
    let mut asking = Ask::at(site.dns).await;
    for turn in 0..300 {
        let held = site.provide(&format!("service=foo&port={}", 1000 + turn)).await;
        let response = asking.srv(FOO).await.expect("an answer");
        assert!(response.ports.contains(&(1000 + turn)), "turn {turn}: {response:?}");
        if turn % 15 == 0 {
            let answer = ask(&site.dig(), FOO, "SRV").await;
            assert!(answer.ports().contains(&(1000 + turn)), "turn {turn}: {answer:?}");
        }
        // The answer to a close confirms that the entry is gone, unless that takes over a second.
        held.close().await;
        wait_until(SOON, async || match asking.srv(FOO).await {
            Ok(response) if response.status == ResponseCode::NXDomain => Ok(()),
            other => Err(format!("turn {turn}: {other:?}")),
        })
        .await;
    }
}

pub async fn an_update_changes_exactly_what_it_says(site: Site) {
    let mut held = site.provide("service=foo&host=10.0.0.1&port=1&weight=100&priority=3").await;
    let _other = site.provide("service=foo&host=10.0.0.2&port=2&weight=100&priority=3").await;
    let seen = async || {
        let srv = ask(&site.dig(), FOO, "SRV").await.srv();
        srv.iter().map(|srv| (srv.priority, srv.weight)).collect::<Vec<_>>()
    };
    let becomes = async |wanted: [(u16, u16); 2]| {
        wait_until(SOON, async || {
            let seen = seen().await;
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?} instead of {wanted:?}")) }
        })
        .await;
    };
    assert_eq!(seen().await, [(3, 50), (3, 50)]);
    for (update, wanted) in [
        (r#"{"op":"update","weight":300}"#, [(3, 75), (3, 25)]),
        (r#"{"op":"update","weight":1}"#, [(3, 1), (3, 99)]),
        (r#"{"op":"update","weight":65535}"#, [(3, 99), (3, 1)]),
        (r#"{"op":"update","priority":2,"weight":10}"#, [(2, 100), (3, 100)]),
        (r#"{"op":"update","priority":1}"#, [(1, 100), (3, 100)]),
        (r#"{"op":"update","priority":65535}"#, [(65535, 100), (3, 100)]),
        // 0 is stored as it is; SkyDNS readers take it for "not said", which is 10 in an answer.
        (r#"{"op":"update","priority":0}"#, [(10, 100), (3, 100)]),
    ] {
        held.text(update);
        becomes(wanted).await;
    }
    assert_eq!(held.received(), None, "an accepted update is not answered");
    let before = site.readyz().await["revision"].clone();
    for (update, names) in [
        (r#"{"op":"update","weight":65536}"#, "weight"),
        (r#"{"op":"update","weight":-1}"#, "weight"),
        (r#"{"op":"update","weight":1.5}"#, "weight"),
        (r#"{"op":"update","weight":"10"}"#, "weight"),
        (r#"{"op":"update","priority":70000}"#, "priority"),
        (r#"{"op":"update","priority":1,"weight":true}"#, "weight"),
        (r#"{"op":"update","colour":1}"#, "colour"),
        (r#"{"op":"update"}"#, "update"),
        (r#"{"op":"fly"}"#, "fly"),
        ("no JSON", "JSON"),
    ] {
        held.text(update);
        let Received::Text(answer) = held.next().await else { panic!("{update}: no text") };
        assert!(answer.starts_with("ERROR: ") && answer.contains(names), "{update}: {answer}");
    }
    assert_eq!(seen().await, [(10, 100), (3, 100)], "nothing of it was done");
    assert_eq!(site.readyz().await["revision"], before, "nothing was written");
    assert!(held.is_open());
    held.close().await;
}

pub async fn a_peer_that_does_not_answer_pings_is_gone_within_the_timeout(site: Site) {
    let timeout = Duration::from_secs(2);
    let before = Instant::now();
    let held = site.provide("service=foo&port=1").await;
    held.stop_reading();
    // The last pong may have come just before the peer stopped; a busy machine takes its time.
    wait_until_due(Instant::now() + timeout + Duration::from_millis(1500), async || {
        let answer = ask(&site.dig(), FOO, "SRV").await;
        if answer.status == "NXDOMAIN" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert!(before.elapsed() > timeout / 2, "a peer was removed before its ping timeout: {:?}", before.elapsed());
}

pub async fn a_peer_that_answers_pings_stays(site: Site) {
    let held = site.provide("service=foo&port=1").await;
    wait_until(SOON, async || {
        assert_eq!(ask(&site.dig(), FOO, "SRV").await.ports(), [1]);
        // Two timeouts and more.
        if held.pings() >= 5 { Ok(()) } else { Err(format!("{} pings", held.pings())) }
    })
    .await;
    assert!(held.is_open());
}

pub async fn two_ports_of_one_service_are_two_instances(site: Site) {
    let one = site.provide("service=foo&port=1").await;
    let two = site.provide("service=foo&port=2").await;
    assert_eq!(ask(&site.dig(), FOO, "SRV").await.ports(), [1, 2]);
    assert_eq!(ask(&site.dig(), FOO, "A").await.data("A"), ["127.0.0.1"], "one address, once");
    one.close().await;
    site.dig().comes_to_have(FOO, &[2]).await;
    two.close().await;
    site.dig().comes_to_deny(FOO).await;
}

pub async fn workers_of_one_address_share_an_instance(site: Site) {
    let one = site.provide("service=foo&port=1").await;
    let two = site.provide("service=foo&port=1").await;
    let three = site.provide("service=foo&port=1").await;
    for worker in [two, one] {
        worker.close().await;
        assert_eq!(ask(&site.dig(), FOO, "SRV").await.ports(), [1]);
    }
    three.reset().await;
    site.dig().comes_to_deny(FOO).await;
}
