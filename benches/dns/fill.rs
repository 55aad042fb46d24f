//! Writes entries into a store file that `skyhound serve --data-dir` then reads: `fill DIR < lines`, each line a
//! key and its value with a tab between. Run by `benches/dns/compare`.

// A tool of the bench: what goes wrong ends it.
#![allow(clippy::unwrap_used)]

use skyhound::server::STORE_FILE;
use skyhound_model::Key;
use skyhound_store::embedded::Embedded;
use skyhound_store::{COMMIT_MAX, Op, Store, WRITE_MAX, Write};
use std::io::BufRead;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Commits under way at one time; the writer makes one group, and one fsync, of them.
const AT_ONCE: usize = 256;

#[tokio::main]
async fn main() {
    // `cargo bench` and `cargo test` call every target; without a directory there is nothing to do.
    let Some(dir) = std::env::args_os().nth(1).filter(|arg| !arg.to_string_lossy().starts_with('-')) else { return };
    std::fs::create_dir_all(&dir).unwrap();
    let store = Arc::new(Embedded::open(&std::path::Path::new(&dir).join(STORE_FILE)).unwrap());
    let mut lines = std::io::stdin().lock().lines().map(Result::unwrap).peekable();
    let (mut commits, mut entries) = (JoinSet::new(), 0);
    while lines.peek().is_some() {
        let puts: Vec<Op> = lines.by_ref().take(COMMIT_MAX * WRITE_MAX).map(|line| put(&line)).collect();
        entries += puts.len();
        let writes = puts.chunks(WRITE_MAX).map(|ops| Write { guards: Vec::new(), ops: ops.to_vec() }).collect();
        if commits.len() >= AT_ONCE {
            commits.join_next().await;
        }
        let store = Arc::clone(&store);
        commits.spawn(async move { store.commit(writes).await.unwrap() });
    }
    commits.join_all().await;
    eprintln!("{entries} entries written");
}

fn put(line: &str) -> Op {
    let (key, value) = line.split_once('\t').unwrap();
    Op::Put { key: Key::from(key), value: value.as_bytes().to_vec().into(), lease: None }
}
