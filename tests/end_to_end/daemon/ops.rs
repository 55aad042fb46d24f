//! The operation of the daemon: its settings, its output at the start, its health and readiness.

use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::dig::Dig;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use skyhound_test_support::site::Site;
use skyhound_test_support::verb;
use skyhound_test_support::wait::{SOON, wait_until};

/// Runs it to its end, which has to be soon.
async fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = verb::skyhound(args);
    command.envs(env.iter().copied());
    verb::run(command).await
}

/// Exit status and what went to stderr.
fn ended(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[multi_thread_test]
async fn one_log_line_names_the_listeners() {
    let mut child = Command::new(program())
        .args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--dns-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary was built with the tests");
    let mut stdout = BufReader::new(child.stdout.take().expect("it was piped"));
    let mut line = String::new();
    tokio::time::timeout(SOON, stdout.read_line(&mut line)).await.expect("in time").expect("a line");
    let ready: Value = serde_json::from_str(&line).expect("the line is JSON");
    assert_eq!(ready["ready"], json!(true));
    assert_eq!(ready["version"], json!(env!("CARGO_PKG_VERSION")));
    assert!(ready["store"].is_string());
    let addrs =
        |of: &str| -> Vec<std::net::SocketAddr> { serde_json::from_value(ready[of].clone()).expect("addresses") };
    let (http, dns) = (addrs("http"), addrs("dns"));
    assert_eq!((http.len(), dns.len()), (2, 1));
    assert!(http.iter().chain(&dns).all(|addr| addr.port() != 0), "{ready}");
    // It listens by then.
    for addr in http {
        assert_eq!(skyhound_test_support::http::get(addr, "/healthz").await.expect("an answer").status, 200);
    }
    assert_eq!(Dig::new(dns[0]).query("skydns.local", "SOA").await.expect("an answer").status, "NOERROR");
    // One line: nothing else until the end.
    let pid = rustix::process::Pid::from_raw(child.id().expect("it runs").cast_signed()).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it can be signalled");
    let mut rest = String::new();
    tokio::time::timeout(SOON, stdout.read_to_string(&mut rest)).await.expect("in time").expect("its end");
    assert_eq!(rest, "");
    assert!(child.wait().await.expect("an exit status").success());
}

#[multi_thread_test]
async fn health_and_readiness_are_reported() {
    let daemon = Daemon::start(&[]).await;
    assert_eq!(daemon.get("/healthz").await.status, 200);
    let ready = daemon.get("/readyz").await;
    assert_eq!(ready.status, 200);
    let version: Value = serde_json::from_str(&daemon.get("/version").await.body).expect("JSON");
    assert_eq!(version["version"], json!(env!("CARGO_PKG_VERSION")));
    assert_eq!(daemon.get("/nowhere").await.status, 404);

    let held = daemon.provide("service=foo&port=1").await;
    let _bar = daemon.provide("service=bar&port=1").await;
    assert!(daemon.try_provide("service=foo").await.is_err());
    let ready = daemon.readyz().await;
    assert_eq!((&ready["claims"], &ready["entries"], &ready["catalog"]), (&json!(2), &json!(2), &json!("current")));
    held.close().await;
    daemon.dig().query("bar.services.skydns.local", "SRV").await.expect("an answer");
    for (metric, value) in [
        ("skyhound_registry_claims", 1.0),
        ("skyhound_catalog_entries", 1.0),
        ("skyhound_registry_leases", 1.0),
        ("skyhound_registrations_total", 3.0),
        ("skyhound_releases_total", 1.0),
        ("skyhound_dns_questions_total", 1.0),
    ] {
        // What is counted after an answer may be counted a moment after it.
        wait_until(SOON, async || {
            let seen = daemon.metric(metric).await;
            if (seen - value).abs() < 0.5 { Ok(()) } else { Err(format!("{metric} is {seen}, not {value}")) }
        })
        .await;
    }
}

#[multi_thread_test]
async fn settings_come_from_the_line_then_the_environment_then_the_file() {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("sky.toml");
    std::fs::write(&file, "timeout = 7\ndns-root = \"file.test.\"\ndefault-category = \"filed\"\nin-memory = true\n")
        .expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    let env = [("SKYHOUND_TIMEOUT", "8"), ("SKYHOUND_DNS_ROOT", "env.test.")];
    let output = run(&["config", "--config", file, "--timeout", "9", "--json"], &env).await;
    assert_eq!(output.status.code(), Some(0), "{}", ended(&output).1);
    let settings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for (name, value) in [
        ("timeout", json!(9)),
        ("dns-root", json!("env.test.")),
        ("default-category", json!("filed")),
        ("in-memory", json!(true)),
        ("on-stop", json!("keep")),
    ] {
        assert_eq!(settings[name], value, "{name} in {settings}");
    }
    // Its output is a file with the same settings.
    let printed = run(&["config", "--config", file], &env).await;
    let again = dir.path().join("again.toml");
    std::fs::write(&again, &printed.stdout).expect("a file");
    let once_more = run(&["config", "--config", again.to_str().expect("a path in UTF-8")], &[]).await;
    assert_eq!(String::from_utf8_lossy(&once_more.stdout), String::from_utf8_lossy(&printed.stdout));

    // And the daemon takes it so.
    let daemon = Daemon::start(&["--config", file]).await;
    let _foo = daemon.provide("service=foo&port=1").await;
    let answer = daemon.dig().query("foo.filed.file.test", "SRV").await.expect("an answer");
    assert_eq!((answer.ports(), answer.answer[0].ttl <= 7), (vec![1], true), "{answer:?}");
}

#[multi_thread_test]
async fn invalid_settings_are_reported_before_the_start() {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("wrong.toml");
    std::fs::write(&file, "timeouts = 7\n").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    for (args, names) in [
        (&["serve", "--timeout", "1"][..], "timeout"),
        (&["serve", "--timeout", "soon"], "timeout"),
        (&["serve", "--listen", "nowhere"], "listen"),
        (&["serve", "--dns-listen", "127.0.0.1:70000"], "dns-listen"),
        (&["serve", "--dns-root", "a..b"], "dns-root"),
        (&["serve", "--default-category", "a/b"], "default-category"),
        (&["serve", "--on-stop", "explode"], "on-stop"),
        (&["serve", "--in-memory", "--log-level", "=;="], "log-level"),
        (&["serve", "--in-memory", "--etcd-api", "http://127.0.0.1:1"], "in-memory"),
        (&["serve", "--etcd-cert", "x.pem"], "etcd-cert"),
        (&["serve", "--etcd-api", "ftp://127.0.0.1:1"], "ftp"),
        (&["serve", "--config", "/nonexistent/sky.toml"], "/nonexistent/sky.toml"),
        (&["serve", "--config", file], "timeouts"),
        (&["serve", "--colour"], "--colour"),
        (&["config", "--timeout", "0"], "timeout"),
        (&["dance"], "dance"),
        (&["provide"], "SERVICE"),
        (&["provide", "web", "--port", "0"], "port"),
    ] {
        let output = run(args, &[]).await;
        let (status, stderr) = ended(&output);
        assert!(status == Some(2) && stderr.contains(names), "{args:?}: {status:?} {stderr}");
        assert!(!stderr.contains("panicked") && output.stdout.is_empty(), "{args:?}: {stderr}");
    }
}

#[multi_thread_test]
async fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("a bound socket has an address").to_string();
    for args in [["--listen", &addr, "--dns-listen", "off"], ["--listen", "127.0.0.1:0", "--dns-listen", &addr]] {
        let (status, stderr) = ended(&run(&[&["serve", "--in-memory"], &args[..]].concat(), &[]).await);
        assert!(
            status == Some(1) && stderr.contains(&addr) && stderr.contains("in use"),
            "{args:?}: {status:?} {stderr}"
        );
    }
    // Another daemon is the likeliest neighbour, and DNS sockets that share a port would not notice.
    let daemon = Daemon::start(&[]).await;
    let (http, dns) = (daemon.http.to_string(), daemon.dns.to_string());
    for args in [["--listen", &http, "--dns-listen", "off"], ["--listen", "127.0.0.1:0", "--dns-listen", &dns]] {
        let (status, stderr) = ended(&run(&[&["serve", "--in-memory"], &args[..]].concat(), &[]).await);
        assert!(status == Some(1) && stderr.contains("in use"), "{args:?}: {status:?} {stderr}");
    }
}

#[multi_thread_test]
async fn a_store_that_cannot_be_had_is_named() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().to_str().expect("a path in UTF-8");
    let _daemon = Daemon::start(&["--data-dir", path]).await;
    let ports = ["--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0"];
    // The file belongs to one daemon at a time.
    let (status, stderr) = ended(&run(&[&["serve", "--data-dir", path], &ports[..]].concat(), &[]).await);
    assert!(status == Some(1) && stderr.contains("skyhound.redb"), "{status:?} {stderr}");
    // Neither a file that is something else nor one that is cut short is taken for an empty store.
    for (what, bytes) in [("text", b"this is no store\n".repeat(1000)), ("cut", b"redb\x1a\x0a\xa9\x0d\x0a".to_vec())] {
        let other = dir.path().join(what);
        std::fs::create_dir(&other).expect("a directory");
        std::fs::write(other.join("skyhound.redb"), &bytes).expect("a file");
        let other_path = other.to_str().expect("a path in UTF-8");
        let (status, stderr) = ended(&run(&[&["serve", "--data-dir", other_path], &ports[..]].concat(), &[]).await);
        assert!(
            status == Some(1) && stderr.contains(other_path) && !stderr.contains("panicked"),
            "{what}: {status:?} {stderr}"
        );
        assert_eq!(std::fs::read(other.join("skyhound.redb")).expect("a file"), bytes, "{what}: it was changed");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let below = file.join("data");
    let below = below.to_str().expect("a path in UTF-8");
    let (status, stderr) = ended(&run(&[&["serve", "--data-dir", below], &ports[..]].concat(), &[]).await);
    assert!(status == Some(1) && stderr.contains(below), "{status:?} {stderr}");
}

#[multi_thread_test]
async fn a_user_without_write_permission_gets_the_error_of_etcd() {
    let etcd = EtcdProcess::start().await;
    etcd.enable_auth();
    let daemon = Site::at(&etcd, &["--etcd-username", "sky", "--etcd-password", "hound"]).await;
    let held = daemon.provide("service=foo&port=1").await;
    assert!(etcd.ctl_as(Some("root:root"), &["get", "--prefix", "/skydns"]).contains("/foo/"));
    held.close().await;

    // This user may not touch `service/`, where hound-dog's peers are: all others are served, and it gets the reason.
    wait_until(SOON, async || match daemon.get("/readyz").await.status {
        200 => Ok(()),
        status => Err(format!("{status}")),
    })
    .await;
    let dog = skyhound_test_support::provider::Provider::open_for(
        daemon.http,
        "/etcd/register?service=dog&ip=10.0.0.1&port=1",
    );
    let refusal =
        dog.await.err().map(skyhound_test_support::provider::Refusal::answer).expect("its second key is denied");
    assert!(refusal.status == 503 && refusal.body.contains("permission denied"), "{refusal:?}");
    daemon.provide("service=bar&port=1").await.close().await;
    assert!(daemon.log().contains("etcd denies reading hound-dog's keys"), "{}", daemon.log());

    let output =
        run(&["config", "--etcd-api", &etcd.endpoint(), "--etcd-username", "sky", "--etcd-password", "hound"], &[])
            .await;
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hound\""), "the password is not printed");

    let stranger = Site::at(&etcd, &["--etcd-username", "sky", "--etcd-password", "wrong"]).await;
    let refusal =
        stranger.try_provide("service=foo&port=1").await.err().map(skyhound_test_support::provider::Refusal::answer);
    assert_eq!(refusal.map(|answer| answer.status), Some(503));
    assert_eq!(stranger.get("/readyz").await.status, 503);
    assert!(stranger.log().contains("the store denied access"), "{}", stranger.log());
    tokio::time::timeout(Duration::from_secs(5), async { drop(stranger) }).await.expect("it ends");
}

#[multi_thread_test]
async fn a_spare_instance_has_no_address_while_there_is_another() {
    let daemon = Daemon::start(&["--addresses", "best"]).await;
    let first = daemon.provide("service=foo&host=10.0.0.1&port=1&priority=1").await;
    let _spare = daemon.provide("service=foo&host=10.0.0.2&port=1&priority=2").await;
    let ask = async |rtype| daemon.dig().query("foo.services.skydns.local", rtype).await.unwrap();
    // The second time from what was kept.
    for _ in 0..2 {
        assert_eq!(ask("A").await.data("A"), ["10.0.0.1"]);
        assert_eq!(ask("SRV").await.srv().len(), 2);
    }
    let explained = daemon.get("/explain?name=foo.services.skydns.local&type=A").await.body;
    assert!(explained.contains("a better priority than its 2"), "{explained}");
    drop(first);
    wait_until(SOON, async || {
        let answer = ask("A").await;
        if answer.data("A") == ["10.0.0.2"] { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

#[multi_thread_test]
async fn weights_can_be_answered_as_they_are() {
    let daemon = Daemon::start(&["--srv-weights", "exact"]).await;
    let one = daemon.provide("service=foo&host=10.0.0.1&port=1&weight=300").await;
    let _two = daemon.provide("service=foo&host=10.0.0.2&port=2&weight=65535").await;
    for (update, weight) in [
        ("", 300),
        (r#"{"op":"update","weight":1}"#, 1),
        (r#"{"op":"update","weight":65535}"#, 65535),
        // What readers of this layout take for "not said", which is 100.
        (r#"{"op":"update","weight":0}"#, 100),
    ] {
        if !update.is_empty() {
            one.text(update);
        }
        wait_until(SOON, async || {
            let answer = daemon.dig().query("foo.services.skydns.local", "SRV").await.map_err(|e| e.to_string())?;
            let weights: Vec<_> = answer.srv().iter().map(|srv| srv.weight).collect();
            if weights == [weight, 65535] { Ok(()) } else { Err(format!("{update}: {weights:?}")) }
        })
        .await;
    }
}
