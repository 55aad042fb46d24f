//! The same cases, asked of the handler within a `hickory_server::Server`, as `examples/embed.rs` mounts it.
//!
//! Its answers are those of the daemon, but for [`OTHERWISE`]: what hickory's encoder and listeners do by themselves.

use super::upstream::Upstream;
use super::vectors::{self, Choice, File};
use super::{Tally, judge, load};
use hickory_server::Server;
use skyhound::config::RawSettings;
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, Keyspace};
use skyhound_dns::handler::Handler;
use skyhound_store::Store;
use skyhound_store::embedded::Embedded;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::{SOON, try_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// Cases that a `hickory_server::Server` answers otherwise.
const OTHERWISE: &[(&str, &str)] =
    &[("large-truncated.2000-aaaa-tcp", "hickory's encoder compresses 120 names: fewer records fit into 64 KiB")];

/// A handler within a server. It ends when dropped.
struct Mounted {
    addr: SocketAddr,
    _server: Server<Handler>,
    following: JoinHandle<()>,
}

impl Mounted {
    async fn start(file: &File, upstream: Option<SocketAddr>) -> Self {
        let store = Arc::new(Embedded::in_memory().unwrap());
        load::load(store.as_ref(), file, upstream).await;
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(file, upstream, &dir);
        let catalog = Catalog::new(Keyspace::from(settings.layout.clone()));
        let follow = Follow { store: Arc::clone(&store) as Arc<dyn Store>, compare_every: COMPARE_EVERY };
        let following = tokio::spawn(follow.run(Arc::clone(&catalog)));
        catalog.ready().await;
        let handler = Handler::new(catalog, settings.dns);
        // Another port when UDP's is taken.
        let (udp, tcp) = try_until(SOON, async || {
            let udp = UdpSocket::bind("127.0.0.1:0").await?;
            let tcp = TcpListener::bind(udp.local_addr()?).await?;
            Ok::<_, std::io::Error>((udp, tcp))
        })
        .await
        .unwrap();
        let addr = udp.local_addr().unwrap();
        let mut server = Server::new(handler);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 16);
        Self { addr, _server: server, following }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// The settings of a file's cases, as the daemon gets them by flags.
fn settings(file: &File, upstream: Option<SocketAddr>, dir: &tempfile::TempDir) -> skyhound::config::Settings {
    let mut raw = RawSettings { in_memory: Some(true), dns_root: file.zones.clone(), ..RawSettings::default() };
    if let Some(key) = &file.key {
        let stem = dir.path().join(&key.stem);
        for (extension, text) in [("key", &key.public), ("private", &key.private)] {
            std::fs::write(format!("{}.{extension}", stem.display()), text).unwrap();
        }
        raw.dnssec_key.push(stem);
    }
    raw.nameserver.extend(upstream.map(|addr| addr.to_string()));
    let lines = file.config.iter().map(|(setting, value)| match value.parse::<u64>() {
        Ok(number) => format!("{setting} = {number}\n"),
        Err(_) if value == "true" || value == "false" => format!("{setting} = {value}\n"),
        Err(_) => format!("{setting} = {value:?}\n"),
    });
    let config = dir.path().join("config.toml");
    std::fs::write(&config, lines.collect::<String>()).unwrap();
    raw.or(RawSettings::read(&config).unwrap()).resolve().unwrap()
}

#[multi_thread_test]
async fn a_hickory_server_answers_as_the_originals_do() {
    let choices = vectors::choices();
    let mut tally = Tally::default();
    for file in vectors::files() {
        ask(&file, None, &choices, &mut tally).await;
        if let Some(records) = &file.upstream {
            let upstream = Upstream::start(records).await;
            ask(&file, Some(upstream.addr), &choices, &mut tally).await;
        }
    }
    let Tally { passed, otherwise, failed } = &tally;
    eprintln!("hickory-server: {passed} passed, {otherwise} answered otherwise by choice, {} failed", failed.len());
    let listed = |failure: &str| OTHERWISE.iter().any(|(case, _)| failure.starts_with(&format!("{case}:")));
    let unexpected: Vec<_> = failed.iter().filter(|failure| !listed(failure)).cloned().collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    for (case, why) in OTHERWISE {
        assert!(failed.iter().any(|failure| failure.starts_with(&format!("{case}:"))), "{case} is met: {why}");
    }
}

async fn ask(file: &File, upstream: Option<SocketAddr>, choices: &[Choice], tally: &mut Tally) {
    let is_asked =
        |case: &&vectors::Case| if upstream.is_some() { !case.needs_no_upstream } else { !case.needs_upstream };
    let cases: Vec<_> = file.cases.iter().filter(is_asked).collect();
    if cases.is_empty() {
        return;
    }
    let mounted = Mounted::start(file, upstream).await;
    for case in cases {
        judge(file, case, mounted.addr, choices, tally).await;
    }
}
