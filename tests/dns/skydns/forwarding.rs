//! Names of other servers: the choice of the upstream, the clients that it is asked for, and upstreams that fail.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use skyhound_test_support::address::own_address;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// The number of addresses that the upstream knows: more than UDP holds.
const MANY: u8 = 200;

/// An upstream that counts its questions over UDP and TCP.
struct Upstream {
    addr: SocketAddr,
    udp: Arc<AtomicUsize>,
    tcp: Arc<AtomicUsize>,
}

fn response(question: &[u8], rcode: ResponseCode, records: u8, truncated: bool) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let mut response = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    response.metadata.response_code = rcode;
    response.metadata.truncation = truncated;
    let query = question.queries[0].clone();
    for last in 0..records {
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
        response.answers.push(Record::from_rdata(query.name().clone(), 77, data));
    }
    response.queries.push(query);
    response.to_vec().unwrap()
}

impl Upstream {
    /// Truncates over UDP, and answers in full over TCP.
    async fn large() -> Self {
        Self::start(ResponseCode::NoError, true).await
    }

    async fn start(rcode: ResponseCode, truncated: bool) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let upstream = Self { addr: tcp.local_addr().unwrap(), udp: Arc::default(), tcp: Arc::default() };
        let (over_udp, over_tcp) = (Arc::clone(&upstream.udp), Arc::clone(&upstream.tcp));
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            loop {
                let (length, peer) = udp.recv_from(&mut bytes).await.unwrap();
                over_udp.fetch_add(1, Relaxed);
                let records = u8::from(!truncated && rcode == ResponseCode::NoError);
                udp.send_to(&response(&bytes[..length], rcode, records, truncated), peer).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                over_tcp.fetch_add(1, Relaxed);
                let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let response = response(&bytes, rcode, MANY, false);
                stream.write_u16(response.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&response).await.unwrap();
            }
        });
        upstream
    }

    fn question_counts(&self) -> (usize, usize) {
        (self.udp.load(Relaxed), self.tcp.load(Relaxed))
    }
}

#[multi_thread_test]
async fn truncated_responses_are_retried_over_tcp() {
    let upstream = Upstream::large().await;
    let daemon = Daemon::start(&["--nameserver", &upstream.addr.to_string()]).await;
    let answer = daemon.dig().query("www.example.org", "A").await.unwrap();
    assert_eq!((answer.answer.len(), answer.retried_over_tcp), (usize::from(MANY), true), "{answer:?}");
    assert!(answer.has_flag("ra") && !answer.authoritative());
    assert_eq!(upstream.question_counts(), (2, 2), "once for dig's question over UDP, once for the one over TCP");
}

#[multi_thread_test]
async fn servers_take_turns_and_a_dead_one_costs_a_moment() {
    let one = Upstream::start(ResponseCode::NoError, false).await;
    let failing = Upstream::start(ResponseCode::ServFail, false).await;
    // Bound, and never read.
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = [one.addr, failing.addr, dead.local_addr().unwrap()].map(|addr| addr.to_string());
    let daemon = Daemon::start(&["--nameserver", &servers.join(",")]).await;
    for _ in 0..6 {
        let began = Instant::now();
        let answer = daemon.dig().option("+time=10").query("www.example.org", "A").await.unwrap();
        assert_eq!(answer.data("A"), ["192.0.2.0"], "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(9));
    }
    assert!((6..9).contains(&one.question_counts().0), "once for each question, or again when it was slow itself");
    assert!(failing.question_counts().0 >= 2, "it is asked in its turn");
}

#[multi_thread_test]
async fn strangers_queries_without_rd_and_short_names_are_not_forwarded() {
    let upstream = Upstream::start(ResponseCode::NoError, false).await;
    let server = upstream.addr.to_string();
    let daemon = Daemon::start(&["--nameserver", &server, "--forward-allow", "192.0.2.0/24"]).await;
    let answer = daemon.dig().query("www.example.org", "A").await.unwrap();
    assert_eq!((answer.status.as_str(), answer.has_flag("ra")), ("REFUSED", false));
    let daemon = Daemon::start(&["--nameserver", &server]).await;
    assert_eq!(daemon.dig().no_recursion().query("www.example.org", "A").await.unwrap().status, "REFUSED");
    assert_eq!(daemon.dig().query("host", "A").await.unwrap().status, "REFUSED");
    assert_eq!(upstream.question_counts(), (0, 0));
    let daemon = Daemon::start(&["--nameserver", &server, "--no-rec"]).await;
    assert_eq!(daemon.dig().query("www.example.org", "A").await.unwrap().status, "REFUSED");
}

#[multi_thread_test]
async fn two_daemons_that_name_each_other_stop_asking() {
    // Known before they listen, and on an address whose ports the system gives nobody by chance.
    let own = own_address();
    let addrs = [5300, 5301].map(|port| SocketAddr::from((own, port)));
    let http = "127.0.0.1:0".parse().unwrap();
    let one = Daemon::start_on(http, addrs[0], &["--nameserver", &addrs[1].to_string()]).await;
    let other = Daemon::start_on(http, addrs[1], &["--nameserver", &addrs[0].to_string()]).await;
    let answer = one.dig().option("+time=10").query("www.example.org", "A").await.unwrap();
    assert_eq!(answer.status, "SERVFAIL");
    let question =
        one.metric("skyhound_dns_questions_total").await + other.metric("skyhound_dns_questions_total").await;
    assert!(question < 40.0, "{question} questions for one");
}

#[multi_thread_test]
async fn a_stub_within_the_own_zone_answers_missing_names() {
    let upstream = Upstream::start(ResponseCode::NoError, false).await;
    let etcd = EtcdProcess::start().await;
    let stub = format!(r#"{{"host":"{}","port":{}}}"#, upstream.addr.ip(), upstream.addr.port());
    etcd.ctl(&["put", "/skydns/test/all/dns/stub/test/all/in/dc2/ns1", &stub]);
    etcd.ctl(&["put", "/skydns/test/all/in/dc2/here", r#"{"host":"10.0.0.1"}"#]);
    let daemon = Daemon::start(&["--etcd-api", &etcd.endpoint(), "--dns-root", "all.test"]).await;
    let ask = async |name: &str| daemon.dig().query(name, "A").await.unwrap();
    let there = ask("web.dc2.in.all.test").await;
    assert!(there.data("A") == ["192.0.2.0"] && !there.authoritative(), "{there:?}");
    assert_eq!(upstream.question_counts().0, 1);
    let here = ask("here.dc2.in.all.test").await;
    assert!(here.data("A") == ["10.0.0.1"] && here.authoritative(), "{here:?}");
    assert_eq!(ask("web.dc3.in.all.test").await.status, "NXDOMAIN");
    // A resolver that follows delegations does not ask for recursion: it goes on elsewhere, and keeps no denial.
    assert_eq!(daemon.dig().no_recursion().query("web.dc2.in.all.test", "A").await.unwrap().status, "REFUSED");
    assert_eq!(upstream.question_counts().0, 1);
}
