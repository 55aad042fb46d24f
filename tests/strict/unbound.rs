//! Unbound in front, as strict as it can be set: names in random case, one label more at a time, no way around.

use crate::site::{MANY, ZONES, site};
use crate::support::dig::Dig;
use crate::support::wait::{SOON, wait_until};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Where Debian has it, which is on root's search path only.
const PROGRAM: &str = "/usr/sbin/unbound";

/// A running Unbound. It ends when this is dropped.
struct Unbound {
    addr: SocketAddr,
    dir: TempDir,
    _process: Child,
}

impl Unbound {
    /// Asks `server` for the zones, and nobody for anything else: its own address reaches loopback only.
    async fn start(server: SocketAddr) -> Self {
        // An address of its own, whose ports the system gives nobody by chance.
        let [.., high, low] = std::process::id().to_be_bytes();
        let (ip, port) = (Ipv4Addr::new(127, 253, high, low), 5300);
        let dir = TempDir::new().unwrap();
        let mut settings = format!(
            "server:
  directory: \"{dir}\"
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  use-syslog: no
  log-servfail: yes
  do-daemonize: no
  num-threads: 1
  interface: {ip}@{port}
  outgoing-interface: {ip}
  do-not-query-localhost: no
  use-caps-for-id: yes
  qname-minimisation: yes
  qname-minimisation-strict: yes
  harden-below-nxdomain: yes
  harden-large-queries: yes
  harden-short-bufsize: yes
  edns-buffer-size: 1232
remote-control:
  control-enable: no
",
            dir = dir.path().display()
        );
        for zone in ZONES {
            // Its own idea of what stands in `test.` and in private networks (RFC 6761, RFC 6303) would count.
            let own = zone.strip_prefix("skydns.").unwrap_or(zone);
            writeln!(settings, "server:\n  local-zone: \"{own}.\" nodefault\n  domain-insecure: \"{zone}.\"").unwrap();
            let at = format!("{}@{}", server.ip(), server.port());
            writeln!(settings, "stub-zone:\n  name: \"{zone}.\"\n  stub-addr: {at}\n  stub-first: no").unwrap();
        }
        let (file, log) = (dir.path().join("unbound.conf"), dir.path().join("log"));
        std::fs::write(&file, settings).unwrap();
        let process = Command::new(PROGRAM)
            .args(["-d", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("unbound is installed (tests/run installs it)");
        let unbound = Self { addr: SocketAddr::from((ip, port)), dir, _process: process };
        wait_until(SOON, async || match unbound.dig().query("skydns.test", "SOA").await {
            Ok(answer) if answer.status == "NOERROR" => Ok(()),
            Ok(answer) => Err(format!("{}: {}", answer.status, unbound.log())),
            Err(error) => Err(format!("{error}: {}", unbound.log())),
        })
        .await;
        unbound
    }

    fn dig(&self) -> Dig {
        Dig::new(self.addr).option("+time=10")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// Name, type, status, how many records of that type the answer has.
#[rustfmt::skip]
const QUESTIONS: &[(&str, &str, &str, usize)] = &[
    ("web.skydns.test", "A", "NOERROR", 1),
    ("web.skydns.test", "AAAA", "NOERROR", 1),
    ("web.skydns.test", "SRV", "NOERROR", 2),
    ("a.web.skydns.test", "SRV", "NOERROR", 1),
    ("text.skydns.test", "TXT", "NOERROR", 1),
    ("post.skydns.test", "MX", "NOERROR", 1),
    ("skydns.test", "SOA", "NOERROR", 1),
    ("skydns.test", "NS", "NOERROR", 1),
    ("skydns.test", "A", "NOERROR", 1),
    ("1.0.0.10.in-addr.arpa", "PTR", "NOERROR", 1),
    // Aliases, one and three long.
    ("alias.skydns.test", "CNAME", "NOERROR", 1),
    ("alias.skydns.test", "A", "NOERROR", 1),
    ("one.chain.skydns.test", "AAAA", "NOERROR", 1),
    // There, but not that.
    ("web.skydns.test", "TXT", "NOERROR", 0),
    ("web.skydns.test", "HTTPS", "NOERROR", 0),
    ("web.skydns.test", "DS", "NOERROR", 0),
    ("0.0.10.in-addr.arpa", "PTR", "NOERROR", 0),
    // Names that are there for what is below them.
    ("deep.skydns.test", "TXT", "NOERROR", 0),
    ("x.deep.skydns.test", "MX", "NOERROR", 0),
    ("_tcp.skydns.test", "A", "NOERROR", 0),
    ("z.y.x.deep.skydns.test", "A", "NOERROR", 1),
    // Not there, near and deep; and what is beside it is not denied with it.
    ("nosuch.skydns.test", "A", "NXDOMAIN", 0),
    ("a.b.c.d.nosuch.skydns.test", "SRV", "NXDOMAIN", 0),
    ("nosuch.web.skydns.test", "A", "NXDOMAIN", 0),
    ("9.9.9.10.in-addr.arpa", "PTR", "NXDOMAIN", 0),
    ("_nosuch._tcp.skydns.test", "SRV", "NXDOMAIN", 0),
    // RFC 2782's way, which is in no store.
    ("_web._tcp.skydns.test", "SRV", "NOERROR", 2),
    // More than UDP holds: over UDP, and then over TCP.
    ("many.skydns.test", "SRV", "NOERROR", MANY),
    ("many.skydns.test", "A", "NOERROR", MANY),
    // The wildcard of questions, and a name in other letters.
    ("*.web.skydns.test", "A", "NOERROR", 1),
    ("WEB.SkyDNS.test", "SRV", "NOERROR", 2),
];

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_had_through_a_strict_resolver() {
    let (_etcd, daemon) = site().await;
    let unbound = Unbound::start(daemon.dns).await;
    let mut wrong = Vec::new();
    // A second time from the other end: what a resolver learnt from one answer must not deny another.
    for (name, rtype, status, records) in QUESTIONS.iter().chain(QUESTIONS.iter().rev()) {
        let answer = unbound.dig().query(name, rtype).await.unwrap();
        let found = answer.answer.iter().filter(|record| record.rtype == *rtype).count();
        if (answer.status.as_str(), found) != (*status, *records) {
            wrong.push(format!("{name} {rtype}: {} with {found} records; {status} with {records}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), unbound.log());
    assert!(daemon.metric("skyhound_dns_truncated_total").await >= 1.0, "the large sets came over TCP");
    let log = unbound.log();
    assert!(!log.contains("SERVFAIL"), "{log}");
}
