//! A daemon that serves `skydns.test`, with a key or without.

use skyhound::server::STORE_FILE;
use skyhound_model::Key;
use skyhound_store::embedded::Embedded;
use skyhound_store::{Op, Store, Write};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::dnskey::{self, KeyFiles};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The number of instances of `big`: a few UDP answers' worth.
pub const BIG: usize = 200;
/// The number of instances of `huge`: more than fits into an answer over TCP.
const HUGE: usize = 2500;

const ENTRIES: &[(&str, &str)] = &[
    ("web/a", r#"{"host":"10.0.0.10","port":80}"#),
    ("web/b", r#"{"host":"10.0.0.9","port":443,"priority":20,"text":"b"}"#),
    ("web/c", r#"{"host":"2001:db8::1","port":80,"text":"c"}"#),
    ("alias", r#"{"host":"web.skydns.test"}"#),
    ("pool/x", r#"{"host":"alias.skydns.test"}"#),
    ("pool/y", r#"{"host":"web.skydns.test"}"#),
    ("mail/mx", r#"{"host":"web.skydns.test","mail":true}"#),
    ("mx/a", r#"{"host":"10.0.0.25"}"#),
];

pub struct Zone {
    pub daemon: Daemon,
    /// The files of its key, without their extensions.
    pub stem: PathBuf,
    /// The output of `dnssec-keygen`.
    pub ds: String,
    /// The key as delv's configuration has it.
    pub anchor: String,
    /// Its files.
    _dir: TempDir,
    /// Its key, if it is its own.
    key: Option<KeyFiles>,
}

impl Zone {
    /// Signed with a key that `skyhound dnssec-keygen` made.
    pub async fn signed(algorithm: &str) -> Self {
        let key = KeyFiles::make("skydns.test", algorithm).await;
        let mut zone = Self::with_key(&key.stem).await;
        key.ds.clone_into(&mut zone.ds);
        zone.key = Some(key);
        zone
    }

    /// Signed with this key.
    pub async fn with_key(stem: &Path) -> Self {
        let mut zone = Self::start(&["--dnssec-key", stem.to_str().unwrap()]).await;
        let record = dnskey::record(stem);
        let words: Vec<_> = record.split_whitespace().skip_while(|word| *word != "DNSKEY").skip(1).collect();
        zone.anchor = format!("{} {} {} \"{}\"", words[0], words[1], words[2], words[3..].concat());
        stem.clone_into(&mut zone.stem);
        zone
    }

    pub async fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fill(&Embedded::open(&dir.path().join(STORE_FILE)).unwrap()).await;
        let mut all = vec!["--data-dir", dir.path().to_str().unwrap(), "--dns-root", "skydns.test"];
        all.extend(["--local", "web.skydns.test"]);
        all.extend(["--log-level", "warn"].iter().chain(args));
        let daemon = Daemon::start(&all).await;
        Self { daemon, stem: PathBuf::new(), ds: String::new(), anchor: String::new(), _dir: dir, key: None }
    }
}

async fn fill(store: &dyn Store) {
    let put = |key: String, value: String| {
        let op = Op::Put { key: Key::from(format!("/skydns/test/skydns/{key}")), value: value.into(), lease: None };
        Write { guards: Vec::new(), ops: vec![op] }
    };
    let mut writes: Vec<_> = ENTRIES.iter().map(|(k, v)| put((*k).to_owned(), (*v).to_owned())).collect();
    for (name, count) in [("big", BIG), ("huge", HUGE)] {
        let address = |i: usize| format!("10.1.{}.{}", i / 250, i % 250);
        let value = |i| format!(r#"{{"host":"{}","port":{}}}"#, address(i), 1 + i);
        writes.extend((0..count).map(|i| put(format!("{name}/i{i}"), value(i))));
    }
    for group in writes.chunks(100) {
        store.commit(group.to_vec()).await.unwrap();
    }
}
