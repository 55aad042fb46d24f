//! The keys and values in etcd, seen with etcd's own client; and those of other writers.

use serde_json::{Value, json};

use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

const KEY: &str = "/skydns/local/skydns/services/foo/10ec6ea983c7a572acb0a023b9d645f6765c5a68";
const FOO: &str = "foo.services.skydns.local";

fn etcd(site: &Site) -> &EtcdProcess {
    site.etcd.as_ref().expect("the store is etcd")
}

/// The output of `etcdctl get --prefix`: key and value, line by line.
fn stored(etcd: &EtcdProcess, prefix: &str) -> Vec<(String, Value)> {
    let printed = etcd.ctl(&["get", "--prefix", prefix]);
    let lines: Vec<_> = printed.lines().filter(|line| !line.is_empty()).collect();
    let pairs = lines.chunks(2).map(|pair| {
        let value = serde_json::from_str(pair[1]).unwrap_or_else(|e| panic!("{}: {e}", pair[1]));
        (pair[0].to_owned(), value)
    });
    pairs.collect()
}

#[multi_thread_test]
async fn key_and_value_are_the_originals() {
    let site = Site::etcd(&[]).await;
    let held = site.provide("service=foo&host=127.0.0.1&port=9999&priority=1").await;
    let all = stored(etcd(&site), "/skydns");
    assert_eq!(all.len(), 1, "{all:?}");
    let (key, value) = &all[0];
    assert_eq!(key, KEY);
    // The original's value; the README's default weight; what readers that ignore leases must not cache for
    // longer; and ours under one name that nobody else looks at.
    for (field, wanted) in [
        ("host", json!("127.0.0.1")),
        ("port", json!(9999)),
        ("priority", json!(1)),
        ("weight", json!(100)),
        ("ttl", json!(30)),
    ] {
        assert_eq!(value[field], wanted, "{field} of {value}");
    }
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(6), "{value}");
    assert!(value["skyhound"].is_object(), "{value}");
    assert!(etcd(&site).ctl(&["get", "--write-out=json", KEY]).contains("\"lease\""), "it hangs on a lease");

    held.text(r#"{"op":"update","weight":0,"priority":65535}"#);
    wait_until(SOON, async || {
        let value = stored(etcd(&site), KEY).remove(0).1;
        // 0 and "left out" are the same to every reader, and the original leaves it out.
        let so = value["weight"].is_null() && value["priority"] == json!(65535) && value["port"] == json!(9999);
        if so { Ok(()) } else { Err(value) }
    })
    .await;
    held.close().await;
    assert_eq!(stored(etcd(&site), "/skydns/local/"), [], "the answer to a close confirms that the entry is gone");
}

#[multi_thread_test]
async fn root_prefix_and_category_are_settings() {
    let site =
        Site::etcd(&["--dns-root", "turtles.com", "--key-prefix", "/deep/sky", "--default-category", "a,b"]).await;
    let _foo = site.provide("service=foo&host=127.0.0.1&port=9999").await;
    let all = stored(etcd(&site), "/");
    assert!(all[0].0.starts_with("/deep/sky/com/turtles/b/a/foo/"), "{all:?}");
    let answer = site.dig().query("foo.a.b.turtles.com", "SRV").await.expect("an answer");
    assert_eq!(answer.ports(), [9999]);
    let other = site.dig().query(FOO, "SRV").await.expect("an answer");
    assert_eq!(other.status, "REFUSED", "not our zone");
}

#[multi_thread_test]
async fn values_of_other_writers_are_read_and_invalid_ones_quarantined() {
    let site = Site::etcd(&[]).await;
    let held = site.provide("service=foo&host=10.0.0.1&port=1").await;
    let below = "/skydns/local/skydns/services/foo";
    let etcd = etcd(&site);
    etcd.ctl(&["put", &format!("{below}/hand"), r#"{"host":"10.0.0.2","port":2,"colour":"blue"}"#]);
    // Registrator's keys hold colons.
    etcd.ctl(&["put", &format!("{below}/host:box:80"), r#"{"host":"10.0.0.3","port":3}"#]);
    let broken = [
        ("half", r#"{"host":"10.0.0.9","po"#),
        ("empty", ""),
        ("text", "this is not JSON"),
        ("list", r#"["10.0.0.9"]"#),
        ("port", r#"{"host":"10.0.0.9","port":"80"}"#),
        ("range", r#"{"host":"10.0.0.9","port":65536}"#),
        ("name", r#"{"host":"a..b","port":9}"#),
        (&"x".repeat(64), r#"{"host":"10.0.0.9","port":9}"#),
    ];
    for (key, value) in broken {
        etcd.ctl(&["put", "--", &format!("{below}/{key}"), value]);
    }
    etcd.ctl(&["put", "/skydns/local/skydns/services//foo/x", r#"{"host":"10.0.0.9","port":9}"#]);
    let last = format!("{below}/last");
    etcd.ctl(&["put", &last, r#"{"host":"10.0.0.4","port":4}"#]);
    site.dig().comes_to_have(FOO, &[1, 2, 3, 4]).await;
    let ready = site.readyz().await;
    assert_eq!((&ready["quarantined"], &ready["ready"]), (&json!(broken.len() + 1), &json!(true)), "{ready}");
    assert!((site.metric("skyhound_catalog_quarantined_values").await - 9.0).abs() < 0.5);

    // Mended, it is an instance; broken, it is none any more; removed, it is forgotten.
    etcd.ctl(&["put", &format!("{below}/half"), r#"{"host":"10.0.0.5","port":5}"#]);
    etcd.ctl(&["put", &last, "{"]);
    etcd.ctl(&["del", &format!("{below}/text")]);
    wait_until(SOON, async || {
        let answer = site.dig().query(FOO, "SRV").await.map_err(|e| e.to_string())?;
        let quarantined = site.readyz().await["quarantined"].clone();
        let so = answer.ports() == [1, 2, 3, 5] && quarantined == json!(8);
        if so { Ok(()) } else { Err(format!("{quarantined} {answer:?}")) }
    })
    .await;
    held.close().await;
    etcd.ctl(&["del", "--prefix", "/skydns"]);
    site.dig().comes_to_deny(FOO).await;
}
