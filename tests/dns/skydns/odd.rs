//! The tests that RFC 8906 section 8 has for every server: odd types, classes, opcodes, flags and EDNS get an
//! answer, and the right one. Asked with `dig`, as the RFC does, in its order; section 8.3 is about servers
//! without EDNS and asks nothing. Sections 3 and 4 name the tests after the RFC's own list.

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use tokio::process::Command;

/// Arguments of dig, and what its output has to hold; behind a `!`, must not hold.
type Row = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // 8.1 without EDNS
    ("8.1.1 plain", "+noedns +noad +norec soa skydns.local", &["status: NOERROR", "flags: qr aa;", "\tSOA\t", "!EDNS:"]),
    ("8.1.2 unknown type", "+noedns +noad +norec type1000 skydns.local", &["status: NOERROR", "flags: qr aa;", "ANSWER: 0", "!EDNS:"]),
    ("8.1.3 header bits: CD", "+noedns +noad +norec +cd soa skydns.local", &["status: NOERROR", "flags: qr aa", "\tSOA\t"]),
    ("8.1.3 header bits: AD", "+noedns +norec +ad soa skydns.local", &["status: NOERROR", "flags: qr aa", "\tSOA\t"]),
    ("8.1.3 header bits: Z", "+noedns +noad +norec +zflag soa skydns.local", &["status: NOERROR", "\tSOA\t", "!MBZ"]),
    ("8.1.3 header bits: RD", "+noedns +noad +rec soa skydns.local", &["status: NOERROR", "flags: qr aa rd;", "\tSOA\t"]),
    ("8.1.4 unknown opcode", "+noedns +noad +opcode=15 +norec +header-only", &["status: NOTIMP", "opcode: RESERVED15", "!\tSOA\t"]),
    ("8.1.5 TCP", "+noedns +noad +norec +tcp soa skydns.local", &["status: NOERROR", "flags: qr aa;", "\tSOA\t"]),
    ("another class", "+noedns +noad +norec -c HS soa skydns.local", &["status: REFUSED", "!\tSOA\t"]),
    ("NOTIFY", "+noedns +noad +norec +opcode=4 soa skydns.local", &["status: NOTIMP", "opcode: NOTIFY", "!\tSOA\t"]),
    ("UPDATE", "+noedns +noad +norec +opcode=5 soa skydns.local", &["status: NOTIMP", "opcode: UPDATE", "!\tSOA\t"]),
    ("header only", "+noedns +noad +norec +header-only", &["status: FORMERR", "!\tSOA\t"]),
    ("unknown type that is not there", "+noedns +noad +norec type1000 nosuch.skydns.local", &["status: NXDOMAIN", "flags: qr aa;"]),
    ("unknown type over TCP", "+noedns +noad +norec +tcp type1000 skydns.local", &["status: NOERROR", "flags: qr aa;", "ANSWER: 0"]),
    ("unknown opcode over TCP", "+noedns +noad +opcode=15 +norec +header-only +tcp", &["status: NOTIMP", "opcode: RESERVED15"]),
    ("truncated without EDNS", "+noedns +noad +norec +ignore txt large.skydns.local", &["status: NOERROR", "flags: qr aa tc;", "!EDNS:"]),
    // 8.2 with EDNS
    ("8.2.1 EDNS", "+edns=0 +nocookie +noad +norec soa skydns.local", &["status: NOERROR", "\tSOA\t", "EDNS: version: 0"]),
    ("8.2.2 EDNS version 1", "+edns=1 +noednsneg +nocookie +noad +norec soa skydns.local", &["status: BADVERS", "EDNS: version: 0", "!\tSOA\t"]),
    ("8.2.3 EDNS option", "+edns=0 +noad +norec +nocookie +ednsopt=100 soa skydns.local", &["status: NOERROR", "\tSOA\t", "EDNS: version: 0", "!OPT=100"]),
    ("8.2.4 EDNS flags", "+edns=0 +noad +norec +nocookie +ednsflags=0x40 soa skydns.local", &["status: NOERROR", "\tSOA\t", "EDNS: version: 0", "!MBZ"]),
    ("8.2.5 version 1 and flags", "+edns=1 +noednsneg +noad +norec +nocookie +ednsflags=0x40 soa skydns.local", &["status: BADVERS", "EDNS: version: 0", "!MBZ", "!\tSOA\t"]),
    ("8.2.6 version 1 and option", "+edns=1 +noednsneg +noad +norec +nocookie +ednsopt=100 soa skydns.local", &["status: BADVERS", "EDNS: version: 0", "!OPT=100", "!\tSOA\t"]),
    ("8.2.7 truncated", "+norec +dnssec +bufsize=512 +ignore +nocookie txt large.skydns.local", &["status: NOERROR", "flags: qr aa tc;", "ANSWER: 0", "EDNS: version: 0, flags: do;"]),
    ("8.2.8 DO", "+edns=0 +nocookie +noad +norec +dnssec soa skydns.local", &["status: NOERROR", "\tSOA\t", "flags: do;"]),
    ("8.2.9 version 1 and DO", "+edns=1 +noednsneg +nocookie +noad +norec +dnssec soa skydns.local", &["status: BADVERS", "EDNS: version: 0, flags: do;", "!\tSOA\t"]),
    ("8.2.10 several options", "+edns=0 +noad +norec +cookie +nsid +expire +subnet=0.0.0.0/0 soa skydns.local", &["status: NOERROR", "\tSOA\t", "EDNS: version: 0"]),
    ("EDNS over TCP", "+edns=0 +nocookie +noad +norec +tcp soa skydns.local", &["status: NOERROR", "\tSOA\t", "EDNS: version: 0"]),
    ("version 1 over TCP", "+edns=1 +noednsneg +nocookie +noad +norec +tcp soa skydns.local", &["status: BADVERS", "EDNS: version: 0", "!\tSOA\t"]),
    ("option and flags over TCP", "+edns=0 +noad +norec +nocookie +ednsopt=100 +ednsflags=0x40 +tcp soa skydns.local", &["status: NOERROR", "\tSOA\t", "EDNS: version: 0", "!OPT=100", "!MBZ"]),
    ("unknown opcode with EDNS", "+edns=0 +nocookie +noad +opcode=15 +norec +header-only", &["status: NOTIMP", "opcode: RESERVED15", "EDNS: version: 0"]),
    ("all of it over TCP", "+edns=0 +nocookie +norec +tcp txt large.skydns.local", &["status: NOERROR", "flags: qr aa;", "ANSWER: 1", "EDNS: version: 0"]),
    ("AXFR", "+edns=0 +nocookie +noad +norec +tcp axfr skydns.local", &["Transfer failed"]),
    ("ANY", "+edns=0 +nocookie +noad +norec any skydns.local", &["status: REFUSED", "EDE: 21"]),
];

#[multi_thread_test]
async fn odd_questions_get_the_right_answer() {
    let daemon = Daemon::start(&[]).await;
    // More than 512 bytes.
    let text = "0123456789".repeat(90);
    let _large = daemon.provide(&format!("service=a&category=large&port=1&text={text}")).await;
    let mut wrong = Vec::new();
    for (what, args, expected) in ROWS {
        let output = Command::new("dig")
            .arg("-r")
            .env("LC_ALL", "C")
            .arg(format!("@{}", daemon.dns.ip()))
            .args(["-p", &daemon.dns.port().to_string(), "+tries=1", "+time=5"])
            .args(args.split(' '))
            .output()
            .await
            .expect("dig is installed (bind9-dnsutils)");
        let text = String::from_utf8_lossy(&output.stdout);
        // The question repeats the type; only answers count.
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with(";skydns")).collect();
        let answer = lines.join("\n");
        let holds = |part: &str| match part.strip_prefix('!') {
            Some(not) => !answer.contains(not),
            None => answer.contains(part),
        };
        for part in expected.iter().filter(|part| !holds(part)) {
            wrong.push(format!("{what}: {part:?} does not hold of\n{answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
