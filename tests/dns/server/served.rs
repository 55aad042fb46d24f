//! A server over a small store, and `dig` with its answer taken apart.

use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, Health};
use skyhound_dns::{DnsServer, DnsSettings};
use skyhound_model::{Key, Layout, Name};
use skyhound_store::{Batch, Change, Item, Revision, Store};
use skyhound_test_support::read_only_store::ReadOnlyStore;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::process::Command;
use tokio::task::JoinHandle;

fn item(key: &str, value: &str, revision: Revision) -> Item {
    let value = value.as_bytes().to_vec().into();
    Item { key: Key::from(format!("/skydns/test/skydns/{key}")), value, revision, lease: None }
}

/// The settings of every server here: one zone, everything else at its default.
pub(crate) fn settings() -> DnsSettings {
    DnsSettings::new(vec![Name::parse("skydns.test").unwrap()])
}

/// A server that answers.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    pub(crate) server: DnsServer,
    catalog: Arc<Catalog>,
    store: Arc<ReadOnlyStore>,
    following: Option<JoinHandle<()>>,
}

impl Served {
    /// Answers from these entries, keys given below the zone.
    pub(crate) async fn start(entries: Vec<(String, String)>) -> Self {
        Self::start_with(entries, settings()).await
    }

    /// The same with these settings.
    pub(crate) async fn start_with(entries: Vec<(String, String)>, settings: DnsSettings) -> Self {
        let items = entries.iter().map(|(key, value)| item(key, value, Revision(1))).collect();
        let mut served = Self::unread_with(ReadOnlyStore::of(items), settings).await;
        let store: Arc<dyn Store> = served.store.clone();
        let follow = Follow { store, compare_every: COMPARE_EVERY };
        served.following = Some(tokio::spawn(follow.run(served.catalog())));
        served.catalog.ready().await;
        served
    }

    /// Answers while its store was never read.
    pub(crate) async fn unread() -> Self {
        Self::unread_with(ReadOnlyStore::default(), settings()).await
    }

    async fn unread_with(store: ReadOnlyStore, settings: DnsSettings) -> Self {
        let catalog = Catalog::new(Keyspace::from(Layout::new("/skydns")));
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = DnsServer::bind(&[listen], settings, catalog.clone()).await.unwrap();
        Self { addr: server.local_addrs()[0], server, catalog, store: Arc::new(store), following: None }
    }

    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    /// Puts an entry; returns when the catalog has it.
    pub(crate) async fn put(&self, key: &str, value: &str) {
        let revision = Revision(2);
        let sender = self.store.sender().expect("a feed");
        let changes = vec![Change::Put(item(key, value, revision))];
        sender.send(Ok(Batch { revision, changes })).await.unwrap();
        self.catalog.reached(revision).await;
    }

    /// Ends the feed, and does not list again; returns when the catalog has noticed.
    pub(crate) async fn lose_store(&self) {
        self.store.lose();
        while self.catalog.health() == Health::Current {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        if let Some(following) = &self.following {
            following.abort();
        }
        self.server.shutdown().await;
    }
}

/// A response as `dig` printed it.
#[derive(Debug)]
pub(crate) struct DigResponse {
    pub(crate) status: String,
    pub(crate) flags: String,
    /// `TTL TYPE data`: the owner is the question.
    pub(crate) answers: Vec<String>,
    /// `owner TTL TYPE data`.
    pub(crate) authority: Vec<String>,
    /// `owner TTL TYPE data`.
    pub(crate) additional: Vec<String>,
    /// The message in bytes.
    pub(crate) size: usize,
    /// All that was printed.
    pub(crate) text: String,
}

/// Asks with the real `dig`. One try: a lost answer is a failure here, not a retry.
pub(crate) async fn dig(server: SocketAddr, args: &[&str]) -> DigResponse {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+tries=1", "+time=10", "+norecurse", "+nocookie"])
        .args(args)
        .output()
        .await
        .expect("dig is installed (bind9-dnsutils)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?} {text}");
    let between = |from: &str, to: &str| {
        let begin = text.find(from).map_or(0, |at| at + from.len());
        text[begin..].split(to).next().unwrap_or_default().trim().to_owned()
    };
    DigResponse {
        status: between("status: ", ","),
        flags: between(";; flags: ", ";"),
        answers: section(&text, "ANSWER").iter().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect(),
        authority: section(&text, "AUTHORITY"),
        additional: section(&text, "ADDITIONAL"),
        size: between("MSG SIZE  rcvd: ", "\n").parse().unwrap(),
        text,
    }
}

/// The records of a section, each with single spaces and without its class.
fn section(text: &str, name: &str) -> Vec<String> {
    let head = format!(";; {name} SECTION:");
    let lines = text.lines().skip_while(|line| *line != head).skip(1).take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut words: Vec<_> = line.split_whitespace().collect();
            words.remove(2);
            words.join(" ")
        })
        .collect()
}
