//! A restart while etcd is unavailable.

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::{SOON, wait_until};

#[multi_thread_test]
async fn the_last_snapshot_is_answered_after_a_restart_without_etcd() {
    let mut etcd = EtcdProcess::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known");
    let key = "/skydns/local/skydns/services/web/a";
    etcd.ctl(&["put", key, r#"{"host":"10.0.0.1","port":80}"#]);
    let mut daemon = Daemon::start(&["--etcd-api", &etcd.endpoint(), "--snapshot-file", file.to_str().unwrap()]).await;
    assert_eq!(daemon.dig().query("web.services.skydns.local", "A").await.unwrap().data("A"), ["10.0.0.1"]);
    daemon.stop().await;
    assert!(file.exists(), "a planned stop leaves a copy");
    etcd.stop().await;

    daemon.restart().await;
    let dig = daemon.dig();
    let answer = wait_until(SOON, async || {
        let answer = dig.query("web.services.skydns.local", "A").await.map_err(|e| e.to_string())?;
        if answer.status == "NOERROR" { Ok(answer) } else { Err(answer.status) }
    })
    .await;
    assert_eq!((answer.data("A"), answer.answer[0].ttl), (vec!["10.0.0.1"], 10));
    assert_eq!(daemon.readyz().await["catalog"], "stale");

    etcd.restart().await;
    etcd.ctl(&["put", key, r#"{"host":"10.0.0.2","port":80}"#]);
    wait_until(SOON, async || {
        let answer = dig.query("web.services.skydns.local", "A").await.map_err(|e| e.to_string())?;
        let now = (answer.data("A"), answer.answer[0].ttl);
        if now == (vec!["10.0.0.2"], 300) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}
