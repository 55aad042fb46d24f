//! The embedded store in a file: durability, and the errors for files that cannot be used.

use crate::suite::{Bed, LEASE_TTL, TIMEOUT, next};
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::embedded::{Embedded, OpenError};
use skyhound_store::{LEASE_EXPIRY_SLACK, Op, Revision, Store, StoreError, Write};
use skyhound_test_support::wait::wait_until_due;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

fn store_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skyhound.redb");
    (dir, file)
}

conformance!(contract, || async {
    let (dir, file) = store_path();
    Bed::with_resource(Arc::new(Embedded::open(&file).unwrap()), dir)
});

fn put(key: &str, value: &str) -> Write {
    let op = Op::Put { key: Key::from(key), value: Bytes::copy_from_slice(value.as_bytes()), lease: None };
    Write { guards: Vec::new(), ops: vec![op] }
}

#[tokio::test]
async fn a_restart_preserves_everything_acknowledged() {
    let (_dir, file) = store_path();
    let mut store = Embedded::open(&file).unwrap();
    let lease = store.grant(LEASE_TTL * 10).await.unwrap();
    let revoked = store.grant(LEASE_TTL * 10).await.unwrap();
    for round in 0..5 {
        let mut on_lease = put("leased", &round.to_string());
        let Op::Put { lease: of_put, .. } = &mut on_lease.ops[0] else { unreachable!() };
        *of_put = Some(lease);
        let delete = Op::Delete { key: Key::from(format!("{}", round - 1)) };
        let delete = Write { guards: Vec::new(), ops: vec![delete] };
        store.commit(vec![put(&round.to_string(), "x"), on_lease, delete]).await.unwrap();
        let before = store.list(b"").await.unwrap();
        drop(store);
        store = Embedded::open(&file).unwrap();
        assert_eq!(store.list(b"").await.unwrap(), before);
    }
    store.revoke(revoked).await.unwrap();
    drop(store);
    let store = Embedded::open(&file).unwrap();
    assert_eq!(store.renew(&[lease, revoked]).await.unwrap(), [true, false]);
    store.revoke(lease).await.unwrap();
    let keys: Vec<_> = store.list(b"").await.unwrap().items.into_iter().map(|item| item.key).collect();
    assert_eq!(keys, [Key::from("4")]);
}

#[tokio::test]
async fn revisions_and_feeds_continue_after_a_restart() {
    let (_dir, file) = store_path();
    let store = Embedded::open(&file).unwrap();
    let first = store.commit(vec![put("a", "1")]).await.unwrap().revision;
    let last = store.commit(vec![put("a", "2")]).await.unwrap().revision;
    drop(store);
    let store = Embedded::open(&file).unwrap();
    assert_eq!(store.status().await.unwrap().revision, last);
    let before = store.feed(b"", first).await;
    assert!(matches!(before, Err(StoreError::Compacted(after)) if after == first), "{before:?}");
    let mut feed = store.feed(b"", last).await.unwrap();
    let later = store.commit(vec![put("a", "3")]).await.unwrap().revision;
    assert!(later > last);
    assert_eq!(next(&mut feed).await.revision, later);
}

#[tokio::test]
async fn a_restart_renews_every_lease() {
    let (_dir, file) = store_path();
    let store = Embedded::open(&file).unwrap();
    let lease = store.grant(LEASE_TTL).await.unwrap();
    let op = Op::Put { key: Key::from("a"), value: Bytes::new(), lease: Some(lease) };
    let put = store.commit(vec![Write { guards: Vec::new(), ops: vec![op] }]).await.unwrap();
    drop(store);
    let opening = Instant::now();
    let store = Embedded::open(&file).unwrap();
    let due = Instant::now() + LEASE_TTL + LEASE_EXPIRY_SLACK;
    let mut feed = store.feed(b"", put.revision).await.unwrap();
    wait_until_due(due, async || match contents(&store).await {
        contents if contents.is_empty() => Ok(()),
        contents => Err(format!("{contents:?}")),
    })
    .await;
    assert!(opening.elapsed() >= LEASE_TTL, "after {:?}", opening.elapsed());
    next(&mut feed).await;
}

#[tokio::test]
async fn the_file_is_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (state, file) = (dir.path().join("var/lib"), dir.path().join("var/lib/skyhound.redb"));
    let store = Embedded::open(&file).unwrap();
    for (path, expected) in [(&state, 0o700), (&file, 0o600)] {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{} has {mode:o}", path.display());
    }
    let status = store.status().await.unwrap();
    assert_eq!((status.kind, status.location.as_str()), ("disk", file.to_str().unwrap()));
}

// Files that cannot be opened.

/// Returns the error of opening a file, which names the path and the remedy.
fn refusal(file: &Path) -> OpenError {
    let error = Embedded::open(file).expect_err("a refusal");
    let text = error.to_string();
    assert!(text.contains(file.parent().unwrap().to_str().unwrap()) && text.contains(": "), "{text}");
    error
}

#[test]
fn a_file_in_use_is_refused() {
    let (_dir, file) = store_path();
    let first = Embedded::open(&file).unwrap();
    assert!(matches!(refusal(&file), OpenError::InUse { .. }));
    drop(first);
    Embedded::open(&file).unwrap();
}

#[test]
fn a_file_in_use_by_another_process_is_refused() {
    let (_dir, file) = store_path();
    let mut burst = Burst::start(&file);
    assert!(burst.next().is_some());
    assert!(matches!(refusal(&file), OpenError::InUse { .. }));
    burst.kill();
    Embedded::open(&file).unwrap();
}

#[test]
fn an_impossible_path_is_refused() {
    let (_dir, file) = store_path();
    std::fs::write(&file, "").unwrap();
    assert!(matches!(refusal(&file.join("below/a.redb")), OpenError::Io { action: "create the directory", .. }));
    assert!(matches!(refusal(file.parent().unwrap()), OpenError::Io { action: "open", .. }));
}

#[test]
fn a_file_of_another_program_is_refused_unchanged() {
    let (_dir, file) = store_path();
    for content in ["not a store", &"not a store either ".repeat(1000)] {
        std::fs::write(&file, content).unwrap();
        let error = refusal(&file);
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    }
    std::fs::remove_file(&file).unwrap();
    let other = redb::Database::create(&file).unwrap();
    let transaction = other.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    transaction.commit().unwrap();
    drop(other);
    assert!(matches!(refusal(&file), OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_damaged_file_is_refused_or_read_in_full() {
    let (dir, file) = store_path();
    let store = Embedded::open(&file).unwrap();
    let mut expected = BTreeMap::new();
    for n in 0..300 {
        let (key, value) = (format!("key {n}"), format!("value {n}").repeat(20));
        store.commit(vec![put(&key, &value)]).await.unwrap();
        expected.insert(key, value);
    }
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let (mut refused, copy) = (0, dir.path().join("copy.redb"));
    for at in (0..whole.len()).step_by(whole.len() / 200) {
        let mut damaged = whole.clone();
        damaged[at..].iter_mut().take(16).for_each(|byte| *byte = !*byte);
        std::fs::write(&copy, damaged).unwrap();
        match Embedded::open(&copy) {
            Ok(store) => assert_eq!(contents(&store).await, expected, "damaged at {at}"),
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("damaged at {at}: {other}"),
        }
    }
    assert!(refused > 0, "no damage was noticed");
    std::fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refusal(&copy), OpenError::Damaged { .. }));
}

async fn contents(store: &Embedded) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let items = store.list(b"").await.unwrap().items;
    items.iter().map(|item| (text(item.key.as_bytes()), text(&item.value))).collect()
}

// A process that is killed while it writes: this test program, started with the name of one test.

/// Environment variable with the path of the child's file; without it the child's test does nothing.
const BURST_FILE: &str = "SKYHOUND_TEST_BURST_FILE";
/// Prefix of the child's lines about numbers that were written.
const ACKNOWLEDGED: &str = "acknowledged ";

/// A process that commits 0, 1, 2, … and prints each number after its acknowledgement.
struct Burst {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// Last number that was acknowledged.
    last: Option<u64>,
}

impl Burst {
    fn start(file: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "disk::burst_of_writes", "--nocapture", "--test-threads=1"]);
        let mut child = command.env(BURST_FILE, file).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, last: None }
    }

    /// Returns the next number that was acknowledged; `None` at the end.
    fn next(&mut self) -> Option<u64> {
        // The test program may have printed the test's name in the same line.
        let next = self.lines.find_map(|line| line.unwrap().split_once(ACKNOWLEDGED)?.1.parse().ok());
        self.last = next.or(self.last);
        next
    }

    /// Kills the process (SIGKILL), and reads the rest of its output.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while self.next().is_some() {}
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn burst_of_writes() {
    #[expect(clippy::disallowed_methods, reason = "a parameter of the parent test, not a setting")]
    let Ok(file) = std::env::var(BURST_FILE) else { return };
    let store = Arc::new(Embedded::open(Path::new(&file)).unwrap());
    let start = store.status().await.unwrap().revision.0;
    let mut commits = std::collections::VecDeque::new();
    // Several at a time, so that the kill interrupts groups. They are acknowledged in order. The time limit is for a
    // parent that died.
    let end = Instant::now() + TIMEOUT;
    for n in start.. {
        let store = Arc::clone(&store);
        commits.push_back((n, tokio::spawn(async move { store.commit(vec![put(&n.to_string(), "x")]).await })));
        if commits.len() == 8 {
            let (n, commit) = commits.pop_front().unwrap();
            commit.await.unwrap().unwrap();
            writeln!(std::io::stdout(), "{ACKNOWLEDGED}{n}").unwrap();
        }
        if Instant::now() > end {
            return;
        }
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_burst_loses_nothing_acknowledged() {
    let (_dir, file) = store_path();
    let mut revision = Revision(0);
    for round in 1..=5 {
        let mut burst = Burst::start(&file);
        for _ in 0..20 * round {
            burst.next().expect("a burst that continues");
        }
        burst.kill();
        let last = burst.last.expect("an acknowledged write");
        let store = Embedded::open(&file).unwrap();
        let listing = store.list(b"").await.unwrap();
        let present: std::collections::BTreeSet<_> = contents(&store).await.into_keys().collect();
        let missing: Vec<_> = (0..=last).filter(|n| !present.contains(&n.to_string())).collect();
        assert!(missing.is_empty(), "round {round}: of 0..={last} lost {missing:?}");
        // One change, one revision: the revision counts exactly the changes that are present.
        assert_eq!(listing.revision.0, present.len() as u64);
        assert!(listing.revision > revision);
        revision = listing.revision;
    }
}
