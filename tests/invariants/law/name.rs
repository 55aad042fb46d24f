//! Any text as a name, and any bytes as a key: what is read can be written, and is read the same again.

use skyhound_model::{Label, Layout, Name};

/// The longest name, with the length bytes of its labels (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 255;

/// Text ↔ name ↔ key. The first line is a prefix of keys, the rest a name and a key.
pub fn holds(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (prefix, text) = text.split_once('\n').unwrap_or(("/skydns", &text));
    let layout = Layout::new(prefix);
    assert!(layout.prefix().starts_with('/') && layout.prefix().ends_with('/') && !layout.prefix().contains("//"));
    assert_eq!(Layout::new(layout.prefix()), layout, "a prefix that was cleaned is clean");
    if let Ok(name) = Name::parse(text) {
        whole(&name);
        there_and_back(&layout, &name);
    }
    let path = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes, |at| &bytes[at + 1..]);
    for key in [bytes, &[layout.prefix().as_bytes(), path].concat()] {
        if let Ok(name) = layout.name(key) {
            assert!(key.starts_with(layout.prefix().as_bytes()), "nothing outside is a name");
            whole(&name);
            assert!(there_and_back(&layout, &name), "what came from a key has a key");
        }
    }
    if let Ok(label) = Label::registrable(text) {
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        assert!(label.as_bytes().iter().all(plain) && label.wildcard().is_none());
    }
}

/// Checks that a name has the right size, is in lower case, and survives printing and parsing.
fn whole(name: &Name) {
    assert!(name.wire_len() <= NAME_MAX);
    for label in name.labels() {
        assert!((1..=63).contains(&label.as_bytes().len()));
        assert!(!label.as_bytes().iter().any(u8::is_ascii_uppercase));
    }
    let text = name.to_string();
    assert!(text.is_ascii() && text.ends_with('.'));
    assert_eq!(Name::parse(&text).as_ref(), Ok(name), "{text}");
}

/// Returns whether a name has a key; if so, the key is below the prefix and leads back.
fn there_and_back(layout: &Layout, name: &Name) -> bool {
    let Ok(key) = layout.key(name) else { return false };
    assert!(key.as_bytes().starts_with(layout.prefix().as_bytes()));
    assert_eq!(layout.name(key.as_bytes()).as_ref(), Ok(name));
    true
}
