//! The vocabulary of the glossary: code, texts and documentation use none of the terms that it replaces.
//!
//! The patterns are in the last section of `docs/glossary.md`, with the rules of what each kind is matched against.
//! A second test compares `docs/guarantees.md` with the tests that it names.

use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GLOSSARY: &str = include_str!("../docs/glossary.md");
/// The folders with Rust sources.
const SOURCES: [&str; 6] = ["src", "crates", "tests", "benches", "examples", "fuzz"];
/// Findings that a failure lists.
const SHOWN: usize = 60;

/// A replaced term: where it must not occur, and the standard term.
struct Rule {
    kind: String,
    pattern: Regex,
    standard: String,
}

fn rules() -> Vec<Rule> {
    let block = GLOSSARY.split("```replaced-terms\n").nth(1).expect("the block of replaced terms");
    let block = block.split("```").next().expect("the end of the block");
    let rule = |line: &str| {
        let (kind, rest) = line.split_once(' ').expect("a kind and a pattern");
        let (pattern, standard) = rest.rsplit_once("  # ").expect("a pattern and the standard term");
        let pattern = Regex::new(pattern).unwrap_or_else(|error| panic!("{line}: {error}"));
        Rule { kind: kind.to_owned(), pattern, standard: standard.to_owned() }
    };
    block.lines().filter(|line| !line.is_empty()).map(rule).collect()
}

/// All files below a folder with one of these extensions. Folders of builds and of installed packages are left out.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() && matches!(name, "target" | "node_modules" | ".git") => {}
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extensions.contains(&extension) => found.push(path),
                _ => {}
            }
        }
    }
    found
}

/// The parts of a line of Rust. Block comments and strings over several lines are not used for code here, so that a
/// line is read by itself.
#[derive(Default)]
struct Parts {
    code: String,
    strings: Vec<String>,
    comment: String,
}

fn parts(line: &str) -> Parts {
    let mut parts = Parts::default();
    let mut rest = line;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        parts.code.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest.clone_into(&mut parts.comment);
            return parts;
        }
        let length = match rest.as_bytes() {
            [b'"', ..] => string(rest),
            // A character; a lifetime has no second quote.
            [b'\'', b'\\', _, b'\'', ..] => 4,
            [b'\'', _, b'\'', ..] => 3,
            _ => 0,
        };
        if length == 0 {
            parts.code.push_str(&rest[..1]);
            rest = &rest[1..];
        } else {
            parts.strings.push(rest.get(1..length - 1).unwrap_or_default().to_owned());
            parts.code.push(' ');
            rest = &rest[length..];
        }
    }
    parts.code.push_str(rest);
    parts
}

/// The length of the string literal that a text starts with; the rest of the line if it does not end there.
fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Findings by kind: file, line, the text that matched, and the standard term.
type Findings = BTreeMap<String, Vec<String>>;

fn check(findings: &mut Findings, rules: &[Rule], kind: &str, place: &str, text: &str) {
    for rule in rules.iter().filter(|rule| rule.kind == kind) {
        if let Some(found) = rule.pattern.find(text) {
            let found = found.as_str().trim();
            findings.entry(kind.to_owned()).or_default().push(format!("{place}: {found:?}: {}", rule.standard));
        }
    }
}

fn check_rust(findings: &mut Findings, rules: &[Rule], file: &Path) {
    let text = fs::read_to_string(file).expect("a file in UTF-8");
    let metric = Regex::new(r"\bskyhound_[a-z_]+").expect("a pattern");
    let name = file.strip_prefix(ROOT).expect("a file below the root").display().to_string();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let parts = parts(line);
        check(findings, rules, "identifier", &place, &parts.code);
        check(findings, rules, "phrase", &place, &parts.comment);
        for string in &parts.strings {
            check(findings, rules, "phrase", &place, string);
            metric.find_iter(string).for_each(|metric| check(findings, rules, "metric", &place, metric.as_str()));
        }
    }
}

fn check_markdown(findings: &mut Findings, rules: &[Rule], file: &Path) {
    let text = fs::read_to_string(file).expect("a file in UTF-8");
    let name = file.strip_prefix(ROOT).expect("a file below the root").display().to_string();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        if let Some(heading) = line.strip_prefix('#') {
            check(findings, rules, "heading", &place, heading.trim_start_matches('#').trim());
        }
        for kind in ["phrase", "flag", "metric"] {
            check(findings, rules, kind, &place, line);
        }
    }
}

#[test]
fn code_and_documentation_use_the_terms_of_the_glossary() {
    let rules = rules();
    assert!(rules.len() > 50, "the block of replaced terms is read");
    let mut findings = Findings::new();
    for folder in SOURCES {
        for file in files(&Path::new(ROOT).join(folder), &["rs"]) {
            check_rust(&mut findings, &rules, &file);
        }
    }
    for file in files(Path::new(ROOT), &["md"]) {
        if !file.ends_with("docs/glossary.md") {
            check_markdown(&mut findings, &rules, &file);
        }
    }
    let count: usize = findings.values().map(Vec::len).sum();
    let counts: Vec<_> = findings.iter().map(|(kind, found)| format!("{} {kind}", found.len())).collect();
    let shown: Vec<_> = findings.into_values().flatten().take(SHOWN).collect();
    assert_eq!(count, 0, "replaced terms ({}); see docs/glossary.md:\n{}", counts.join(", "), shown.join("\n"));
}

#[test]
fn the_tests_that_guarantees_name_exist() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/guarantees.md")).expect("the page");
    let reference = Regex::new(r"`([\w./-]+\.rs)::(\w+)`|`([\w./-]+/)`").expect("a pattern");
    let mut count = 0;
    for found in reference.captures_iter(&page) {
        count += 1;
        if found[0].contains("path/to/") {
            continue;
        }
        let Some((file, function)) = found.get(1).zip(found.get(2)) else {
            assert!(
                Path::new(ROOT).join(&found[3]).is_dir(),
                "docs/guarantees.md names {}, which is no folder",
                &found[3]
            );
            continue;
        };
        let (file, function) = (file.as_str(), function.as_str());
        let text = fs::read_to_string(Path::new(ROOT).join(file));
        let text = text.unwrap_or_else(|error| panic!("docs/guarantees.md names {file}: {error}"));
        let defines = Regex::new(&format!(r"\bfn {function}\b")).expect("a pattern");
        assert!(defines.is_match(&text), "docs/guarantees.md names {function}, which {file} does not define");
    }
    assert!(count > 50, "references are found: {count}");
}
