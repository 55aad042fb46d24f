//! CoreDNS with its *etcd* plugin: the other reader of our records.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::dig::Dig;
use super::wait::{SOON, wait_until};

/// Built by tests/run from tests/tools/coredns, where there is Go.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/coredns");

/// Others on this machine look for free ports too, and one may take ours before CoreDNS binds it.
const TRIES: usize = 5;

/// A CoreDNS that reads `/skydns` of one etcd. It ends when this is dropped.
#[derive(Debug)]
pub struct CoreDns {
    addr: SocketAddr,
    process: Child,
    dir: TempDir,
}

impl CoreDns {
    /// Starts one for the zones and returns when it answers from `etcd`, an endpoint like
    /// `http://127.0.0.1:2379`. With `None` the comparison is left out, and the output says so.
    ///
    /// Panics when it does not come up, and when it was not built although this is CI, which has Go.
    pub async fn start(etcd: &str, zones: &[&str]) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            leave_out();
            return None;
        }
        for _ in 0..TRIES {
            let mut coredns = Self::spawn(etcd, zones, free_port()).expect("starting CoreDNS");
            if coredns.answers(zones[0]).await {
                return Some(coredns);
            }
        }
        panic!("CoreDNS did not keep a port in {TRIES} tries");
    }

    /// The address on which it answers, over UDP and TCP.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A client that asks it.
    pub fn dig(&self) -> Dig {
        Dig::new(self.addr)
    }

    fn spawn(etcd: &str, zones: &[&str], port: u16) -> std::io::Result<Self> {
        let dir = TempDir::new()?;
        let (corefile, log) = (dir.path().join("Corefile"), dir.path().join("log"));
        let served: Vec<_> = zones.iter().map(|zone| format!("{zone}:{port}")).collect();
        let (served, zones) = (served.join(" "), zones.join(" "));
        let text = format!(
            "{served} {{\n bind 127.0.0.1\n errors\n etcd {zones} {{\n  path /skydns\n  endpoint {etcd}\n }}\n}}\n"
        );
        fs::write(&corefile, text)?;
        let out = File::create(log)?;
        let process = Command::new(PROGRAM)
            .arg("-conf")
            .arg(corefile)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { addr: (Ipv4Addr::LOCALHOST, port).into(), process, dir })
    }

    /// Waits until it knows the zone; `false` when it lost its port to somebody else.
    async fn answers(&mut self, zone: &str) -> bool {
        let (dig, log) = (self.dig(), self.dir.path().join("log"));
        let process = &mut self.process;
        wait_until(SOON, async || {
            let exited = process.try_wait().expect("asking for the process");
            let log = fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = exited {
                assert!(log.contains("address already in use"), "CoreDNS ended with {status}:\n{log}");
                return Ok(false);
            }
            // The SOA comes from the plugin alone; this question goes through to etcd.
            match dig.query(zone, "A").await {
                Ok(answer) if ["NOERROR", "NXDOMAIN"].contains(&answer.status.as_str()) => Ok(true),
                Ok(answer) => Err(format!("{answer:?}\n{log}")),
                Err(none) => Err(format!("{none}\n{log}")),
            }
        })
        .await
    }
}

/// A port that is free for both protocols, at this moment.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = tcp.local_addr().expect("a bound socket has an address");
        if std::net::UdpSocket::bind(addr).is_ok() {
            return addr.port();
        }
    }
}

/// Past the capture of `cargo test`, which shows only what a failed test printed.
fn leave_out() {
    assert!(std::env::var_os("CI").is_none(), "{PROGRAM} is not there: CI has Go, and tests/run builds it");
    let message = "LEFT OUT: the comparison with CoreDNS: target/tools/coredns is not there. \
                   With Go installed, tests/run builds it.";
    writeln!(std::io::stderr(), "{message}").expect("writing to stderr");
}
