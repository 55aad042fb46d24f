//! A real unbound in front of a daemon, as the resolver that asks it.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::address::own_address;
use super::dig::Dig;
use super::wait::{SOON, wait_until};

/// The path on Debian, which is on root's search path only.
const PROGRAM: &str = "/usr/sbin/unbound";

/// A running unbound. Killed when dropped; if that is because a test failed, its log is shown.
pub struct Unbound {
    /// The address on which it answers.
    pub addr: SocketAddr,
    process: Child,
    dir: TempDir,
}

impl Unbound {
    /// Asks `server` for the zones, and nobody for anything else: its own address reaches loopback only. `settings`
    /// are further lines of its clause `server:`.
    pub async fn start(server: SocketAddr, zones: &[&str], settings: &[&str]) -> Self {
        let (dir, ip) = (tempfile::tempdir().unwrap(), own_address().into());
        let file = dir.path().join("unbound.conf");
        std::fs::write(&file, config(dir.path(), ip, server, zones, settings)).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let process = Command::new(if Path::new(PROGRAM).exists() { PROGRAM } else { "unbound" })
            .args(["-d", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("unbound runs (tests/run installs it)");
        let mut unbound = Self { addr: SocketAddr::new(ip, 5300), process, dir };
        wait_until(SOON, async || {
            if let Some(status) = unbound.process.try_wait().unwrap() {
                panic!("unbound ended with {status}");
            }
            // About itself: what is asked of a zone is for the tests to ask first.
            unbound.dig().class("CH").query("version.bind", "TXT").await.map_err(|e| e.to_string())
        })
        .await;
        unbound
    }

    /// A client of it. It has to wait as long as unbound does for an answer.
    pub fn dig(&self) -> Dig {
        Dig::new(self.addr).option("+time=10")
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn config(dir: &Path, ip: IpAddr, server: SocketAddr, zones: &[&str], settings: &[&str]) -> String {
    let mut config = format!(
        r#"server:
    directory: "{dir}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    log-servfail: yes
    do-daemonize: no
    num-threads: 1
    interface: {ip}@5300
    outgoing-interface: {ip}
    do-not-query-localhost: no
    {settings}
remote-control:
    control-enable: no
"#,
        dir = dir.display(),
        settings = settings.join("\n    ")
    );
    for zone in zones {
        // Its own idea of what stands in `test.` and in private networks (RFC 6761, RFC 6303) would count.
        let own = zone.rsplit_once('.').filter(|(_, top)| *top == "test").map_or(*zone, |(_, top)| top);
        writeln!(config, "server:\n    local-zone: \"{own}.\" nodefault").unwrap();
        let at = format!("{}@{}", server.ip(), server.port());
        writeln!(config, "stub-zone:\n    name: \"{zone}.\"\n    stub-addr: {at}\n    stub-first: no").unwrap();
    }
    config
}

impl Drop for Unbound {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- unbound on {} logged:\n{}\n---", self.addr, self.log());
        }
    }
}
