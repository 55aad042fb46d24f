//! The entries that stand in etcd: below the zone, beside which the marker of removals stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::wait::{wait_until, wait_until_due};

/// Port of each instance → its value. Panics where two have the same port: the tests give each its own.
pub fn stored(etcd: &EtcdProcess) -> BTreeMap<u16, serde_json::Value> {
    stored_as(None, etcd)
}

/// The same as a user of etcd's (`name:password`).
pub fn stored_as(user: Option<&str>, etcd: &EtcdProcess) -> BTreeMap<u16, serde_json::Value> {
    let printed = etcd.ctl_as(user, &["get", "--prefix", "/skydns/local/", "--print-value-only"]);
    let mut all = BTreeMap::new();
    for line in printed.lines().filter(|line| !line.is_empty()) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let port = value["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        assert!(all.insert(port, value).is_none(), "{port} twice in {printed}");
    }
    all
}

/// The ports alone.
pub fn ports(etcd: &EtcdProcess) -> Vec<u16> {
    stored(etcd).into_keys().collect()
}

fn are_ports(etcd: &EtcdProcess, wanted: &[u16]) -> Result<(), String> {
    let ports = ports(etcd);
    if ports == wanted { Ok(()) } else { Err(format!("{ports:?} instead of {wanted:?}")) }
}

/// Waits until exactly these ports are stored.
pub async fn become_ports(etcd: &EtcdProcess, wanted: &[u16], deadline: Duration) {
    wait_until(deadline, async || are_ports(etcd, wanted)).await;
}

/// Waits until exactly these ports are stored, which they have to be when it is due.
#[track_caller]
pub fn become_ports_in_time(etcd: &EtcdProcess, wanted: &[u16], due: Instant) -> impl Future<Output = ()> {
    wait_until_due(due, async || are_ports(etcd, wanted))
}

/// The leases that there are.
pub fn leases(etcd: &EtcdProcess) -> Vec<String> {
    // The first line is their number.
    etcd.ctl(&["lease", "list"]).lines().skip(1).map(str::to_owned).collect()
}
