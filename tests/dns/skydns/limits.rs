//! Access lists and rate limits: clients of several loopback addresses, one daemon.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::wait_until;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

/// The wait for an answer that should not come. Long enough for any answer that is on its way over loopback: a question
/// that is answered follows each that is not.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The wait for one answer that may not come.
const A_MOMENT: Duration = Duration::from_millis(200);

fn question(id: u16, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii("skydns.local.").unwrap(), rtype));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

/// A client with this address.
async fn client(ip: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

async fn receive(socket: &UdpSocket) -> Message {
    let mut buffer = [0; 4096];
    let length = tokio::time::timeout(TIMEOUT, socket.recv(&mut buffer)).await.expect("an answer").unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

#[multi_thread_test]
async fn denied_clients_are_refused_over_udp_and_others_are_answered() {
    let daemon = Daemon::start(&["--dns-deny", "127.0.0.2/32", "--dns-deny", "127.0.3.0/24"]).await;
    for (from, status) in [("127.0.0.1", "NOERROR"), ("127.0.0.2", "REFUSED"), ("127.0.3.9", "REFUSED")] {
        // SOA is the general path's, A of a name that is not there the fast path's.
        for (name, rtype) in [("skydns.local", "SOA"), ("nosuch.skydns.local", "A")] {
            let status = if status == "NOERROR" && rtype == "A" { "NXDOMAIN" } else { status };
            let answer = daemon.dig().option("-b").option(from).query(name, rtype).await.unwrap();
            assert_eq!(answer.status, status, "{from} {rtype}: {answer:?}");
        }
    }
    assert!((daemon.metric("skyhound_dns_denied_requests_total").await - 4.0).abs() < 0.5);
}

#[multi_thread_test]
async fn an_allow_list_excludes_all_others_and_deny_wins() {
    let daemon = Daemon::start(&["--dns-allow", "127.0.0.0/24,127.0.5.1", "--dns-deny", "127.0.0.7"]).await;
    for (from, may) in
        [("127.0.0.1", true), ("127.0.0.7", false), ("127.0.5.1", true), ("127.0.5.2", false), ("127.9.0.1", false)]
    {
        let answer = daemon.dig().option("-b").option(from).query("skydns.local", "SOA").await.unwrap();
        assert_eq!(answer.status == "NOERROR", may, "{from}: {answer:?}");
        assert!(answer.status == "REFUSED" || may);
    }
}

/// Returns whether an answer is empty and truncated, so that the client retries over TCP.
fn is_cut(answer: &Message) -> bool {
    if answer.metadata.truncation {
        assert!(answer.answers.is_empty() && answer.queries.len() == 1 && answer.edns.is_some(), "{answer}");
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    }
    answer.metadata.truncation
}

/// Hundreds of questions of one network at once, each followed by one of another network, whose answers
/// show that the daemon has been through them.
#[multi_thread_test]
async fn a_network_over_its_rate_is_truncated_or_dropped() {
    const RATE: usize = 20;
    // As many as a socket holds whose thread does not get to run meanwhile: 208 KiB are 277 of these.
    const ASKED: u16 = 250;
    let rate = RATE.to_string();
    let daemon = Daemon::start(&["--dns-rate", &rate, "--dns-rate-exempt", "127.0.2.0/24"]).await;
    let (flood, same, exempt) = (
        client("127.0.1.1", daemon.dns).await,
        client("127.0.1.200", daemon.dns).await,
        client("127.0.2.1", daemon.dns).await,
    );
    let (mut whole, mut cut) = (0, 0);
    let began = std::time::Instant::now();
    for id in 0..ASKED {
        flood.send(&question(id, RecordType::SOA)).await.unwrap();
        exempt.send(&question(id, RecordType::SOA)).await.unwrap();
        let answer = receive(&exempt).await;
        assert!(answer.metadata.id == id && answer.answers.len() == 1, "an exempt client is never limited: {answer}");
        // As it comes: a socket holds a few hundred.
        let mut buffer = [0; 4096];
        while let Ok(length) = flood.try_recv(&mut buffer) {
            *if is_cut(&Message::from_vec(&buffer[..length]).unwrap()) { &mut cut } else { &mut whole } += 1;
        }
    }
    let bound = RATE * (2 + usize::try_from(began.elapsed().as_secs()).unwrap());
    // Two threads answer, each in its order: the last answer to one network may come before that to the other. It is
    // on its way until each question has its whole answer or is counted.
    wait_until(TIMEOUT, async || {
        while let Ok(answer) = tokio::time::timeout(A_MOMENT, receive(&flood)).await {
            *if is_cut(&answer) { &mut cut } else { &mut whole } += 1;
        }
        let limited = daemon.metric("skyhound_dns_rate_limited_requests_total").await;
        let over = f64::from(u32::try_from(usize::from(ASKED) - whole).unwrap());
        if (limited - over).abs() < 0.5 { Ok(()) } else { Err(format!("{limited} of {over}")) }
    })
    .await;
    assert!((RATE..=bound).contains(&whole), "{whole} answers, at most {bound}");
    let over = usize::from(ASKED) - whole;
    assert!((over / 3..=over * 2 / 3).contains(&cut), "every other one of {over} is cut, not {cut}");
    // A real client in that network comes back over TCP, which proves its address.
    assert_eq!(
        daemon.dig().tcp().option("-b").option("127.0.1.9").query("skydns.local", "SOA").await.unwrap().status,
        "NOERROR"
    );
    // A second later the network is served again, and shares what it gets.
    wait_until(TIMEOUT, async || {
        same.send(&question(7, RecordType::SOA)).await.unwrap();
        let answer = tokio::time::timeout(A_MOMENT, receive(&same)).await.map_err(|_| "no answer")?;
        if answer.answers.len() == 1 { Ok(()) } else { Err("cut") }
    })
    .await;
}

#[multi_thread_test]
async fn local_clients_are_not_rate_limited_by_default() {
    let daemon = Daemon::start(&["--dns-rate", "1"]).await;
    let near = client("127.0.0.1", daemon.dns).await;
    for id in 0..200 {
        near.send(&question(id, RecordType::SOA)).await.unwrap();
        assert_eq!(receive(&near).await.answers.len(), 1);
    }
}
