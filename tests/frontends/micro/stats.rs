//! `/stats`: the original's JSON, the page and its requests, and the page in a real browser.

use crate::micro::ask::{deregister, node, register, send};
use crate::micro::nodes::{installed, tools};
use serde_json::{Value, json};
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};
use std::process::{Command, Stdio};

fn body(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

#[multi_thread_test]
async fn requests_are_counted_by_kind() {
    let site = Site::memory(&[]).await;
    for _ in 0..7 {
        site.get("/nothing").await;
    }
    site.dig().query("web.services.skydns.local", "SRV").await.expect("an answer");
    let answer = send(&site, "GET", "/stats", "application/json", "").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let stats = body(&answer.body);
    let sum = |of: &dyn Fn(&Value) -> u64| stats["counters"].as_array().expect("a list").iter().map(of).sum::<u64>();
    assert_eq!(sum(&|window| window["status_codes"]["40x"].as_u64().unwrap_or_default()), 7);
    assert!(sum(&|window| window["total_reqs"].as_u64().expect("a number")) >= 7);
    assert!(sum(&|window| window["dns"].as_u64().expect("a number")) >= 1);
    assert!(stats["started"].as_u64().is_some_and(|at| at > 1_400_000_000), "{stats}");
    assert!(stats["memory"].as_str().is_some_and(|memory| memory.ends_with("mb")), "{stats}");
    assert!(stats["threads"].as_u64().is_some_and(|threads| threads > 1), "{stats}");
    assert!(stats["gc_pause"].is_string(), "{stats}");
}

#[multi_thread_test]
async fn a_view_has_instances_and_changes() {
    let etcd = EtcdProcess::start().await;
    let site = Site::at(&etcd, &[]).await;
    let view = async |query: &str| body(&site.get(&format!("/stats/view{query}")).await.body);
    for service in ["alpha", "beta"] {
        register(&site, &node(service, "one", 80)).await;
    }
    let held = site.provide("service=gamma&host=10.1.2.3&port=7&version=1.2.3").await;
    let all = view("").await;
    let names: Vec<_> = all["services"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["alpha", "beta", "gamma"]);
    assert_eq!((&all["service_count"], &all["state"]["catalog"]), (&json!(3), &json!("current")));
    assert_eq!(view("?q=alpha").await["service_count"], 3, "for any filter");
    let one = |view: &Value, at: usize| view["services"][at]["instances"][0].clone();
    assert_eq!(
        (one(&all, 0)["lifetime"].as_str(), one(&all, 0)["frontend"].as_str()),
        (Some("until removed"), Some("micro"))
    );
    assert!(
        one(&all, 2)["lifetime"].as_str().is_some_and(|lifetime| lifetime.ends_with("renewed while the client lives")),
        "{all}"
    );
    for (query, names) in [
        ("?q=ALPH", json!(["alpha"])),
        ("?q=10.1.2", json!(["gamma"])),
        ("?q=1.2.3", json!(["gamma"])),
        ("?q=skyapi", json!(["gamma"])),
        ("?q=none", json!([])),
    ] {
        let found = view(query).await;
        let found: Vec<_> =
            found["services"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
        assert_eq!(Value::from(found), names, "{query}");
    }
    let after = all["last_change"].as_u64().expect("a number");
    assert_eq!(view(&format!("?after={after}")).await["changes"], json!([]));
    deregister(&site, &node("alpha", "one", 80)).await;
    let changes = view(&format!("?after={after}")).await["changes"].clone();
    assert_eq!(
        (changes.as_array().map(Vec::len), &changes[0]["kind"], &changes[0]["service"]),
        (Some(1), &json!("delete"), &json!("alpha"))
    );
    assert!(
        !view("?after=99999999").await["changes"].as_array().expect("a list").is_empty(),
        "another daemon's number"
    );
    assert_eq!(site.get("/stats/view?after=x").await.status, 400);
    etcd.ctl(&["put", "/skydns/local/skydns/services/bad/1", "no JSON"]);
    wait_until(SOON, async || match view("").await["quarantine"].clone() {
        quarantine if quarantine[0]["key"] == "/skydns/local/skydns/services/bad/1" => Ok(()),
        quarantine => Err(quarantine.to_string()),
    })
    .await;
    held.close().await;
}

#[multi_thread_test]
async fn a_long_view_is_truncated_and_reports_it() {
    let site = Site::memory(&[]).await;
    let nodes: Vec<_> = (0..60).map(|id| json!({"id": format!("n{id}"), "address": "10.0.0.1", "port": 80})).collect();
    register(&site, &json!({"name": "a-large-one", "nodes": nodes})).await;
    let many: Vec<_> = (0..203).map(|at| node(&format!("s{at}"), "one", 80)).collect();
    futures_util::future::join_all(many.iter().map(|one| register(&site, one))).await;
    let all = body(&site.get("/stats/view").await.body);
    assert_eq!(all["services"].as_array().map(Vec::len), Some(200));
    assert_eq!((&all["more_services"], &all["service_count"]), (&json!(4), &json!(204)));
    let large = &all["services"][0];
    assert_eq!((large["instances"].as_array().map(Vec::len), &large["count"]), (Some(50), &json!(60)), "{large}");
    let found = body(&site.get("/stats/view?q=s202").await.body);
    assert_eq!((found["services"].as_array().map(Vec::len), &found["more_services"]), (Some(1), &json!(0)));
}

#[multi_thread_test]
async fn the_page_is_whole_and_lets_nothing_in() {
    let site = Site::memory(&[]).await;
    for (path, kind) in [
        ("/stats", "text/html; charset=utf-8"),
        ("/stats/page.js", "text/javascript; charset=utf-8"),
        ("/stats/page.css", "text/css; charset=utf-8"),
    ] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        // No address of another host, except the name of SVG's namespace.
        let strange = answer.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!strange.contains("http://") && !strange.contains("https://"), "{path}");
    }
}

/// Debian's chromium, driven by playwright-core.
#[multi_thread_test]
async fn the_page_in_a_browser() {
    let dir = tools("micro-browser");
    let mut install = Command::new("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&dir).arg("playwright-core@1");
    let there = installed(&dir.join("node_modules/playwright-core"), &mut install);
    if there.is_none() || installed(std::path::Path::new("/usr/bin/chromium"), &mut Command::new("false")).is_none() {
        return;
    }
    let site = Site::memory(&[]).await;
    let greeter = json!({"name": "go.micro.srv.greeter", "version": "1.4.0", "nodes": [
        {"id": "greeter-1", "address": "10.0.0.5", "port": 9091},
        {"id": "greeter-2", "address": "10.0.0.6", "port": 9091}
    ]});
    register(&site, &greeter).await;
    register(&site, &json!({"name": "web", "nodes": [{"id": "web-1", "address": "10.0.0.7", "port": 80}]})).await;
    let held = site.provide("service=api&host=10.0.0.9&port=8080").await;
    for _ in 0..20 {
        site.dig().query("api.services.skydns.local", "SRV").await.expect("an answer");
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frontends/micro/page.mjs");
    let mut browser = tokio::process::Command::new("node");
    browser.arg(script).arg(format!("http://{}", site.http)).arg(site.dns.to_string()).current_dir(&dir);
    browser.env("TOOLS", dir.join("node_modules")).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(std::time::Duration::from_secs(120), browser.output()).await;
    let done = done.expect("the browser ends in time").expect("there is a node");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
    held.close().await;
}
