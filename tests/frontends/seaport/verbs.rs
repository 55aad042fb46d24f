//! `skyhound seaport …`, and the same by the name `seaport`.

use crate::seaport::node::Node;
use crate::seaport::peer::{Peer, at, hub, hub_at, web};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

fn verb(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("seaport").args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> Output {
    timeout(SOON, command.output()).await.expect("it ends").expect("it runs")
}

async fn json_of(args: &[&str]) -> Value {
    let output = output(&mut verb(args)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// A running command, and its output.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        timeout(SOON, self.lines.next_line()).await.expect("a line in time").expect("text").expect("it goes on")
    }

    async fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(pid).expect("a process id"), Signal::TERM).expect("it can be signalled");
        timeout(SOON, self.child.wait()).await.expect("it ends").expect("it can be waited for").code()
    }
}

#[multi_thread_test]
async fn show_and_query_print_what_is_known() {
    let daemon = hub(&[]).await;
    let addr = at(&daemon).to_string();
    let (mut peer, _) = Peer::synced(&daemon).await;
    assert_eq!(json_of(&["show", &addr]).await, json!([]));
    peer.register("a", web("a", 1)).await;
    peer.register("b", json!({"role": "api", "host": "h", "port": 2, "id": "b", "deep": {"x": 3}})).await;
    wait_until(SOON, async || match json_of(&["show", &addr]).await.as_array().map(Vec::len) {
        Some(2) => Ok(()),
        known => Err(format!("{known:?}")),
    })
    .await;
    for (pattern, ids) in
        [("web@1.2.x", json!(["a"])), ("web@~2", json!([])), ("api", json!(["b"])), ("api@*", json!([]))]
    {
        assert_eq!(json_of(&["query", &addr, pattern, "id"]).await, ids, "{pattern}");
    }
    assert_eq!(json_of(&["query", &addr, "api", "deep", "x"]).await, json!([3]));
    assert_eq!(json_of(&["query", &addr, "web"]).await, json!([web("a", 1)]));
    let bad = output(&mut verb(&["query", &addr, "web@one"])).await;
    assert_eq!(bad.status.code(), Some(2));
    let unreachable = output(&mut verb(&["show", "127.0.0.1:1"])).await;
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains("cannot query 127.0.0.1:1"));
}

#[multi_thread_test]
async fn watch_prints_each_change_once_also_through_a_restart() {
    let mut daemon = hub(&[]).await;
    let addr = at(&daemon).to_string();
    let (mut peer, _) = Peer::synced(&daemon).await;
    peer.register("a", web("a", 1)).await;
    let mut watch = Running::start(&mut verb(&["watch", &addr]));
    assert_eq!(watch.line().await, "REGISTER web@1.2.3 10.0.0.1:1 [a]");
    peer.register("b", json!({"role": "api", "host": "::1", "port": 2, "id": "b"})).await;
    assert_eq!(watch.line().await, "REGISTER api [::1]:2 [b]");
    peer.send(json!(["free", "b"])).await;
    assert_eq!(watch.line().await, "FREE api [::1]:2 [b]");
    peer.register("c", web("c", 3)).await;
    assert_eq!(watch.line().await, "REGISTER web@1.2.3 10.0.0.1:3 [c]");
    daemon.kill().await;
    daemon.restart().await;
    // Before the watcher is back, with luck; both ways lead to the same lines.
    let (mut peer, _) = Peer::synced(&daemon).await;
    peer.register("d", web("d", 4)).await;
    let mut lines = [watch.line().await, watch.line().await, watch.line().await];
    lines.sort();
    assert_eq!(
        lines,
        ["FREE web@1.2.3 10.0.0.1:1 [a]", "FREE web@1.2.3 10.0.0.1:3 [c]", "REGISTER web@1.2.3 10.0.0.1:4 [d]",]
    );
    let mut verbose = Running::start(&mut verb(&["watch", &addr, "-v"]));
    assert_eq!(verbose.line().await, "REGISTER web@1.2.3 10.0.0.1:4 [d]");
    assert_eq!(verbose.line().await, "  {");
}

/// A client that knows another hub connects to it when its own is gone; the original's client does so, too.
#[multi_thread_test]
async fn another_hub_takes_over() {
    let etcd = EtcdProcess::start().await;
    let (mut one, two) = (hub_at(&etcd).await, hub_at(&etcd).await);
    let (addr, other) = (at(&one).to_string(), at(&two));
    let (mut peer, _) = Peer::synced(&two).await;
    let hub = json!({"role": "seaport", "host": other.ip().to_string(), "port": other.port(), "id": "two"});
    peer.register("two", hub).await;
    let mut watch = Running::start(&mut verb(&["watch", &addr]));
    assert_eq!(watch.line().await, format!("REGISTER seaport {other} [two]"));
    let mut register = verb(&["register", &addr, "web@1.2.3", "--meta.id=held", "--", "sleep", "60"]);
    let register = Running::start(&mut register);
    assert!(watch.line().await.ends_with(" [held]"));
    let mut client = Node::client(at(&one), None).await;
    if let Some(client) = &mut client {
        client.about("register", "two").await;
    }
    one.kill().await;
    // Up to the end of what the killed daemon held, and beyond it.
    peer.register("x", web("x", 1)).await;
    assert_eq!(watch.line().await, "REGISTER web@1.2.3 10.0.0.1:1 [x]");
    if let Some(client) = &mut client {
        client.about("register", "x").await;
    }
    wait_until(SOON, async || match two.metric("skyhound_registry_claims").await {
        claims if claims >= 3.0 => Ok(()),
        claims => Err(format!("{claims} claims")),
    })
    .await;
    assert_eq!(json_of(&["query", &other.to_string(), "web", "id"]).await, json!(["held", "x"]));
    register.stop().await;
    assert!(watch.line().await.starts_with("FREE web@1.2.3 "));
}

#[multi_thread_test]
async fn a_command_is_registered_as_long_as_it_is_kept_running() {
    let daemon = hub(&[]).await;
    let addr = at(&daemon).to_string();
    let (mut peer, _) = Peer::synced(&daemon).await;
    // The whole range but one port is registered for this host.
    for port in 20_101..=20_104 {
        peer.register(&format!("n{port}"), json!({"role": "x", "port": port})).await;
    }
    wait_until(SOON, async || match json_of(&["show", &addr]).await.as_array().map(Vec::len) {
        Some(4) => Ok(()),
        known => Err(format!("{known:?}")),
    })
    .await;
    let script = "echo run $0 $1; test -e $0 || { : > $0; exit 3; }; exec sleep 60";
    let dir = TempDir::new().expect("a directory");
    let first_run = dir.path().join("mark").display().to_string();
    let mut register = Running::start(verb(&["register", &addr, "web@1.2.3"]).args([
        "--meta.zone=eu",
        "--meta.load=0.5",
        "--range=20100-20104",
        "--",
        "sh",
        "-c",
        script,
        &first_run,
    ]));
    let line = register.line().await;
    assert_eq!(line, format!("run {first_run} 20100"), "the port is the last argument");
    let row = loop {
        let row = peer.next().await.expect("the hub goes on");
        if row[2]["role"] == "web" {
            break row;
        }
    };
    let meta = json!({
        "role": "web", "version": "1.2.3", "host": "127.0.0.1", "port": 20100, "id": row[1], "zone": "eu", "load": 0.5,
    });
    assert_eq!(row, json!(["register", row[1], meta]));
    assert_eq!(register.line().await, line, "it is started again on the same port");
    peer.receives_nothing().await;
    assert_eq!(register.stop().await, Some(128 + 15), "the command's own end");
    peer.receives(json!(["free", row[1]])).await;
}

#[multi_thread_test]
async fn a_hub_by_the_name_of_the_original() {
    let dir = TempDir::new().expect("a directory");
    let link = dir.path().join("seaport");
    std::os::unix::fs::symlink(program(), &link).expect("a link");
    let mut listen = Running::start(Command::new(&link).args(["listen", "127.0.0.1:0"]).kill_on_drop(true));
    let ready: Value = serde_json::from_str(&listen.line().await).expect("JSON");
    assert_eq!((&ready["dns"], &ready["store"]), (&json!([]), &json!("memory only")));
    let addr: SocketAddr = ready["seaport"][0].as_str().expect("an address").parse().expect("an address");
    let shown = output(Command::new(&link).args(["show", &addr.to_string()]).kill_on_drop(true)).await;
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "[]\n");
    if let Some(mut client) = Node::client(addr, None).await {
        let web = client.ask(json!(["register", "web@1.2.3", {"port": 8080}])).await;
        wait_until(SOON, async || match json_of(&["query", &addr.to_string(), "web@1", "id"]).await {
            found if found == json!([web["id"]]) => Ok(()),
            found => Err(found),
        })
        .await;
    }
    assert_eq!(listen.stop().await, Some(0));
}

/// Our verbs at the original's hub: once it has a key, it serves no client without one.
#[multi_thread_test]
async fn our_client_at_the_originals_hub() {
    let files = crate::seaport::keys::Files::new();
    for keys in [false, true] {
        let own = files.path("hub");
        let Some(mut original_hub) = Node::start(keys.then_some(own.as_path())) else { return };
        original_hub.send(json!(["listen", 0, "127.0.0.1"])).await;
        let port = original_hub.event("listening").await["port"].to_string();
        let key = format!("--key={}", files.path("known").display());
        let with_key = keys.then_some(key.as_str());
        let mut register = verb(&["register", &port, "web@1.2.3"]);
        let register = Running::start(register.args(with_key).args(["--", "sleep", "60"]));
        let meta = original_hub.event("register").await["meta"].take();
        assert_eq!((&meta["role"], &meta["host"]), (&json!("web"), &json!("127.0.0.1")), "{meta}");
        let found = json_of(&[&["query", &port, "web@~1.2", "id"][..], with_key.as_slice()].concat()).await;
        assert_eq!(found, json!([meta["id"]]));
        register.stop().await;
        original_hub.about("free", meta["id"].as_str().expect("an id")).await;
        assert_eq!(original_hub.ask(json!(["query", "web"])).await, json!([]), "it lives on");
    }
}
