//! The boundaries between the crates of the workspace, as far as Cargo does not enforce them.
//!
//! Cargo forbids circles, and nothing else: it would not notice a crate that comes to depend on one that is to know
//! nothing of it.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every library crate, and the crates of the workspace that it may depend on outside its tests.
const ORDER: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("model", &["base"]),
    ("net", &["base"]),
    ("client", &["base", "model", "net"]),
    ("store", &["base", "model"]),
    ("core", &["base", "model", "store"]),
    ("dns", &["base", "core", "model", "net"]),
    ("frontends", &["base", "core", "model", "net"]),
];

/// The names of a package's dependencies in the workspace, with the kinds in which a build uses them.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().expect("a list");
    let used = all.iter().filter(|dependency| dependency["kind"] != "dev");
    used.filter_map(|dependency| dependency["name"].as_str()?.strip_prefix("skyhound-")).collect()
}

#[test]
fn crates_depend_only_on_crates_below_them() {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(ROOT);
    let output = command.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("a list") {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        if !manifest.starts_with(Path::new(ROOT).join("crates")) {
            continue;
        }
        let name = package["name"].as_str().and_then(|name| name.strip_prefix("skyhound-")).expect("a crate of ours");
        let allowed = ORDER.iter().find(|(other, _)| *other == name);
        let (name, allowed) = allowed.unwrap_or_else(|| panic!("{name} has no place in the order of crates"));
        seen.insert(*name);
        let forbidden: Vec<_> = dependencies(package).into_iter().filter(|other| !allowed.contains(other)).collect();
        assert!(forbidden.is_empty(), "skyhound-{name} may not depend on {forbidden:?}");
    }
    assert_eq!(seen, ORDER.iter().map(|(name, _)| *name).collect(), "a crate is missing");
}

/// The Rust files below `crates/NAME/src`.
fn sources(name: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(ROOT).join("crates").join(name).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "rs" => files.push(path),
                _ => {}
            }
        }
    }
    assert!(!files.is_empty(), "crates/{name}/src has no source");
    files
}

/// Returns true if a file is a module that its parent declares for tests alone, itself or by a folder above it.
fn is_for_tests(file: &Path) -> bool {
    let src = Path::new("src").as_os_str();
    let mut module = if file.ends_with("mod.rs") { file.parent().expect("a folder") } else { file }.to_owned();
    while module.file_name().is_some_and(|name| name != src) {
        let name = module.file_stem().expect("a name").to_str().expect("a name in UTF-8");
        let folder = module.parent().expect("a folder").to_owned();
        let parents = [folder.join("mod.rs"), folder.join("lib.rs"), folder.with_extension("rs")];
        let declared = parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|parent| {
            let lines: Vec<_> = parent.lines().map(str::trim).collect();
            let declares = |line: &str| line.ends_with(&format!("mod {name};"));
            lines.iter().enumerate().any(|(at, line)| {
                let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
                declares(line) && above.into_iter().any(|line| is_test_cfg(line))
            })
        });
        if declared {
            return true;
        }
        module = folder;
    }
    false
}

fn is_test_cfg(line: &str) -> bool {
    line.trim_start().starts_with("#[cfg(") && line.contains("test")
}

/// The lines of a source that are neither comments nor below a `#[cfg(test)]`, numbered from 1. rustfmt closes an item
/// at the indentation at which it began.
fn product_lines(text: &str) -> Vec<(usize, &str)> {
    let mut product = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if is_test_cfg(line) {
            let indent = &line[..line.len() - line.trim_start().len()];
            let ends = |line: &str| {
                let rest = line.strip_prefix(indent).filter(|rest| !rest.starts_with(' '));
                rest.is_some_and(|rest| rest.starts_with('}') || rest.ends_with(';') || rest.ends_with('}'))
            };
            // Attributes and documentation between the condition and its item end nothing.
            while lines.next().is_some_and(|(line, _)| line.trim_start().starts_with(['#', '/']) || !ends(line)) {}
        } else if !line.trim_start().starts_with("//") {
            product.push((number, line));
        }
    }
    product
}

/// Panics if the sources of a crate have one of these outside their tests.
fn lacks(name: &str, forbidden: &[&str]) {
    let mut found = Vec::new();
    for file in sources(name).into_iter().filter(|file| !is_for_tests(file)) {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let lines = product_lines(&text).into_iter();
        let bad = lines.filter(|(_, line)| forbidden.iter().any(|word| line.contains(word)));
        found.extend(bad.map(|(number, line)| format!("{}:{number}: {}", file.display(), line.trim())));
    }
    assert!(found.is_empty(), "crates/{name}/src may not have {forbidden:?}:\n{}", found.join("\n"));
}

#[test]
fn readers_do_not_know_the_store() {
    for name in ["dns", "frontends"] {
        lacks(name, &["skyhound_store"]);
    }
}

#[test]
fn the_model_does_no_io() {
    lacks("model", &["tokio", "std::net::Tcp", "std::net::Udp", "TcpStream", "TcpListener", "UdpSocket", "std::fs"]);
}

#[test]
fn product_lines_exclude_tests() {
    let text = "\
use a;
#[cfg(test)]
use b;
fn c() {
    #[cfg(test)]
    d();
    // e
}
#[cfg(test)]
mod tests {
    #[test]
    fn f() {}
}
#[cfg(any(test, feature = \"testing\"))]
#[must_use]
pub fn g() {
    h();
}
fn i() {}
";
    let numbers: Vec<_> = product_lines(text).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 4, 8, 19]);
}
