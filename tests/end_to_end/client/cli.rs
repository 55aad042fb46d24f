//! The verbs as a shell sees them: the built binary, its streams, signals and exit status.

use super::dns::{Answers, serve};
use super::peer::{Peer, next};
use super::soon;
use hickory_proto::op::ResponseCode;
use rustix::process::{Pid, Signal, kill_process};
use skyhound_test_support::program;
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::tungstenite::Message;

/// The binary, in a process group of its own: were it in the foreground of somebody's terminal, it would
/// leave SIGINT to that.
/// The tests may be run with some signals ignored (`nohup`, or a shell's `&`), and child processes inherit
/// that: `env` restores the defaults.
fn skyhound(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", program()]);
    command.args(arguments).env_remove("SKYHOUND_SERVER").env_remove("SKYHOUND_DNS");
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(arguments: &[&str]) -> Output {
    soon(skyhound(arguments).output()).await.unwrap()
}

/// Runs `script` in sh for as long as `web` is provided at `peer`.
async fn run_script(peer: &Peer, script: &str) -> Output {
    run(&["provide", "web", "--port", "8080", "--server", &peer.url(), "--", "sh", "-c", script]).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Reads stderr until a line has `last`; without it, until the process ends.
async fn read_stderr(child: &mut Child, last: Option<&str>) -> String {
    let stderr = child.stderr.as_mut().unwrap();
    let mut log = String::new();
    while !last.is_some_and(|last| log.contains(last) && log.ends_with('\n')) {
        match soon(stderr.read_u8()).await {
            Ok(byte) => log.push(byte.into()),
            Err(_) => return log,
        }
    }
    log
}

/// Waits until the client has read the daemon's 101, which the daemon cannot see.
async fn registered(child: &mut Child, peer: &Peer) {
    let registered = format!("skyhound: registered web (port 8080) with {}\n", peer.url());
    let stderr = read_stderr(child, Some(&registered)).await;
    assert!(stderr.ends_with(&registered), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "colours are for terminals: {stderr:?}");
}

#[tokio::test]
async fn the_commands_exit_status_is_ours() {
    // It never answers: a daemon that hangs delays neither the command's start nor its end.
    let peer = Peer::bind().await;
    assert_eq!(run_script(&peer, "exit 0").await.status.code(), Some(0));
    assert_eq!(run_script(&peer, "exit 7").await.status.code(), Some(7));
    let killed = run_script(&peer, "kill -KILL $$").await;
    assert_eq!(killed.status.code(), Some(137));
    assert!(text(&killed.stderr).ends_with("skyhound: web (port 8080) was never registered\n"), "{killed:?}");
}

#[tokio::test]
async fn the_commands_streams_are_its_own() {
    let peer = Peer::bind().await;
    let output = run_script(&peer, "echo out; echo err >&2").await;
    assert_eq!(text(&output.stdout), "out\n");
    assert!(text(&output.stderr).contains("err\n"));
}

#[tokio::test]
async fn a_command_that_cannot_run_is_named() {
    let peer = Peer::bind().await;
    let server = peer.url();
    let provide = ["provide", "web", "-p", "8080", "-s", &server, "--"];
    let missing = run(&[&provide[..], &["no-such-command"]].concat()).await;
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("cannot run no-such-command: no such command"), "{missing:?}");
    let not_executable = run(&[&provide[..], &["/dev/null"]].concat()).await;
    assert_eq!(not_executable.status.code(), Some(126));
    assert!(text(&not_executable.stderr).contains("cannot run /dev/null: not executable"), "{not_executable:?}");
}

/// Provides with a command that ends with 42 at `signal`, and waits until it listens.
async fn trapping(peer: &Peer, signal: &str, prefix: &[&str]) -> Child {
    let script = format!("trap 'exit 42' {signal}; echo ready; while :; do sleep 0.02; done");
    let server = peer.url();
    let provide = ["provide", "web", "-p", "8080", "-s", &server, "--", "sh", "-c", &script];
    let mut command = skyhound(&provide);
    if let Some((wrapper, arguments)) = prefix.split_first() {
        let mut wrapped = Command::new(wrapper);
        wrapped.args(arguments).arg(program()).args(provide);
        wrapped.process_group(0).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
        command = wrapped;
    }
    let mut child = command.spawn().unwrap();
    let mut out = lines(&mut child);
    assert_eq!(soon(out.next_line()).await.unwrap().as_deref(), Some("ready"));
    child
}

#[tokio::test]
async fn signals_are_passed_on() {
    let peer = Peer::bind().await;
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let mut child = trapping(&peer, name, &[]).await;
        send(&child, signal);
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(42), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn signals_ignored_at_the_start_stay_ignored() {
    let peer = Peer::bind().await;
    // As `nohup` does it.
    let mut child = trapping(&peer, "USR1", &["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""]).await;
    send(&child, Signal::HUP);
    send(&child, Signal::USR1);
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(42));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_command_does_not_outlive_us() {
    let peer = Peer::bind().await;
    let mut child = skyhound(&["provide", "web", "-p", "8080", "-s", &peer.url(), "--", "sh", "-c"])
        .arg("trap 'echo ended; exit' TERM; echo ready; while :; do sleep 0.02; done")
        .spawn()
        .unwrap();
    let mut out = lines(&mut child);
    assert_eq!(soon(out.next_line()).await.unwrap().as_deref(), Some("ready"));
    send(&child, Signal::KILL);
    assert_eq!(soon(out.next_line()).await.unwrap().as_deref(), Some("ended"));
}

#[tokio::test]
async fn the_registration_ends_with_the_command() {
    let peer = Peer::bind().await;
    let script = "echo ready; read line; exit 3";
    let mut child = skyhound(&["provide", "web", "-p", "8080", "-s", &peer.url(), "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    let (mut socket, target) = peer.accept().await;
    assert_eq!(target, "/provide?service=web&port=8080");
    registered(&mut child, &peer).await;
    drop(stdin);
    assert!(matches!(next(&mut socket).await, Some(Message::Close(_))));
    while next(&mut socket).await.is_some() {}
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn without_a_command_a_signal_ends_it_properly() {
    for signal in [Signal::TERM, Signal::INT] {
        let peer = Peer::bind().await;
        let mut child = skyhound(&["provide", "web", "-p", "8080", "--weight", "5"])
            .env("SKYHOUND_SERVER", peer.url())
            .spawn()
            .unwrap();
        let (mut socket, target) = peer.accept().await;
        assert_eq!(target, "/provide?service=web&port=8080&weight=5");
        registered(&mut child, &peer).await;
        send(&child, signal);
        assert!(matches!(next(&mut socket).await, Some(Message::Close(_))));
        while next(&mut socket).await.is_some() {}
        assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));
        assert_eq!(read_stderr(&mut child, None).await, "skyhound: web (port 8080) is no longer registered\n");
    }
}

#[tokio::test]
async fn a_loss_is_reported() {
    let (first, second) = (Peer::bind().await, Peer::bind().await);
    let servers = format!("{},{}", first.url(), second.url());
    let mut child = skyhound(&["provide", "web", "-p", "8080", "-s", &servers]).spawn().unwrap();
    drop(first.accept().await);
    let _held = second.accept().await;
    let stderr =
        read_stderr(&mut child, Some(&format!("skyhound: registered web (port 8080) with {}\n", second.url()))).await;
    assert!(stderr.contains(&format!("skyhound: lost the connection to {}: ", first.url())), "{stderr}");
    assert!(stderr.contains("; retrying "), "{stderr}");
}

#[tokio::test]
async fn quiet_prints_only_failures() {
    let peer = Peer::bind().await;
    let mut child = skyhound(&["provide", "web", "-p", "8080", "-q", "-s", &peer.url()]).spawn().unwrap();
    drop(peer.accept().await);
    let stderr = read_stderr(&mut child, Some("retrying")).await;
    assert!(stderr.starts_with("skyhound: lost the connection to ") && stderr.lines().count() == 1, "{stderr}");
}

#[tokio::test]
async fn a_refusal_ends_it_and_the_command() {
    let peer = Peer::bind().await;
    let server = peer.url();
    for command in [&[][..], &["--", "sleep", "1000"]] {
        let child = skyhound(&[&["provide", "web", "-p", "8080", "-s", &server], command].concat()).spawn().unwrap();
        peer.answer("400 Bad Request", "", "service \"web\" is not for you").await;
        let output = soon(child.wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(
            stderr.contains(&format!("{server} rejected web (port 8080): service \"web\" is not for you\n")),
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn a_script_reads_json() {
    let peer = Peer::bind().await;
    let mut child = skyhound(&["provide", "web", "-p", "8080", "-s", &peer.url(), "--json"]).spawn().unwrap();
    let mut out = lines(&mut child);
    let (mut socket, _) = peer.accept().await;
    for event in ["connecting", "registered"] {
        let line = soon(out.next_line()).await.unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["event"], &line["server"]), (&event.into(), &peer.url().into()), "{line}");
        assert_eq!((&line["service"], &line["port"]), (&"web".into(), &8080.into()), "{line}");
    }
    send(&child, Signal::TERM);
    while next(&mut socket).await.is_some() {}
    let line = soon(out.next_line()).await.unwrap().unwrap();
    assert_eq!(line, r#"{"event":"closed","service":"web","port":8080}"#);
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));
    assert_eq!(read_stderr(&mut child, None).await, "");
}

#[tokio::test]
async fn bad_usage_is_2_and_names_what_is_wrong() {
    for (arguments, why) in [
        (&["provide", "web"][..], "--port <N>"),
        (&["provide", "web", "-p", "0"], "0 is not in 1..=65535"),
        (&["provide", "web", "-p", "80", "-s", "ftp://a"], "unsupported scheme \"ftp\""),
        (&["provide", "web", "-p", "80", "--meta", "zone"], "expected KEY=VALUE"),
        (&["resolve", "a", "-s", "here:it"], "expected HOST:PORT"),
        (&["man", "nothing"], "unknown verb \"nothing\"; expected one of "),
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(why), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn help_teaches_by_example() {
    for (verb, example) in [
        ("provide", "skyhound provide web --port 8080 -- ./server"),
        ("resolve", "skyhound resolve web.services.skydns.local --server"),
        ("completion", "skyhound completion bash >"),
    ] {
        let help = text(&run(&[verb, "--help"]).await.stdout);
        assert!(help.contains(example), "{help}");
    }
    for verb in [
        "serve",
        "config",
        "provide",
        "resolve",
        "services",
        "instances",
        "watch",
        "event",
        "explain",
        "micro",
        "dnssec-keygen",
    ] {
        let help = text(&run(&[verb, "--help"]).await.stdout);
        assert!(help.contains("\nExamples:\n") && help.contains("\nExit status:\n"), "{help}");
    }
    let help = text(&run(&["--help"]).await.stdout);
    assert!(help.contains("  skyhound provide web --port 8080"), "{help}");
    assert!(help.contains("provide") && !help.contains("become-command"), "{help}");
}

#[tokio::test]
async fn an_unreachable_server_is_named_with_a_remedy() {
    // A port that the system gives nobody by chance.
    let gone = "127.0.0.1:1";
    let verbs: [&[&str]; 4] =
        [&["services"], &["instances", "web"], &["explain", "web"], &["event", "x", "--broadcast"]];
    for verb in verbs {
        let failed = run(&[verb, &["-s", gone]].concat()).await;
        assert_eq!(failed.status.code(), Some(2), "{failed:?}");
        let stderr = text(&failed.stderr);
        assert!(stderr.contains(&format!("no answer from http://{gone}")), "{stderr}");
        assert!(stderr.ends_with("(check that the daemon is running there)\n"), "{stderr}");
    }
}

#[tokio::test]
async fn https_and_http_are_distinguished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // As a web server answers what is no HTTP.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let failed = run(&["services", "-s", &server]).await;
    assert!(text(&failed.stderr).contains("the server does not use TLS; try http://"), "{failed:?}");
}

#[tokio::test]
async fn errors_in_a_file_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skyhound.toml");
    for (written, expected) in [
        ("timeuot = 5\n", "line 1, column 1"),
        ("timeuot = 5\n", "unknown field `timeuot`; `skyhound config` prints every setting"),
        ("timeout = \"5\"\n", "line 1, column 11"),
        ("timeout = 1\n", ": timeout: 1 is not between 2 and 86400 seconds"),
    ] {
        std::fs::write(&file, written).unwrap();
        let failed = run(&["serve", "--in-memory", "--config", file.to_str().unwrap()]).await;
        assert_eq!(failed.status.code(), Some(2), "{failed:?}");
        let stderr = text(&failed.stderr);
        assert!(
            stderr.contains(&format!("invalid settings in {}:", file.display())) && stderr.contains(expected),
            "{stderr}"
        );
    }
    // What was typed counts, and so it is what is wrong.
    let failed = run(&["serve", "--in-memory", "--config", file.to_str().unwrap(), "--timeout", "0"]).await;
    assert!(text(&failed.stderr).contains("skyhound: --timeout: 0 is not between"), "{failed:?}");
}

#[tokio::test]
async fn completions_and_man_pages_render() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&run(&["completion", shell]).await.stdout);
        assert!(script.contains("provide") && script.contains("weight"), "{shell}");
        assert!(!script.contains("become-command"), "{shell}");
    }
    let page = text(&run(&["man"]).await.stdout);
    assert!(page.contains(".TH skyhound 1"), "{page}");
    let page = text(&run(&["man", "provide"]).await.stdout);
    assert!(page.contains(".TH skyhound-provide 1") && page.contains("Exit status"), "{page}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = skyhound(&["completion", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(0));
    assert_eq!(read_stderr(&mut child, None).await, "");
}

#[tokio::test]
async fn resolve_distinguishes_no_targets_from_no_response() {
    let resolve = async |answers| {
        let server = serve(answers).await.to_string();
        run(&["resolve", "web.services.skydns.local", "--server", &server]).await
    };
    let found = resolve(Answers::Three).await;
    assert_eq!(found.status.code(), Some(0));
    let first = text(&found.stdout).lines().next().unwrap().to_owned();
    assert_eq!(first, "    1   100  8081     30 i1.web.services.skydns.local 127.0.0.1");
    let none = resolve(Answers::Nothing).await;
    assert_eq!((none.status.code(), text(&none.stdout)), (Some(1), String::new()));
    let failed = resolve(Answers::Code(ResponseCode::ServFail)).await;
    assert_eq!(failed.status.code(), Some(2));
    assert!(text(&failed.stderr).contains("cannot answer for web.services.skydns.local: SERVFAIL"), "{failed:?}");
}
