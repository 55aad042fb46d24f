//! A real unbound that knows one zone, where it is, and what its key is.

use crate::support::dig::Dig;
use crate::support::wait::{SOON, wait_until};
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Others on this machine look for free ports too, and one may take ours first.
const TRIES: usize = 5;

/// Killed when dropped.
pub struct Unbound {
    pub addr: SocketAddr,
    process: Child,
    dir: TempDir,
}

impl Unbound {
    /// Resolves `skydns.test` at a server, trusting a key by its DS record.
    pub async fn start(server: SocketAddr, ds: &str) -> Self {
        for _ in 0..TRIES {
            let mut unbound = Self::spawn(server, ds);
            if unbound.answers().await {
                return unbound;
            }
        }
        panic!("unbound did not keep a port in {TRIES} tries");
    }

    fn spawn(server: SocketAddr, ds: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = free();
        let config = format!(
            r#"server:
    interface: {ip}@{port}
    directory: "{dir}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    num-threads: 1
    module-config: "validator iterator"
    do-not-query-localhost: no
    local-zone: "test." nodefault
    trust-anchor: "{ds}"
    val-log-level: 2
remote-control:
    control-enable: no
stub-zone:
    name: "skydns.test."
    stub-addr: {server_ip}@{server_port}
"#,
            ip = addr.ip(),
            port = addr.port(),
            dir = dir.path().display(),
            server_ip = server.ip(),
            server_port = server.port(),
        );
        let path = dir.path().join("unbound.conf");
        std::fs::write(&path, config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        // Debian has it where only root looks for programs.
        let program = if std::path::Path::new("/usr/sbin/unbound").exists() { "/usr/sbin/unbound" } else { "unbound" };
        let process = Command::new(program)
            .args(["-d", "-p", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("unbound runs (tests/run installs it)");
        Self { addr, process, dir }
    }

    /// Waits until it answers; `false` when it ended instead.
    async fn answers(&mut self) -> bool {
        wait_until(SOON, async || {
            if self.process.try_wait().unwrap().is_some() {
                return Ok(false);
            }
            // About itself: what is asked of the zone is for the tests to ask first.
            let said = Dig::new(self.addr).class("CH").query("version.bind", "TXT").await;
            said.map(|_| true).map_err(|e| e.to_string())
        })
        .await
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("unbound said:\n{log}");
        }
    }
}

/// A port that is free over both transports, for now.
fn free() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = tcp.local_addr().unwrap();
        if UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
}
