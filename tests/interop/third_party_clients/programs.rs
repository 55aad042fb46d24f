//! Programs that query DNS themselves, in three languages.

use crate::third_party_clients::shop::Shop;
use crate::third_party_clients::snippet::snippet;
use crate::third_party_clients::{python, tool};
use skyhound_test_support::multi_thread_test;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

/// Runs a program, and takes the first word of each line that it prints. Without an instance it fails.
async fn ask(program: &Path, arguments: &[&str], dir: &Path) -> Result<BTreeSet<String>, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    let done = command.output().await.map_err(|e| e.to_string())?;
    if !done.status.success() {
        return Err(format!("{done:?}"));
    }
    let printed = String::from_utf8_lossy(&done.stdout);
    let mut found = BTreeSet::new();
    for line in printed.lines() {
        let (target, port) = line.split_once(' ').ok_or_else(|| printed.to_string())?;
        assert_eq!(port, "8080", "{printed}");
        found.insert(target.to_owned());
    }
    Ok(found)
}

/// A directory with the program in it.
fn written(file: &str, shop: &Shop) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join(file), snippet(file, shop.ip())).expect("it can be written");
    dir
}

#[multi_thread_test]
async fn go_finds_them() {
    let Some(go) = tool("go") else { return };
    let shop = Shop::open().await;
    let dir = written("find.go", &shop);
    let built = Command::new(go).args(["build", "-o", "find", "find.go"]).current_dir(dir.path()).output().await;
    let built = built.expect("go runs");
    assert!(built.status.success(), "{built:?}");
    // It prints names, as an SRV record has them.
    let dig = shop.daemon.dig();
    let find = async || {
        let mut found = BTreeSet::new();
        for name in ask(&dir.path().join("find"), &[], dir.path()).await? {
            let addresses = dig.query(&name, "A").await.map_err(|e| e.to_string())?;
            let address = addresses.answer.first().ok_or_else(|| format!("{name} has gone meanwhile"))?;
            found.insert(address.data.clone());
        }
        Ok(found)
    };
    shop.found_by("Go", find).await;
}

#[multi_thread_test]
async fn node_finds_them() {
    let Some(node) = tool("node") else { return };
    let shop = Shop::open().await;
    let dir = written("find.mjs", &shop);
    shop.found_by("Node", async || ask(&node, &["find.mjs"], dir.path()).await).await;
}

#[multi_thread_test]
async fn python_finds_them() {
    let Some(python) = python() else { return };
    let shop = Shop::open().await;
    let dir = written("find.py", &shop);
    shop.found_by("Python", async || ask(python, &["find.py"], dir.path()).await).await;
}
