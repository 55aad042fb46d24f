//! DNS on real sockets, asked by `dig` and, where `dig` is too polite, byte by byte.

mod served;
mod streams;

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use served::{DigResponse, Served, dig};
use skyhound_core::catalog::Catalog;
use skyhound_core::catalog::Keyspace;
use skyhound_dns::DnsServer;
use skyhound_model::Layout;
use skyhound_test_support::wait;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::net::UdpSocket;

/// The time limit of an answer before a test fails. Generous: the machine that runs it may be busy.
const TIMEOUT: Duration = Duration::from_secs(10);

fn pool(count: usize) -> Vec<(String, String)> {
    let entry =
        |i: usize| format!(r#"{{"host":"10.{}.{}.{}","port":{}}}"#, 1 + i / 65536, i / 256 % 256, i % 256, 1 + i % 9);
    (0..count).map(|i| (format!("pool/n{i:04}"), entry(i))).collect()
}

fn tree() -> Vec<(String, String)> {
    [
        ("web/a", r#"{"host":"10.0.0.1","port":8080,"ttl":60}"#),
        ("web/b", r#"{"host":"2001:db8::1","port":8081,"priority":20}"#),
        ("web/txt", r#"{"text":"v=1"}"#),
        ("dns/ns/one", r#"{"host":"127.0.0.1"}"#),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn dig_finds_every_type() {
    let served = Served::start(tree()).await;
    for transport in ["+notcp", "+tcp"] {
        let ask = async |args: &[&str]| dig(served.addr, &[args, &[transport]].concat()).await;
        let srv = ask(&["web.skydns.test", "SRV"]).await;
        assert_eq!(srv.answers, ["60 SRV 10 100 8080 a.web.skydns.test.", "60 SRV 20 100 8081 b.web.skydns.test."]);
        let additional = ["a.web.skydns.test. 60 A 10.0.0.1", "b.web.skydns.test. 60 AAAA 2001:db8::1"];
        assert_eq!(srv.additional, additional);
        assert!(srv.flags.contains("aa") && !srv.flags.contains("tc"), "{}", srv.flags);
        assert_eq!(ask(&["web.skydns.test", "A"]).await.answers, ["60 A 10.0.0.1"]);
        assert_eq!(ask(&["web.skydns.test", "AAAA"]).await.answers, ["300 AAAA 2001:db8::1"]);
        assert_eq!(ask(&["web.skydns.test", "TXT"]).await.answers, [r#"300 TXT "v=1""#]);
        assert_eq!(ask(&["skydns.test", "NS"]).await.answers, ["300 NS one.ns.dns.skydns.test."]);
        let soa = ask(&["skydns.test", "SOA"]).await;
        assert!(soa.answers[0].starts_with("15 SOA ns.dns.skydns.test. hostmaster.skydns.test. "), "{soa:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn nodata_and_nxdomain_are_distinguished() {
    let served = Served::start(tree()).await;
    for (args, status, soa) in [
        (["nosuch.skydns.test", "A"], "NXDOMAIN", true),
        (["a.web.skydns.test", "TXT"], "NOERROR", true),
        (["example.org", "A"], "REFUSED", false),
        (["web.skydns.test", "ANY"], "REFUSED", false),
    ] {
        let response = dig(served.addr, &args).await;
        assert_eq!((response.status.as_str(), response.answers.len()), (status, 0), "{args:?}");
        assert_eq!(response.authority.iter().any(|line| line.starts_with("skydns.test. 15 SOA ")), soa, "{response:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_change_is_answered_once_the_catalog_has_it() {
    let served = Served::start(tree()).await;
    assert_eq!(dig(served.addr, &["new.skydns.test", "A"]).await.status, "NXDOMAIN");
    served.put("new", r#"{"host":"10.0.0.7"}"#).await;
    assert_eq!(dig(served.addr, &["new.skydns.test", "A"]).await.answers, ["300 A 10.0.0.7"]);
    served.stop().await;
}

#[tokio::test]
async fn names_before_the_first_listing_are_servfail() {
    let served = Served::unread().await;
    let response = dig(served.addr, &["web.skydns.test", "A"]).await;
    assert_eq!(response.status, "SERVFAIL");
    assert!(response.text.contains("EDE: 14"), "{}", response.text);
    served.stop().await;
}

#[tokio::test]
async fn a_lost_store_leaves_short_answers_that_say_so() {
    let served = Served::start(tree()).await;
    served.lose_store().await;
    let response = dig(served.addr, &["web.skydns.test", "AAAA"]).await;
    assert_eq!(response.answers, ["10 AAAA 2001:db8::1"]);
    assert!(response.text.contains("EDE: 3"), "{}", response.text);
    assert_eq!(served.server.stats().stale(), 1);
    served.stop().await;
}

#[tokio::test]
async fn a_hundred_instances_are_cut_over_udp_and_whole_over_tcp() {
    let served = Served::start(pool(100)).await;
    let srv = ["pool.skydns.test", "SRV", "+notcp", "+ignore"];
    let cut = dig(served.addr, &srv).await;
    assert!(cut.flags.contains("tc") && cut.size <= 1232, "{} {}", cut.flags, cut.size);
    assert!(!cut.answers.is_empty() && cut.answers.len() < 100 && cut.additional.is_empty());
    let small = dig(served.addr, &[&srv[..], &["+noedns"]].concat()).await;
    assert!(small.flags.contains("tc") && small.size <= 512 && !small.answers.is_empty(), "{}", small.size);
    let larger = dig(served.addr, &[&srv[..], &["+bufsize=8192"]].concat()).await;
    assert!(larger.size <= 1232, "a client that takes more does not get more: {}", larger.size);
    // Without +ignore, dig asks again over TCP by itself.
    let whole = dig(served.addr, &["pool.skydns.test", "SRV"]).await;
    assert_eq!((BTreeSet::from_iter(&whole.answers).len(), whole.additional.len()), (100, 100));
    assert!(!whole.flags.contains("tc"));
    assert_eq!(served.server.stats().truncated(), 4);
    served.stop().await;
}

#[tokio::test]
async fn additional_records_give_way_without_a_cut() {
    let served = Served::start(pool(20)).await;
    let response = dig(served.addr, &["pool.skydns.test", "SRV", "+notcp", "+ignore"]).await;
    assert!(!response.flags.contains("tc") && response.size <= 1232, "{} {}", response.flags, response.size);
    assert_eq!(response.answers.len(), 20);
    assert!(response.additional.len() < 20, "20 SRV with all addresses are more than 1232 bytes");
    served.stop().await;
}

#[tokio::test]
async fn thousands_over_tcp_are_a_subset_that_changes() {
    let served = Served::start(pool(4000)).await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let response = dig(served.addr, &["pool.skydns.test", "SRV", "+tcp"]).await;
        assert_eq!(response.status, "NOERROR");
        assert!(
            response.size <= 65_535 && response.answers.len() > 500,
            "{} in {}",
            response.answers.len(),
            response.size
        );
        assert!(seen.is_empty() || response.answers.iter().any(|line| !seen.contains(line)), "not the same ones again");
        seen.extend(response.answers);
    }
    assert_eq!(served.server.stats().subset(), 3);
    served.stop().await;
}

#[tokio::test]
async fn owner_names_repeat_the_case_that_was_asked() {
    let served = Served::start(tree()).await;
    let response = dig(served.addr, &["wEb.SkyDNS.tEST", "A"]).await;
    assert!(response.text.contains("wEb.SkyDNS.tEST.\t60\tIN\tA\t10.0.0.1"), "{}", response.text);
    assert!(response.text.contains(";wEb.SkyDNS.tEST."), "{}", response.text);
    served.stop().await;
}

#[tokio::test]
async fn edns_and_opcodes_that_we_do_not_speak() {
    let served = Served::start(tree()).await;
    let later = dig(served.addr, &["web.skydns.test", "A", "+edns=1", "+noednsnegotiation"]).await;
    assert_eq!((later.status.as_str(), later.answers.len()), ("BADVERS", 0));
    assert!(later.text.contains("EDNS: version: 0"), "{}", later.text);
    let plain = dig(served.addr, &["web.skydns.test", "A", "+noedns"]).await;
    assert!(plain.status == "NOERROR" && !plain.text.contains("EDNS:"), "no OPT for a client that sent none");
    for opcode in ["STATUS", "NOTIFY", "UPDATE", "15"] {
        let response = dig(served.addr, &["web.skydns.test", "A", &format!("+opcode={opcode}")]).await;
        assert_eq!(response.status, "NOTIMP", "{opcode}");
    }
    served.stop().await;
}

#[tokio::test]
async fn garbage_harms_nobody_and_responses_are_not_answered() {
    let served = Served::start(tree()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(served.addr).await.unwrap();
    let question = |id: u16, kind: MessageType| {
        let mut message = Message::new(id, kind, OpCode::Query);
        message.queries.push(Query::query(Name::from_ascii("web.skydns.test.").unwrap(), RecordType::A));
        message
    };
    let mut random = fastrand::Rng::with_seed(42);
    for round in 0..200 {
        let mut bytes = question(7, MessageType::Query).to_vec().unwrap();
        match round % 4 {
            0 => bytes.truncate(random.usize(..bytes.len())),
            1 => bytes.iter_mut().skip(2).for_each(|byte| *byte ^= random.u8(..) & random.u8(..) & random.u8(..)),
            2 => bytes[12] = 0xc0, // a name that points at itself
            _ => bytes.resize_with(random.usize(12..600), || random.u8(..)),
        }
        socket.send(&bytes).await.unwrap();
    }
    socket.send(&question(4000, MessageType::Response).to_vec().unwrap()).await.unwrap();
    socket.send(&question(4001, MessageType::Query).to_vec().unwrap()).await.unwrap();
    let answered = tokio::time::timeout(TIMEOUT, async {
        let mut bytes = [0; 1500];
        loop {
            let length = socket.recv(&mut bytes).await.unwrap();
            let id = u16::from_be_bytes([bytes[0], bytes[1]]);
            assert_ne!(id, 4000, "a response was answered");
            if id == 4001 {
                return Message::from_vec(&bytes[..length]).unwrap();
            }
        }
    });
    let message = answered.await.expect("an answer after all that");
    let Metadata { response_code, .. } = message.metadata;
    assert_eq!((response_code, message.answers.len()), (ResponseCode::NoError, 1));
    assert!(matches!(&message.answers[0].data, RData::A(a) if a.0.octets() == [10, 0, 0, 1]));
    served.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_a_remedy_and_a_stopped_server_frees_it() {
    // An address of its own: on 127.0.0.1 anybody's connection may get the port that is free for a moment.
    let listen = "127.0.53.1:0".parse().unwrap();
    let catalog = Catalog::new(Keyspace::from(Layout::new("/skydns")));
    let server = DnsServer::bind(&[listen], served::settings(), catalog.clone()).await.unwrap();
    let addr = server.local_addrs()[0];
    let error = DnsServer::bind(&[addr], served::settings(), catalog.clone()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen for DNS over TCP on {addr}; ")), "{text}");
    assert!(text.contains("stop the process that listens there"), "{text}");
    server.shutdown().await;
    // A `dig` that another test starts has this process's sockets until it is the program that it is to be.
    let again = wait::wait_until(TIMEOUT, async || DnsServer::bind(&[addr], served::settings(), catalog.clone()).await);
    let again = again.await;
    assert_eq!(again.local_addrs(), [addr]);
    again.shutdown().await;
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let served = Served::start(pool(30)).await;
    let asked: Vec<_> =
        (0..16).map(|_| tokio::spawn(async move { dig(served.addr, &["pool.skydns.test", "A"]).await })).collect();
    let mut first = BTreeSet::new();
    for asked in asked {
        let DigResponse { answers, .. } = asked.await.unwrap();
        assert_eq!(BTreeSet::from_iter(&answers).len(), 30);
        first.insert(answers[0].clone());
    }
    assert!(first.len() > 1, "the first record changes");
    served.stop().await;
}
