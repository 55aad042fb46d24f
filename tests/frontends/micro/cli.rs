//! `skyhound micro`, and the binary by that name.

use crate::micro::ask::{node, register};
use crate::micro::nodes;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use skyhound_test_support::site::Site;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Runs a command; returns both outputs and the exit status.
async fn micro(daemon: &Daemon, program: &Path, args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(program);
    if program.file_name().is_some_and(|name| name != "micro") {
        command.arg("micro");
    }
    let done = command.args(["--proxy_address", &daemon.http.to_string()]).args(args).stdin(Stdio::null());
    let done = done.kill_on_drop(true).output().await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(done.stdout), text(done.stderr), done.status.code())
}

#[multi_thread_test]
async fn the_command_line() {
    let site = Site::memory(&[]).await;
    let program = Path::new(program());
    let registration = r#"{"name":"foo","version":"bar","nodes":[{"id":"foo-1","address":"127.0.0.1","port":9090,"metadata":{"a":"b"}}]}"#;
    let ok = |text: &str| (text.to_owned(), String::new(), Some(0));
    assert_eq!(micro(&site, program, &["list", "services"]).await, ok(""));
    assert_eq!(micro(&site, program, &["register", "service", registration]).await, ok("ok\n"));
    // By its own name.
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("micro");
    std::os::unix::fs::symlink(program, &link).expect("a link");
    assert_eq!(micro(&site, &link, &["list", "services"]).await, ok("foo\n"));
    let shown = "service  foo\n\nversion bar\n\nId\tAddress\tPort\tMetadata\nfoo-1\t127.0.0.1\t9090\ta=b\n";
    assert_eq!(micro(&site, &link, &["get", "service", "foo"]).await, ok(shown));
    assert_eq!(micro(&site, program, &["deregister", "service", registration]).await, ok("ok\n"));
    let (out, err, code) = micro(&site, program, &["get", "service", "foo"]).await;
    assert_eq!((out.as_str(), code, err.contains("Service not found")), ("", Some(1), true), "{err}");
    let (_, err, code) = micro(&site, program, &["register", "service", "{}"]).await;
    assert!(code == Some(1) && err.contains("nodes is empty"), "{err}");
    let (_, err, code) = micro(&site, program, &["query", "foo", "Say.Hello"]).await;
    assert!(code == Some(1) && err.contains("error calling foo.Say.Hello: service \"foo\" has no nodes"), "{err}");
    let (_, err, code) = micro(&site, program, &["query", "foo", "Say.Hello", "{"]).await;
    assert!(code == Some(1) && err.contains("the request is not valid JSON"), "{err}");
    assert_eq!(micro(&site, program, &["list"]).await.2, Some(2));
    let mut gone = site;
    gone.daemon.kill().await;
    let (_, err, code) = micro(&gone, program, &["list", "services"]).await;
    assert!(code == Some(2) && err.contains("cannot query http://"), "{err}");
}

#[multi_thread_test]
async fn calls_and_health() {
    let Some(server) = nodes::python() else { return };
    let site = Site::memory(&[]).await;
    let program = Path::new(program());
    register(&site, &node("say", "say-1", server.addr.port())).await;
    let hello = micro(&site, program, &["query", "say", "Say.Hello", r#"{"name": "John"}"#]).await;
    assert_eq!(hello, ("{\n\t\"msg\": \"Hello John\"\n}\n".into(), String::new(), Some(0)));
    let well = format!("service  say\n\nnode\t\taddress:port\t\tstatus\nsay-1\t\t{}\t\tok\n", server.addr);
    assert_eq!(micro(&site, program, &["health", "say"]).await, (well.clone(), String::new(), Some(0)));
    register(&site, &node("say", "say-2", 1)).await;
    let (out, _, code) = micro(&site, program, &["health", "say"]).await;
    assert!(out.contains("ok\n") && out.contains("none of 127.0.0.1:1 is reachable") && code == Some(1), "{out}");
}
