//! The invariants for any input, checked with a small corpus and many thousand changes of it.
//!
//! The same functions are the targets of `fuzz/`. Here they run on every compiler, always on the same inputs:
//! `SKYHOUND_LAWS_SEED` gives others, `SKYHOUND_LAWS_RUNS` more of them. An input that breaks a law is written to
//! `target/tmp/`; put into the corpus, it stays broken until it is mended.

// The modules of a test are its own affair. What is unwrapped and is not there is the failure.
#![allow(clippy::unwrap_used, unreachable_pub)]
#![cfg(target_os = "linux")]

mod law;
mod mutate;

use fastrand::Rng;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The inputs of every run, so that a change which breaks a law breaks it for everybody.
const SEED: u64 = 8906;

fn setting(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invariants/corpus").join(target);
    let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Holds one law against its corpus, and against so many changes of it.
fn hold(target: &str, runs: u64, words: &[&[u8]], law: fn(&[u8])) {
    let (seed, runs) = (setting("SKYHOUND_LAWS_SEED").unwrap_or(SEED), setting("SKYHOUND_LAWS_RUNS").unwrap_or(runs));
    println!("{target}: seed {seed}, {runs} changes");
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    for (path, input) in &corpus {
        try_one(target, &path.display().to_string(), input, law);
    }
    let inputs: Vec<_> = corpus.into_iter().map(|(_, input)| input).collect();
    let (mut random, began) = (Rng::with_seed(seed), Instant::now());
    for run in 0..runs {
        let input = mutate::mutate(&inputs, words, &mut random);
        try_one(target, &format!("change {run} of seed {seed}"), &input, law);
    }
    println!("{target}: {runs} changes in {:?}", began.elapsed());
}

fn try_one(target: &str, what: &str, input: &[u8], law: fn(&[u8])) {
    if catch_unwind(|| law(input)).is_err() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}-broken"));
        std::fs::write(&file, input).unwrap();
        panic!("{target}: {what} breaks the law; it is in {}:\n{}", file.display(), input.escape_ascii());
    }
}

const WIRE: &[&[u8]] = &[
    b"\x03web",
    b"\x04many",
    b"\x06skydns\x04test\0",
    b"\x05other\0",
    b"\x01*",
    b"\x03any",
    b"\x04_web\x04_tcp",
    b"\xc0\x0c",
    b"\0\x01\0\x01",
    b"\0\x21\0\x01",
    b"\0\xff\0\x01",
    b"\0\xfc\0\x01",
    b"\0\x01\0\x03",
    b"\0\0\x29\x04\xd0\0\0\0\0\0\0",
    b"\0\0\x29\x04\xd0\0\x01\x80\0\0\0",
    b"\0\0\x29\0\0\0\0\0\0\0\x04\0\x0a\0\0",
    b"\x01\0\0\x01\0\0\0\0\0\0",
    b"\x01\0\0\x01\0\0\0\0\0\x01",
    b"\0\x1e",
];

#[test]
fn any_datagram() {
    hold("datagram", 20_000, WIRE, law::datagram::holds);
}

#[test]
fn any_stream() {
    hold("stream", 2_000, WIRE, law::stream::holds);
}

#[test]
fn any_stored_value() {
    let words: &[&[u8]] = &[
        br#""host":"#,
        br#""10.0.0.1""#,
        br#""web.skydns.test""#,
        br#""a.any-value.web.skydns.test""#,
        br#""port":"#,
        br#""priority":"#,
        br#""weight":"#,
        br#""ttl":"#,
        br#""mail":true"#,
        br#""text":"#,
        br#""targetstrip":"#,
        br#""group":"#,
        br#""skyhound":{"#,
        b"65535",
        b"4294967295",
        b"-1",
        b"1e3",
        b"null",
        b"\\u0000",
        b"\\ud800",
        b"..",
        b"\\\\",
    ];
    hold("value", 300, words, law::value::holds);
}

#[test]
fn any_name() {
    let words: &[&[u8]] =
        &[b".", b"..", b"\\", b"\\046", b"\\255", b"\\256", b"/", b"//", b"*", b"any", b"\n", b"_tcp."];
    hold("name", 100_000, words, law::name::holds);
}

#[test]
fn any_query_string() {
    let words: &[&[u8]] = &[
        b"&service=",
        b"&port=",
        b"&host=",
        b"&category=",
        b"&prefix=",
        b"&priority=",
        b"&weight=",
        b"&ttl=",
        b"&text=",
        b"&group=",
        b"&version=1.2.3",
        b"&meta.k=",
        b"%2f",
        b"%2e%2e",
        b"%00",
        b"%ff",
        b"+",
        b"*",
        b"any",
        b",",
        b"99999",
    ];
    hold("query", 30_000, words, law::query::holds);
}
