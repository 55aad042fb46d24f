//! A host's own resolver: unbound in front, and glibc with nothing between.

use crate::third_party_clients::shop::Shop;
use crate::third_party_clients::snippet::snippet;
use crate::third_party_clients::{left_out, tool};
use skyhound_test_support::dig::Dig;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// How long the script of [`glibc_finds_them`] may take.
const SCRIPT_WITHIN: Duration = Duration::from_secs(60);

#[multi_thread_test]
async fn unbound_in_front_finds_them() {
    let Some(unbound) = tool("unbound") else { return };
    let shop = Shop::open().await;
    let addr = SocketAddr::new(shop.ip(), 5353);
    let dir = TempDir::new().expect("a directory");
    // What Debian's /etc/unbound/unbound.conf does: it includes further files.
    let own = format!(
        "server:\n interface: {}@{}\n directory: \"{}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
         do-daemonize: no\nremote-control:\n control-enable: no\ninclude: \"zone.conf\"\n",
        addr.ip(),
        addr.port(),
        dir.path().display(),
    );
    for (file, text) in [("unbound.conf", own), ("zone.conf", snippet("unbound.conf", shop.ip()))] {
        std::fs::write(dir.path().join(file), text).expect("it can be written");
    }
    let log = File::create(dir.path().join("log")).expect("a file for the log");
    let _process = Command::new(unbound)
        .args(["-d", "-p", "-c", "unbound.conf"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("unbound runs");
    let dig = Dig::new(addr);
    let find = async || {
        let read_log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        let srv = dig.query("web.services.skydns.local", "SRV").await.map_err(|e| format!("{e}\n{}", read_log()))?;
        let mut found = BTreeSet::new();
        for record in &srv.answer {
            let target = record.data.rsplit(' ').next().unwrap_or_default();
            let addresses = dig.query(target, "A").await.map_err(|e| e.to_string())?;
            found.extend(addresses.answer.iter().map(|record| record.data.clone()));
        }
        Ok(found)
    };
    shop.found_by("unbound", find).await;
}

/// A machine of its own, whose /etc/resolv.conf names the daemon: glibc asks port 53 and no other.
const MACHINE: &str = r#"
set -eu
ip link set lo up
echo nameserver 127.0.0.1 > "$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf
"$2" serve --in-memory --dns-listen 127.0.0.1:53 > "$1/ready" 2> "$1/log" &
trap 'kill $(jobs -p)' EXIT
log=$1/log
within() { for _ in $(seq 400); do if "$@"; then return; fi; sleep 0.05; done; echo "never: $*"; cat "$log"; exit 1; }
# Not `ahosts`, which asks for no address here (AI_ADDRCONFIG): the machine has none but loopback's.
found() { getent hosts web.services.skydns.local | awk '{ print $1 }' | sort | tr '\n' ' '; }
are() { [ "$(found)" = "$1" ]; }
within test -s "$1/ready"
for i in 2 3; do "$2" provide web --port 8080 --host "127.0.0.$i" 2> /dev/null & done
"$2" provide web --port 8080 --host 127.0.0.4 2> /dev/null & killed=$!
within are '127.0.0.2 127.0.0.3 127.0.0.4 '
kill -9 "$killed"
within are '127.0.0.2 127.0.0.3 '
echo found
"#;

#[multi_thread_test]
async fn glibc_finds_them() {
    // Namespaces of an unprivileged user: some hosts and most containers give none.
    let machine = ["-rmn", "--kill-child"];
    let mut probe = Command::new("unshare");
    let probe = probe.args(machine).args(["sh", "-c", "ip link set lo up && mount --bind /etc /etc"]).output().await;
    if !probe.as_ref().is_ok_and(|done| done.status.success()) {
        return left_out("glibc", "there are no namespaces to be had here");
    }
    let dir = TempDir::new().expect("a directory");
    let mut command = Command::new("unshare");
    command.args(machine).args(["bash", "-c", MACHINE, "bash"]).arg(dir.path()).arg(program());
    command.env("SKYHOUND_SNAPSHOT_FILE", "off").stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(SCRIPT_WITHIN, command.output()).await.expect("it ends").expect("it runs");
    assert!(done.status.success() && done.stdout.ends_with(b"found\n"), "{done:?}");
}
