//! The snippets of `docs/clients.md`.

use std::net::IpAddr;

const PAGE: &str = include_str!("../../../docs/clients.md");

/// The block with this file name, for a daemon on `ip` instead of 127.0.0.1.
pub fn snippet(file: &str, ip: IpAddr) -> String {
    let mut lines = PAGE.lines();
    let is_head = |line: &str| line.strip_prefix("```").is_some_and(|info| info.split(' ').nth(1) == Some(file));
    assert!(lines.any(is_head), "docs/clients.md has no {file}");
    let body: Vec<_> = lines.take_while(|line| *line != "```").collect();
    let text = body.join("\n") + "\n";
    assert!(text.contains("127.0.0.1"), "{file} names no daemon:\n{text}");
    text.replace("127.0.0.1", &ip.to_string())
}

/// The tests cover every snippet of the page, and no other.
#[test]
fn every_file_of_the_page_is_tried() {
    let heads = PAGE.lines().filter_map(|line| line.strip_prefix("```")?.split_once(' '));
    let mut files: Vec<_> = heads.map(|(_, file)| file).collect();
    files.sort_unstable();
    assert_eq!(files, ["find.go", "find.mjs", "find.py", "haproxy.cfg", "nginx.conf", "unbound.conf"]);
}
