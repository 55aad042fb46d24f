//! A hub with keys: clients that may write, and clients that may only read.

use crate::seaport::node::Node;
use crate::seaport::peer::{Hubs, Peer, at, comes_to, hub, srv, web};
use serde_json::{Value, json};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use skyhound_test_support::wait::SOON;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

/// Key files: of the hub, of one that it knows, of one that it does not.
pub struct Files {
    dir: TempDir,
}

impl Files {
    pub fn new() -> Self {
        let files = Self { dir: TempDir::new().expect("a directory") };
        let known = files.make("known", "RSA");
        files.make("hub", "");
        files.make("stranger", "");
        let list = json!([known["public"]]).to_string();
        std::fs::write(files.path("list"), list).expect("a file");
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.json"))
    }

    /// By OpenSSL, as PKCS#1 or PKCS#8.
    fn make(&self, name: &str, form: &str) -> Value {
        let pem = self.dir.path().join(name);
        let openssl = |args: &[&str]| {
            let output = std::process::Command::new("openssl").args(args).output().expect("tests/run installs openssl");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("PEM is text")
        };
        let path = pem.to_str().expect("a path in UTF-8");
        let (traditional, out) =
            if form == "RSA" { ("-traditional", "-RSAPublicKey_out") } else { ("2048", "-pubout") };
        openssl(&["genrsa", "-out", path, traditional, "2048"][..if form == "RSA" { 5 } else { 4 }]);
        let public = openssl(&["rsa", "-in", path, out]);
        let private = std::fs::read_to_string(&pem).expect("the key");
        let pair = json!({"public": public, "private": private});
        std::fs::write(self.path(name), pair.to_string()).expect("a file");
        pair
    }

    async fn hub(&self) -> Daemon {
        hub(&self.arguments().each_ref().map(String::as_str)).await
    }

    async fn hubs(&self) -> [Hubs; 2] {
        Hubs::both_with(&self.arguments().each_ref().map(String::as_str)).await
    }

    /// The hub's own key, and those that it authorizes.
    fn arguments(&self) -> [String; 2] {
        ["hub", "list"].map(|name| format!("--seaport-key={}", self.path(name).display()))
    }
}

#[multi_thread_test]
async fn an_authorized_client_of_the_original_registers() {
    let files = Files::new();
    for hubs in files.hubs().await {
        let Some(mut server) = Node::client(at(hubs.here()), Some(&files.path("known"))).await else { return };
        let Some(mut client) = Node::client(at(hubs.there()), Some(&files.path("known"))).await else { return };
        server.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w", "fill": "x".repeat(8000)}])).await;
        let received = client.about("register", "w").await;
        assert_eq!(received["fill"], "x".repeat(8000));
        comes_to(hubs.there(), "web", &[8080]).await;
        client.send(json!(["free", "w"])).await;
        server.about("free", "w").await;
        comes_to(hubs.here(), "web", &[]).await;
        for port in 1..=50 {
            server.ask(json!(["register", "web", {"port": port, "id": format!("n{port}")}])).await;
        }
        for port in 1..=50 {
            client.about("register", &format!("n{port}")).await;
        }
        server.end().await;
        for port in 1..=50 {
            client.about("free", &format!("n{port}")).await;
        }
    }
}

#[multi_thread_test]
async fn an_authorized_client_comes_back_after_a_restart() {
    let files = Files::new();
    let mut daemon = files.hub().await;
    let Some(mut server) = Node::client(at(&daemon), Some(&files.path("known"))).await else { return };
    server.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w"}])).await;
    for stop in [true, false] {
        comes_to(&daemon, "web", &[8080]).await;
        if stop {
            daemon.stop().await;
        } else {
            daemon.kill().await;
        }
        daemon.restart().await;
        server.event("disconnect").await;
        server.event("connect").await;
    }
    comes_to(&daemon, "web", &[8080]).await;
}

#[multi_thread_test]
async fn a_stranger_is_refused_and_counted() {
    let files = Files::new();
    for hubs in files.hubs().await {
        is_refused(hubs.here(), &files).await;
    }
}

async fn is_refused(daemon: &Daemon, files: &Files) {
    let Some(mut stranger) = Node::client(at(daemon), Some(&files.path("stranger"))).await else { return };
    stranger.ask(json!(["register", "web@1.2.3", {"port": 8080, "id": "w", "host": "h"}])).await;
    stranger.event("disconnect").await;
    assert!(srv(daemon, "web").await.is_empty());
    let metrics = daemon.get("/metrics").await.body;
    assert!(
        metrics.contains(r#"skyhound_registrations_total{frontend="seaport",outcome="unauthorized"}"#),
        "{metrics}"
    );
}

#[multi_thread_test]
async fn clients_without_a_key_may_only_read() {
    let files = Files::new();
    let daemon = files.hub().await;
    let held = daemon.provide("service=api&port=7").await;
    let mut peer = Peer::connect(at(&daemon)).await;
    peer.send(json!(["synced"])).await;
    assert_eq!(peer.next().await.expect("helo")[0], "helo");
    assert_eq!(peer.next().await.expect("a known service")[2]["role"], "api");
    peer.receives(json!(["synced"])).await;
    peer.register("a", web("a", 1)).await;
    assert!(peer.error("a").await.contains("without an authorized key"));
    peer.send(json!(["free", "a"])).await;
    assert!(peer.error("a").await.contains("without an authorized key"));
    held.close().await;
    assert_eq!(peer.next().await.expect("the hub goes on")[0], "free");
    assert!(srv(&daemon, "web").await.is_empty());
    // And a client that sends nothing at first.
    let (_, known) = Peer::synced(&daemon).await;
    assert!(known.is_empty());
}

#[multi_thread_test]
async fn invalid_headers_are_refused() {
    let files = Files::new();
    let daemon = files.hub().await;
    for header in ["{}", "{\"hash\":\"x\",\"payload\":\"{}\"}", "{"] {
        let mut peer = Peer::connect(at(&daemon)).await;
        peer.write(&format!("{header}\n")).await;
        let own = peer.next().await.expect("the hub's header");
        assert!(own["payload"].is_string());
        assert_eq!(peer.next().await, None, "{header}");
    }
    // A header that is right, of a key that is not among the authorized: the hub's own.
    let mut one = Peer::connect(at(&daemon)).await;
    one.write("{}\n").await;
    let header = one.next().await.expect("the hub's header");
    let mut again = Peer::connect(at(&daemon)).await;
    again.write(&format!("{header}\n")).await;
    again.next().await.expect("the hub's header");
    assert_eq!(again.next().await, None);
}

#[multi_thread_test]
async fn an_invalid_key_file_is_a_configuration_error() {
    let files = Files::new();
    let bad = files.path("bad");
    std::fs::write(&bad, "{\"public\": \"x\", \"private\": \"y\"}").expect("a file");
    for (path, why) in [(bad.as_path(), "bad.json"), (Path::new("/nonexistent.json"), "/nonexistent.json")] {
        let output = Command::new(program())
            .args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--dns-listen", "off"])
            .args(["--seaport-listen", "127.0.0.1:0", "--seaport-key"])
            .arg(path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(SOON, output).await.expect("it ends").expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("--seaport-key") && stderr.contains(why), "{stderr}");
    }
}
