//! Zone files as text (RFC 1035 section 5): reading them, `$ORIGIN` and `$INCLUDE`, and each entry on its own line.
//!
//! Owns: which files are read and how much of them, the line on which an entry begins. Does not own: the meaning of an
//! entry, which hickory's parser decides ([`super::zone`]).
//!
//! hickory's parser receives entries in a form in which it follows RFC 1035. By itself it splits a quoted string within
//! parentheses, rejects `@` as data, reads `\065` in a quoted string as another character, does not name the line in
//! its errors, and follows `$INCLUDE` to any file of any size.

use super::ZoneError;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// The maximum size of a zone file in bytes, with all files that it includes. Zones of this size have 300,000 records,
/// and take a second to read and a few hundred MB; larger ones belong to a dedicated name server.
pub const ZONE_MAX: u64 = 16 * 1024 * 1024;
/// The maximum number of files of one zone.
const FILES_MAX: usize = 64;
/// The maximum depth of included files.
const DEPTH_MAX: usize = 8;

/// The modification time and the length of a file; `None` if it does not exist.
pub(super) type FileVersion = Option<(SystemTime, u64)>;

/// The files of a zone, the zone file first, each with its version just before it was read.
pub(super) type Files = Vec<(PathBuf, FileVersion)>;

/// Returns the modification time and the length of a file.
pub(super) fn file_version(path: &Path) -> FileVersion {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// One entry: a record or a directive.
#[derive(Debug)]
pub(super) struct Entry {
    /// The index of its file in the list of files.
    pub file: usize,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The end of its text in [`Text::whole`].
    pub end: usize,
}

/// The text of a zone, ready for hickory's parser.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub whole: String,
    pub entries: Vec<Entry>,
    remaining: u64,
}

/// One word of an entry, without its quotes and escapes if it is quoted.
struct Word {
    text: String,
    quoted: bool,
}

/// The words of an entry.
struct Line {
    number: usize,
    /// True if it begins with white space: its owner is that of the entry before.
    is_indented: bool,
    words: Vec<Word>,
}

impl Text {
    /// Reads the file of a zone. `files` receives every file that was opened, also if one of them is invalid.
    pub(super) fn read(path: &Path, origin: &str, files: &mut Files) -> Result<Self, ZoneError> {
        let mut text = Self { remaining: ZONE_MAX, ..Self::default() };
        text.file(path, origin, files, 0)?;
        Ok(text)
    }

    fn file(&mut self, path: &Path, origin: &str, files: &mut Files, depth: usize) -> Result<(), ZoneError> {
        let file = files.len();
        files.push((path.to_owned(), file_version(path)));
        let content = self.content(path)?;
        let mut origin = origin.to_owned();
        for line in lines(&content) {
            let invalid = |line, problem| ZoneError::Line { path: path.to_owned(), line, problem };
            let line = line.map_err(|(number, problem)| invalid(number, problem))?;
            let directive = line.words.first().filter(|word| !line.is_indented && !word.quoted);
            let directive = directive.map(|word| word.text.to_ascii_uppercase()).filter(|text| text.starts_with('$'));
            let argument = || match &line.words[..] {
                [_, argument] => Ok(&argument.text),
                _ => Err(invalid(line.number, format!("{} takes one argument", line.words[0].text))),
            };
            match directive.as_deref() {
                None => self.push(file, line.number, &record(&line, &origin)),
                Some("$TTL") => self.push(file, line.number, &format!("$TTL {}", argument()?)),
                Some("$ORIGIN") => {
                    origin = absolute(argument()?, &origin);
                    self.push(file, line.number, &format!("$ORIGIN {origin}"));
                }
                Some("$INCLUDE") => {
                    let included = included(&files[0].0, path, argument()?).map_err(|p| invalid(line.number, p))?;
                    if depth == DEPTH_MAX || files.len() == FILES_MAX {
                        let problem =
                            format!("a zone has at most {FILES_MAX} files, included at most {DEPTH_MAX} deep");
                        return Err(invalid(line.number, problem));
                    }
                    self.file(&included, &origin, files, depth + 1)?;
                    // An included file does not change the origin of this one (RFC 1035 section 5.1).
                    self.push(file, line.number, &format!("$ORIGIN {origin}"));
                }
                Some(other) => {
                    return Err(invalid(
                        line.number,
                        format!("{other} is not supported; use $ORIGIN, $TTL or $INCLUDE"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, file: usize, line: usize, text: &str) {
        self.whole.push_str(text);
        self.whole.push('\n');
        self.entries.push(Entry { file, line, end: self.whole.len() });
    }

    /// Reads one file, within the remaining bytes of [`ZONE_MAX`].
    fn content(&mut self, path: &Path) -> Result<String, ZoneError> {
        let unreadable = |source| ZoneError::Unreadable { path: path.to_owned(), source };
        let invalid = |problem: String| ZoneError::Zone { path: path.to_owned(), problem };
        // Checked before it is opened: opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(invalid("is not a regular file".into()));
        }
        let mut bytes = Vec::new();
        File::open(path).map_err(unreadable)?.take(self.remaining + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let length = bytes.len() as u64;
        if length > self.remaining {
            let max = ZONE_MAX / 1024 / 1024;
            return Err(invalid(format!(
                "a zone has at most {max} MiB including its $INCLUDE files; split it into zones"
            )));
        }
        self.remaining -= length;
        String::from_utf8(bytes).map_err(|error| {
            let before = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n');
            ZoneError::Line { path: path.to_owned(), line: before.count(), problem: "is not UTF-8".into() }
        })
    }
}

/// Returns the path of the file that `$INCLUDE` names: relative to the including file, and below the directory of the
/// zone file, so that a zone that another person maintains reads no other file of this machine.
fn included(zone: &Path, from: &Path, name: &str) -> Result<PathBuf, String> {
    let escapes = || format!("$INCLUDE {name} leads out of the zone file's directory; name a file in it or below it");
    if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(escapes());
    }
    let directory = |path: &Path| path.parent().map(Path::to_owned).filter(|dir| dir != Path::new(""));
    let directory = |path: &Path| directory(path).unwrap_or_else(|| PathBuf::from("."));
    let path = directory(from).join(name);
    let canonical = |path: &Path| path.canonicalize().map_err(|e| format!("cannot include {}: {e}", path.display()));
    if !canonical(&path)?.starts_with(canonical(&directory(zone))?) {
        return Err(escapes());
    }
    Ok(path)
}

/// Returns a name in its absolute form.
fn absolute(name: &str, origin: &str) -> String {
    match (name, origin) {
        ("@", _) => origin.to_owned(),
        (name, _) if name.ends_with('.') => name.to_owned(),
        (name, ".") => format!("{name}."),
        (name, origin) => format!("{name}.{origin}"),
    }
}

/// Formats a record as one line.
fn record(line: &Line, origin: &str) -> String {
    let mut text = String::new();
    for (at, word) in line.words.iter().enumerate() {
        if at > 0 || line.is_indented {
            text.push(' ');
        }
        let bare = &word.text;
        // hickory reads a word that begins like this as a special token; as a quoted string it is the same data.
        let special = at > 0 && bare.starts_with(['$', '@']);
        match () {
            () if !word.quoted && bare == "@" => text.push_str(origin),
            () if word.quoted || special => {
                text.push('"');
                text.push_str(&bare.replace('\\', r"\\").replace('"', "\\\""));
                text.push('"');
            }
            () => text.push_str(bare),
        }
    }
    text
}

/// The entries of a file, each with its words. The last one is an error, if there is one.
fn lines(content: &str) -> impl Iterator<Item = Result<Line, (usize, String)>> {
    let mut chars = content.chars().peekable();
    let mut number = 1;
    std::iter::from_fn(move || {
        loop {
            chars.peek()?;
            match line(&mut chars, &mut number) {
                Ok(line) if line.words.is_empty() => {}
                Ok(line) => return Some(Ok(line)),
                Err(problem) => {
                    // The rest is discarded: it would be parsed with another meaning than it was written with.
                    chars.by_ref().for_each(drop);
                    return Some(Err((number, problem)));
                }
            }
        }
    })
}

/// Reads one entry including the end of its line.
fn line(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, number: &mut usize) -> Result<Line, String> {
    let is_indented = chars.peek().is_some_and(|c| *c == ' ' || *c == '\t');
    let mut line = Line { number: *number, is_indented, words: Vec::new() };
    let mut is_open = false;
    while let Some(&c) = chars.peek() {
        match c {
            ';' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' => {
                chars.next();
                line.words.push(Word { text: quoted(chars)?, quoted: true });
            }
            '(' if is_open => return Err("there is a '(' within parentheses".into()),
            ')' if !is_open => return Err("there is a ')' without its '('".into()),
            '(' | ')' => {
                is_open = c == '(';
                chars.next();
            }
            '\n' => {
                chars.next();
                *number += 1;
                if !is_open {
                    return Ok(line);
                }
            }
            c if c.is_whitespace() => {
                chars.next();
            }
            _ => line.words.push(Word { text: bare(chars)?, quoted: false }),
        }
    }
    if is_open {
        *number = line.number;
        return Err("there is a '(' without its ')'".into());
    }
    Ok(line)
}

/// Reads a word without quotes. Its escapes are those of names, and stay.
fn bare(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '(' | ')');
    let mut text = String::new();
    while let Some(c) = chars.next_if(|c| !ends(*c)) {
        if c == '"' {
            return Err("there is a '\"' within a word; put all of the word into quotes".into());
        }
        if c.is_control() {
            return Err(format!("there is the control character {c:?}"));
        }
        if c == '\\' && chars.peek().is_none_or(|c| ends(*c) || *c == '"') {
            return Err("there is a '\\' before a character that ends a word; put the word into quotes".into());
        }
        text.push(c);
    }
    Ok(text)
}

/// Reads the rest of a quoted string and resolves its escapes.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('"') => return Ok(text),
            None | Some('\n' | '\r') => return Err("a quoted string does not end on its line".into()),
            Some('\\') => match chars.next() {
                Some(first) if first.is_ascii_digit() => {
                    let code: String = [Some(first), chars.next(), chars.next()].into_iter().flatten().collect();
                    let printable = code.parse::<u8>().ok().filter(|code| matches!(code, b' '..=b'~'));
                    let printable =
                        printable.ok_or_else(|| format!("the escape \\{code} is no printable character"))?;
                    text.push(char::from(printable));
                }
                Some(other) if !other.is_control() => text.push(other),
                _ => return Err("there is a '\\' at the end of a line".into()),
            },
            Some(c) => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("z");
        std::fs::write(&path, content).unwrap();
        let strip = |error: ZoneError| error.to_string().replace(&path.display().to_string(), "z");
        Text::read(&path, "example.test.", &mut Vec::new()).map(|text| text.whole).map_err(strip)
    }

    #[test]
    fn entries_become_lines_that_hickory_reads() {
        for (input, read) in [
            ("@ 60 IN MX 10 @ ; c\n", "example.test. 60 IN MX 10 example.test.\n"),
            ("\tTXT ( \"a;b\" ; c\n \"\\065\\\"\" )", " TXT \"a;b\" \"A\\\"\"\n"),
            ("$origin sub\n@ A 10.0.0.1\r\n", "$ORIGIN sub.example.test.\nsub.example.test. A 10.0.0.1\n"),
            ("a TXT $x @y", "a TXT \"$x\" \"@y\"\n"),
            ("\n ; only a comment\n", ""),
        ] {
            assert_eq!(text(input).as_deref(), Ok(read), "{input:?}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (input, problem) in [
            ("\n\na TXT \"x\n", "z:3: a quoted string does not end on its line"),
            ("a (\nb\n\n", "z:1: there is a '(' without its ')'"),
            ("a )", "z:1: there is a ')' without its '('"),
            ("\na b\"c\"\n", "z:2: there is a '\"' within a word; put all of the word into quotes"),
            ("$GENERATE 1-2 a A 10.0.0.$", "z:1: $GENERATE is not supported; use $ORIGIN, $TTL or $INCLUDE"),
            ("$TTL\n", "z:1: $TTL takes one argument"),
            ("a TXT \"\\200\"", "z:1: the escape \\200 is no printable character"),
        ] {
            assert_eq!(text(input), Err(problem.to_owned()), "{input:?}");
        }
    }

    #[test]
    fn included_files_stay_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let zones = dir.path().join("zones");
        std::fs::create_dir_all(zones.join("sub")).unwrap();
        let write = |name: &str, content: &str| std::fs::write(zones.join(name), content).unwrap();
        write("sub/inc", "$ORIGIN other.test.\n$INCLUDE inc2\n");
        write("sub/inc2", "b A 10.0.0.2\n");
        write("loop", "$INCLUDE loop\n");
        write("../secret", "c A 10.0.0.3\n");
        std::os::unix::fs::symlink("../secret", zones.join("link")).unwrap();
        let read = |content: &str| {
            write("z", content);
            let mut files = Vec::new();
            let text = Text::read(&zones.join("z"), "example.test.", &mut files);
            (text.map(|text| text.whole).map_err(|e| e.to_string()), files.len())
        };
        let (text, files) = read("$INCLUDE sub/inc\na A 10.0.0.1\n");
        let lines = "$ORIGIN other.test.\nb A 10.0.0.2\n$ORIGIN other.test.\n$ORIGIN example.test.\na A 10.0.0.1\n";
        assert_eq!((text.as_deref(), files), (Ok(lines), 3));
        for name in ["/etc/passwd", "../secret", "sub/../../secret", "link"] {
            let (text, files) = read(&format!("$INCLUDE {name}\n"));
            assert!(text.unwrap_err().contains("leads out of the zone file's directory"), "{name}");
            assert_eq!(files, 1, "{name} was not opened");
        }
        assert!(read("$INCLUDE nosuch\n").0.unwrap_err().contains("z:1: cannot include"));
        assert!(read("$INCLUDE sub\n").0.unwrap_err().contains("is not a regular file"));
        assert!(read("$INCLUDE loop\n").0.unwrap_err().contains("at most 8 deep"));
    }
}
