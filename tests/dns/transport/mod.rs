//! TLS and what goes through it, with the real binary and clients that others wrote: `kdig`, `dig`, `curl`.
//!
//! [`clients`]: DNS over each transport. [`files`]: certificates, good, renewed and wrong. [`http`]: `/dns-query`
//! and `/provide` within TLS.

mod clients;
mod files;
mod http;

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::pki::{Authority, Pair};
use skyhound_test_support::wait::SOON;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use tokio::process::Command;

const WEB: &str = "web.services.skydns.local";
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A daemon that speaks TLS on every transport, and whose HTTP is as `enable_tls` says.
struct Site {
    daemon: Daemon,
    authority: Authority,
    pair: Pair,
    dir: TempDir,
}

impl Site {
    /// `more` are further arguments; `{dir}` in them is a directory with the authority's `ca.pem`.
    async fn start(more: &[&str]) -> Self {
        let dir = TempDir::new().expect("a directory");
        let authority = Authority::new(dir.path(), "ca");
        let pair = authority.sign("daemon", LOCALHOST);
        let (cert, key) = (pair.cert.display().to_string(), pair.key.display().to_string());
        let more: Vec<_> = more.iter().map(|arg| arg.replace("{dir}", &dir.path().display().to_string())).collect();
        let mut args = vec!["--tls-cert-file", &cert, "--tls-key-file", &key];
        args.extend(["--dns-tls-listen", "127.0.0.1:0", "--dns-https-listen", "127.0.0.1:0"]);
        args.extend(more.iter().map(String::as_str));
        let any = SocketAddr::new(LOCALHOST, 0);
        let daemon = Daemon::start_on(any, any, &args).await;
        Self { daemon, authority, pair, dir }
    }

    fn ca(&self) -> String {
        self.authority.cert.display().to_string()
    }

    fn tls(&self) -> SocketAddr {
        self.daemon.addr("dns_tls")
    }

    fn https(&self) -> SocketAddr {
        self.daemon.addr("dns_https")
    }
}

/// Runs a program; returns whether it succeeded, and both of its outputs.
async fn run(program: &str, args: &[&str]) -> (bool, String) {
    let running = Command::new(program).args(args).kill_on_drop(true).output();
    let ended = tokio::time::timeout(SOON, running).await.unwrap_or_else(|_| panic!("{program} {args:?} does not end"));
    let output = ended.unwrap_or_else(|error| panic!("{program} {args:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Asks with one of the two; the server's certificate is checked where `ca` is given.
async fn ask(program: &str, addr: SocketAddr, args: &[&str], ca: Option<&str>) -> (bool, String) {
    let (server, port) = (format!("@{}", addr.ip()), addr.port().to_string());
    let tls = ca.map(|ca| [format!("+tls-ca={ca}"), format!("+tls-hostname={}", addr.ip())]);
    let tls: Vec<_> = tls.iter().flatten().map(String::as_str).collect();
    let limits: &[&str] = if program == "dig" { &["+tries=1", "+time=5"] } else { &["+retry=0", "+time=5"] };
    run(program, &[&[&server, "-p", &port], limits, args, &tls].concat()).await
}
