//! The tests of what the other tests stand on.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use skyhound_test_support::address::own_address;
use skyhound_test_support::dig::{Answer, Dig, DigError, Record};
use skyhound_test_support::wait::{holds_for, wait_until, wait_until_due};

const SRV: &str = "\
;; Got answer:
;; WARNING: .local is reserved for Multicast DNS
;; You are currently testing what happens when an mDNS query is leaked to DNS
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 26617
;; flags: qr aa rd; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 3
;; WARNING: recursion requested but not available

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; ANSWER SECTION:
web.services.skydns.local. 300\tIN\tSRV\t1 4 8080 a.web.services.skydns.local.
web.services.skydns.local. 300\tIN\tSRV\t1 47 8081 b.web.services.skydns.local.

;; ADDITIONAL SECTION:
a.web.services.skydns.local. 300 IN\tA\t127.0.0.1
b.web.services.skydns.local. 300 IN\tAAAA\t::1

";

const NXDOMAIN: &str = "\
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 34443
;; flags: qr aa rd; QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
; COOKIE: 2f7a8f1f3a7d4f3d (echoed)
;; AUTHORITY SECTION:
skydns.local.\t\t30\tIN\tSOA\tns.dns.skydns.local. hostmaster.skydns.local. 1795231521 7200 1800 86400 30

";

const TRUNCATED: &str = "\
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 12598
;; flags: qr aa tc rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 0

;; ANSWER SECTION:
big.services.skydns.local. 300\tIN\tSRV\t10 1 1 i1.big.services.skydns.local.

";

const TEXT: &str = "\
;; Truncated, retrying in TCP mode.
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 24113
;; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 0

;; ANSWER SECTION:
a\\032b.skydns.local. 300\tIN\tTXT\t\"two  spaces \\\"q\\\" ; x\"
";

fn read(printed: &str) -> Answer {
    printed.parse().expect("recorded output of dig")
}

fn record(name: &str, ttl: u32, rtype: &str, data: &str) -> Record {
    Record { name: name.into(), ttl, class: "IN".into(), rtype: rtype.into(), data: data.into() }
}

#[test]
fn dig_sections_are_read() {
    let answer = read(SRV);
    assert_eq!(answer.status, "NOERROR");
    assert_eq!(answer.flags, ["qr", "aa", "rd"]);
    assert!(answer.authoritative() && !answer.truncated() && !answer.retried_over_tcp);
    assert_eq!(answer.edns_udp, Some(1232));
    assert_eq!(answer.data("SRV"), ["1 4 8080 a.web.services.skydns.local.", "1 47 8081 b.web.services.skydns.local."]);
    assert!(answer.authority.is_empty());
    assert_eq!(
        answer.additional,
        [
            record("a.web.services.skydns.local.", 300, "A", "127.0.0.1"),
            record("b.web.services.skydns.local.", 300, "AAAA", "::1"),
        ]
    );
}

#[test]
fn dig_negative_answer_has_its_soa() {
    let answer = read(NXDOMAIN);
    assert_eq!(answer.status, "NXDOMAIN");
    assert!(answer.answer.is_empty());
    let soa = "ns.dns.skydns.local. hostmaster.skydns.local. 1795231521 7200 1800 86400 30";
    assert_eq!(answer.authority, [record("skydns.local.", 30, "SOA", soa)]);
}

#[test]
fn dig_truncation_and_missing_edns_are_seen() {
    let answer = read(TRUNCATED);
    assert!(answer.truncated());
    assert_eq!(answer.edns_udp, None);
}

#[test]
fn dig_data_keeps_its_spaces_and_semicolons() {
    let answer = read(TEXT);
    assert!(answer.retried_over_tcp);
    assert_eq!(answer.answer, [record("a\\032b.skydns.local.", 300, "TXT", r#""two  spaces \"q\" ; x""#)]);
}

#[test]
fn dig_output_without_one_whole_answer_is_an_error() {
    for printed in ["", ";; no servers could be reached\n", "a. 300 IN A 127.0.0.1\n", &[SRV, NXDOMAIN].concat()] {
        assert!(matches!(printed.parse::<Answer>(), Err(DigError::Unreadable(_))), "{printed}");
    }
}

#[tokio::test]
async fn dig_distinguishes_no_response_from_an_answer() {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    assert!(matches!(Dig::new(nobody).query("skydns.local", "A").await, Err(DigError::NoReply(_))));
}

#[tokio::test]
async fn dig_reads_a_live_answer() {
    // The shortest DNS server: the question back, as a refusal.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let dig = Dig::new(socket.local_addr().expect("a bound socket has an address")).no_edns();
    let server = std::thread::spawn(move || {
        let mut message = [0; 512];
        let (len, peer) = socket.recv_from(&mut message).expect("a question");
        message[2] |= 0x80;
        message[3] |= 5;
        socket.send_to(&message[..len], peer).expect("an answer");
    });
    let answer = dig.query("Web.skydns.local", "SRV").await.expect("an answer");
    server.join().expect("the server");
    assert_eq!((answer.status.as_str(), answer.edns_udp), ("REFUSED", None));
}

#[tokio::test]
async fn waiting_ends_with_the_level() {
    let mut asked = 0;
    let level = wait_until(Duration::from_secs(5), || {
        asked += 1;
        std::future::ready(if asked < 3 { Err("too low") } else { Ok(asked) })
    });
    assert_eq!(level.await, 3);
}

#[tokio::test]
#[should_panic(expected = "last seen: too low")]
async fn waiting_ends_with_what_was_seen() {
    wait_until(Duration::from_millis(30), || async { Err::<(), _>("too low") }).await;
}

#[tokio::test]
#[should_panic(expected = "no answer at all")]
async fn waiting_ends_when_nothing_comes() {
    wait_until(Duration::from_millis(30), std::future::pending::<Result<(), String>>).await;
}

#[tokio::test]
async fn a_late_answer_to_a_timely_question_counts() {
    let due = Instant::now() + Duration::from_secs(1);
    let mut asked = 0;
    wait_until_due(due, async || {
        asked += 1;
        tokio::time::sleep_until(due.into()).await;
        if asked == 1 { Err("not yet") } else { Ok(()) }
    })
    .await;
    assert_eq!(asked, 2);
}

#[tokio::test]
#[should_panic(expected = "after it was due; seen: there")]
async fn a_late_question_is_detected() {
    wait_until_due(Instant::now() + Duration::from_millis(30), async || Err::<(), _>("there")).await;
}

#[tokio::test]
async fn a_condition_is_checked_until_the_end_of_the_time() {
    let (began, mut checks) = (Instant::now(), Vec::new());
    holds_for(Duration::from_millis(300), async || {
        checks.push(began.elapsed());
        Ok::<(), String>(())
    })
    .await;
    assert!(checks.len() >= 3 && checks[checks.len() - 1] >= Duration::from_millis(300), "{checks:?}");
}

#[tokio::test]
#[should_panic(expected = "of 1000s: only 2 of 3")]
async fn a_condition_that_breaks_ends_the_wait_at_once() {
    let mut left = 3;
    holds_for(Duration::from_secs(1000), async || {
        left -= usize::from(left > 2);
        if left > 2 { Ok(()) } else { Err(format!("only {left} of 3")) }
    })
    .await;
}

#[test]
fn addresses_are_of_one_program_each() {
    let addresses: std::collections::BTreeSet<_> = std::iter::repeat_with(own_address).take(600).collect();
    assert_eq!(addresses.len(), 600);
    assert!(addresses.iter().all(|address| address.is_loopback() && address.octets()[1] > 0), "{addresses:?}");
}
