//! `skyhound provide` and `skyhound resolve` against a daemon.

use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::verb::{self, skyhound};
use skyhound_test_support::wait::{SOON, wait_until};

const WEB: &str = "web.services.skydns.local";

async fn run(args: &[&str]) -> Output {
    verb::run(skyhound(args)).await
}

/// `provide --json`, and the lines that it prints.
fn provide(args: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = skyhound(&[&["provide", "--json"], args].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built with the tests");
    let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    (child, lines)
}

async fn wait_for_event(lines: &mut Lines<BufReader<ChildStdout>>, event: &str) -> Value {
    let hearing = async {
        while let Some(line) = lines.next_line().await.expect("its output can be read") {
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            if value["event"] == event {
                return value;
            }
        }
        panic!("it ended without {event}")
    };
    tokio::time::timeout(SOON, hearing).await.unwrap_or_else(|_| panic!("{event} was not received"))
}

async fn ports(daemon: &Daemon) -> Vec<u16> {
    daemon.dig().query(WEB, "SRV").await.expect("an answer").ports()
}

#[multi_thread_test]
async fn provide_holds_until_a_signal() {
    let daemon = Daemon::start(&[]).await;
    let url = format!("http://{}", daemon.http);
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let (mut child, mut lines) = provide(&[
            "web",
            "--port",
            "80",
            "--server",
            &url,
            "--weight",
            "7",
            "--priority",
            "3",
            "--host",
            "10.0.0.1",
        ]);
        wait_for_event(&mut lines, "registered").await;
        let answer = daemon.dig().query(WEB, "SRV").await.expect("an answer");
        assert_eq!((answer.ports(), answer.srv()[0].priority), (vec![80], 3), "registered means visible");
        let pid = Pid::from_raw(child.id().expect("it runs").cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("it can be signalled");
        let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("an exit status");
        if signal == Signal::KILL {
            assert_eq!(status.code(), None);
            daemon.dig().comes_to_deny(WEB).await;
        } else {
            assert_eq!(status.code(), Some(0), "{signal:?}");
            assert!(ports(&daemon).await.is_empty(), "it leaves DNS before it ends");
        }
    }
}

#[multi_thread_test]
async fn a_command_is_in_dns_as_long_as_it_runs() {
    let daemon = Daemon::start(&[]).await;
    let url = format!("http://{}", daemon.http);
    let base = ["provide", "web", "--port", "80", "--server", &url, "--"];
    let with =
        |command: &[&'static str]| -> Vec<String> { base.iter().chain(command).map(ToString::to_string).collect() };
    // It ends by itself, and its exit status is what comes back.
    let dig = format!("dig +short +time=2 +tries=1 @{} -p {} SRV {WEB}", daemon.dns.ip(), daemon.dns.port());
    let script = format!("until {dig} | grep ' 80 '; do sleep 0.05; done; exit 7");
    let output = run(&[&base[..], &["sh", "-c", &script]].concat()).await;
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(" 80 "), "it found itself: {output:?}");
    assert!(ports(&daemon).await.is_empty(), "gone with the command");

    for (command, status) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["/nonexistent"], 127),
        (&["/dev/null"], 126),
    ] {
        let args = with(command);
        let output = run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(output.status.code(), Some(status), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(ports(&daemon).await.is_empty());
    }

    // A signal is passed on; the command decides.
    let args = with(&["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done"]);
    let mut child = skyhound(&args.iter().map(String::as_str).collect::<Vec<_>>()).spawn().expect("it runs");
    wait_until(SOON, async || {
        let ports = ports(&daemon).await;
        if ports == [80] { Ok(()) } else { Err(format!("{ports:?}")) }
    })
    .await;
    let pid = Pid::from_raw(child.id().expect("it runs").cast_signed()).expect("a process id");
    kill_process(pid, Signal::TERM).expect("it can be signalled");
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").expect("an exit status");
    assert_eq!(status.code(), Some(9));
    assert!(ports(&daemon).await.is_empty());
}

#[multi_thread_test]
async fn a_refusal_is_printed_in_the_daemons_words() {
    let daemon = Daemon::start(&[]).await;
    let url = format!("http://{}", daemon.http);
    let output = run(&["provide", "a/b", "--port", "80", "--server", &url]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("service \"a/b\""), "{stderr}");
}

#[multi_thread_test]
async fn provide_comes_back_after_a_restart_of_the_daemon() {
    let mut daemon = Daemon::start(&[]).await;
    let url = format!("http://{}", daemon.http);
    let (_child, mut lines) = provide(&["web", "--port", "80", "--server", &url]);
    wait_for_event(&mut lines, "registered").await;
    daemon.kill().await;
    wait_for_event(&mut lines, "lost").await;
    daemon.restart().await;
    wait_for_event(&mut lines, "registered").await;
    assert_eq!(ports(&daemon).await, [80]);
}

#[multi_thread_test]
async fn resolve_prints_the_addresses_of_instances() {
    let daemon = Daemon::start(&[]).await;
    let dns = daemon.dns.to_string();
    let none = run(&["resolve", WEB, "--server", &dns]).await;
    assert_eq!(none.status.code(), Some(1), "{none:?}");

    let _one = daemon.provide("service=web&host=10.0.0.1&port=1&priority=1").await;
    let _two = daemon.provide("service=web&host=10.0.0.2&port=2&priority=2").await;
    let found = run(&["resolve", WEB, "--server", &dns, "--json"]).await;
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let lines: Vec<Value> =
        found.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let seen: Vec<_> = lines.iter().map(|line| (&line["priority"], &line["port"], &line["addrs"][0])).collect();
    assert_eq!(seen, [(&1.into(), &1.into(), &"10.0.0.1".into()), (&2.into(), &2.into(), &"10.0.0.2".into())]);

    let nobody = run(&["resolve", WEB, "--server", "127.0.0.1:1"]).await;
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
}
