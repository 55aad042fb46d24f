//! A daemon with one of everything.

use skyhound_model::Key;
use skyhound_store::etcd::Etcd;
use skyhound_store::{Op, Store, Write};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;

/// The zones of the daemon.
pub const ZONES: [&str; 2] = ["skydns.test", "10.in-addr.arpa"];
/// The number of instances of the large service: more than UDP holds.
pub const MANY: usize = 150;

/// Keys below `/skydns/`. `ADDR` is the daemon's own address.
const ENTRIES: &[(&str, &str)] = &[
    ("test/skydns/web/a", r#"{"host":"10.0.0.1","port":80}"#),
    ("test/skydns/web/b", r#"{"host":"2001:db8::1","port":81,"priority":20}"#),
    ("test/skydns/text", r#"{"text":"v=1"}"#),
    ("test/skydns/post/a", r#"{"host":"10.0.0.9","mail":true,"priority":5}"#),
    ("test/skydns/alias", r#"{"host":"web.skydns.test"}"#),
    ("test/skydns/chain/one", r#"{"host":"two.chain.skydns.test"}"#),
    ("test/skydns/chain/two", r#"{"host":"alias.skydns.test"}"#),
    ("test/skydns/deep/x/y/z", r#"{"host":"10.0.0.7","port":7}"#),
    ("test/skydns/dns/ns/ns1", r#"{"host":"ADDR"}"#),
    ("test/skydns/dns/apex/a", r#"{"host":"10.0.0.5"}"#),
    // What may be zones of their own.
    ("test/skydns/sub/x", r#"{"host":"10.0.0.3","port":9}"#),
    ("test/skydns/sub/dns/ns/ns1", r#"{"host":"ADDR"}"#),
    ("test/skydns/bare/x", r#"{"host":"10.0.0.4","port":9}"#),
    ("test/skydns/bare/dns/ns/ns1", r#"{"host":"ADDR"}"#),
    ("arpa/in-addr/10/0/0/1", r#"{"host":"a.web.skydns.test"}"#),
    ("arpa/in-addr/10/dns/ns/ns1", r#"{"host":"ADDR"}"#),
];

/// The daemon with further arguments, over an etcd that holds all of it.
pub async fn site(args: &[&str]) -> (EtcdProcess, Daemon) {
    let etcd = EtcdProcess::start().await;
    let endpoint = etcd.endpoint();
    let own = ["--etcd-api", &endpoint, "--dns-root", ZONES[0], "--dns-root", ZONES[1]];
    let daemon = Daemon::start(&[&own, args].concat()).await;
    let own = daemon.dns.ip().to_string();
    let mut writes: Vec<_> = ENTRIES.iter().map(|(key, value)| put(key, value.replace("ADDR", &own))).collect();
    for at in 0..MANY {
        let value = format!(r#"{{"host":"10.1.0.{at}","port":{}}}"#, 1000 + at);
        writes.push(put(&format!("test/skydns/many/n{at}"), value));
    }
    let store = Etcd::connect(etcd.settings()).await.unwrap();
    for group in writes.chunks(100) {
        store.commit(group.to_vec()).await.unwrap();
    }
    skyhound_test_support::wait::wait_until(skyhound_test_support::wait::SOON, async || {
        let last = format!("n{}.many.skydns.test", MANY - 1);
        let answer = daemon.dig().query(&last, "A").await.map_err(|error| error.to_string())?;
        if answer.answer.is_empty() { Err(answer.status) } else { Ok(()) }
    })
    .await;
    (etcd, daemon)
}

fn put(key: &str, value: String) -> Write {
    let op = Op::Put { key: Key::from(format!("/skydns/{key}")), value: value.into(), lease: None };
    Write { guards: Vec::new(), ops: vec![op] }
}
