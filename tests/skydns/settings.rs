//! The settings of a SkyDNS: its environment, and `/skydns/config`.

use crate::support::daemon::Daemon;
use crate::support::etcd::EtcdProcess;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_skydns_keeps_in_etcd_counts_where_nothing_was_said_here() {
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
