//! The settings of a SkyDNS: its environment, and `/skydns/config`.

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::dnskey::KeyFiles;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;

#[multi_thread_test]
async fn the_settings_of_a_skydns_apply_below_flags() {
    let etcd = EtcdProcess::start().await;
    etcd.ctl(&["put", "/skydns/config", r#"{"domain":"conf.test","hostmaster":"ops@conf.test","ttl":77}"#]);
    etcd.ctl(&["put", "/skydns/test/conf/a", r#"{"host":"10.0.0.1"}"#]);
    let daemon = Daemon::start(&["--etcd-api", &etcd.endpoint()]).await;
    let answer = daemon.dig().query("a.conf.test", "A").await.unwrap();
    assert_eq!((answer.data("A"), answer.answer[0].ttl), (vec!["10.0.0.1"], 77));
    let soa = daemon.dig().query("conf.test", "SOA").await.unwrap();
    assert!(soa.answer[0].data.contains(" ops.conf.test. "), "{soa:?}");
    let daemon = Daemon::start(&["--etcd-api", &etcd.endpoint(), "--dns-root", "flag.test"]).await;
    assert_eq!(daemon.dig().query("a.conf.test", "A").await.unwrap().status, "REFUSED");
    assert_eq!(daemon.dig().query("flag.test", "SOA").await.unwrap().status, "NOERROR");
}

/// A key whose files are there signs; one that is not there leaves the zone unsigned, and the log says so; one that is
/// there and is none keeps the daemon from starting.
#[multi_thread_test]
async fn the_key_of_a_skydns_signs_where_it_is() {
    let (etcd, key) = (EtcdProcess::start().await, KeyFiles::make("conf.test", "ed25519").await);
    let endpoint = etcd.endpoint();
    let set_key = |path: &str| {
        etcd.ctl(&["put", "/skydns/config", &format!(r#"{{"domain":"conf.test.","dnssec":"{path}"}}"#)]);
    };
    let signs = async |daemon: &Daemon| {
        let answer = daemon.dig().option("+dnssec").query("conf.test", "SOA").await.unwrap();
        answer.answer.iter().any(|record| record.rtype == "RRSIG")
    };
    let stem = key.stem.display().to_string();
    set_key(&stem);
    assert!(signs(&Daemon::start(&["--etcd-api", &endpoint]).await).await);
    // Of another zone: the flag was meant for this daemon.
    let daemon = Daemon::start(&["--etcd-api", &endpoint, "--dns-root", "flag.test"]).await;
    assert!(daemon.log().contains("which is no --dns-root"), "{}", daemon.log());
    set_key("/nowhere/Kconf.test.+005+38250");
    let daemon = Daemon::start(&["--etcd-api", &endpoint]).await;
    assert!(!signs(&daemon).await && daemon.log().contains("ignoring the DNSSEC key of a SkyDNS"), "{}", daemon.log());
    let daemon = Daemon::start(&["--etcd-api", &endpoint, "--dns-root", "conf.test", "--dnssec-key", &stem]).await;
    assert!(signs(&daemon).await && !daemon.log().contains("ignoring the DNSSEC key"), "{}", daemon.log());
    std::fs::write(format!("{stem}.private"), "Algorithm: 5 (RSASHA1)\n").unwrap();
    set_key(&stem);
    let output = tokio::process::Command::new(skyhound_test_support::program())
        .args(["serve", "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0", "--etcd-api", &endpoint])
        .kill_on_drop(true)
        .output();
    let ended =
        tokio::time::timeout(skyhound_test_support::wait::SOON, output).await.expect("it does not start").unwrap();
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && error.contains("invalid settings in /skydns/config: --dnssec-key: "), "{error}");
}
