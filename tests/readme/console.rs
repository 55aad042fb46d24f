//! Console blocks of Markdown, and the comparison of a command's output with its block.

/// One command of the README.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The line number, counted from 1.
    pub(crate) line: usize,
    /// The text of the command, with its continuation lines.
    pub(crate) text: String,
    /// The lines shown below it, without blank ones at the end.
    pub(crate) expected: Vec<String>,
    /// True if the block is one to run.
    pub(crate) run: bool,
}

impl Command {
    /// Returns true if it continues in the background.
    pub(crate) fn stays(&self) -> bool {
        self.text.ends_with('&') && !self.text.ends_with("&&")
    }
}

/// All commands of all console blocks, in order. The error begins with its line number.
///
/// A snippet that this test would not see is an error, too: a shell's tag, or a prompt in a block of another tag.
pub(crate) fn commands(markdown: &str) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut block_starts = false;
    let mut lines = markdown.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(tag) = line.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(tag.trim()) };
            if matches!(fence, Some("sh" | "bash" | "shell" | "zsh")) {
                return Err(format!("{number}: tag shell snippets `console`, so that they are run"));
            }
            block_starts = true;
            continue;
        }
        match (fence, line.strip_prefix("$ ")) {
            (Some("console" | "console no-run"), Some(first_line)) => {
                let mut text = first_line.to_owned();
                while text.ends_with('\\') {
                    let (more, _) = lines.next().ok_or_else(|| format!("{number}: the command does not end"))?;
                    text.push('\n');
                    text.push_str(more.strip_prefix("> ").unwrap_or(more));
                }
                commands.push(Command { line: number, text, expected: Vec::new(), run: fence == Some("console") });
            }
            (Some("console" | "console no-run"), None) if block_starts => {
                return Err(format!("{number}: a console block begins with a command: `$ …`"));
            }
            (Some("console" | "console no-run"), None) => {
                commands.last_mut().expect("the block began with one").expected.push(line.to_owned());
            }
            (Some(tag), Some(_)) => return Err(format!("{number}: a command in a block tagged `{tag}`")),
            (Some(_), None) | (None, _) => {}
        }
        block_starts = false;
    }
    if fence.is_some() {
        return Err("0: the last code block does not end".to_owned());
    }
    for command in &mut commands {
        while command.expected.last().is_some_and(|line| line.trim().is_empty()) {
            command.expected.pop();
        }
    }
    Ok(commands)
}

/// Returns true if a command that ended printed exactly the lines shown.
pub(crate) fn equals(shown: &[String], printed: &str) -> bool {
    let printed: Vec<_> = printed.trim_end().lines().collect();
    lines_match(shown, &printed, false)
}

/// Returns true if a command that continues has printed the lines shown, and perhaps more.
pub(crate) fn begins(shown: &[String], printed: &str) -> bool {
    let printed: Vec<_> = printed.lines().collect();
    lines_match(shown, &printed, true)
}

fn lines_match(shown: &[String], printed: &[&str], more: bool) -> bool {
    match shown.split_first() {
        None => more || printed.is_empty(),
        Some((any, shown)) if any.trim() == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(shown, &printed[skipped..], more))
        }
        Some((first, shown)) => printed
            .split_first()
            .is_some_and(|(line, printed)| line_matches(first, line) && lines_match(shown, printed, more)),
    }
}

fn line_matches(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (one_space(shown), one_space(printed));
    let Some((first, others)) = shown.split_once("...") else { return shown == printed };
    let (middle, last) = others.rsplit_once("...").unwrap_or(("", others));
    let rest = printed.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    // The earliest place for a piece leaves the most for those that follow.
    rest.is_some_and(|rest| {
        middle.split("...").try_fold(rest, |rest, piece| rest.split_once(piece).map(|(_, after)| after)).is_some()
    })
}

fn one_space(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn blocks_become_commands() {
    let markdown =
        "text\n```console\n$ one \\\n    --more\nout\n\nput\n\n$ two &\n```\n\n```console no-run\n$ three\n```\n";
    let command = |line, text: &str, expected: &[&str], run| Command {
        line,
        text: text.to_owned(),
        expected: expected.iter().map(|&line| line.to_owned()).collect(),
        run,
    };
    let expected = vec![
        command(3, "one \\\n    --more", &["out", "", "put"], true),
        command(9, "two &", &[], true),
        command(13, "three", &[], false),
    ];
    assert_eq!(commands(markdown), Ok(expected));
}

#[test]
fn no_snippet_hides() {
    for hidden in
        ["```sh\nrm -r x\n```", "```text\n$ rm\n```", "```\n$ rm\n```", "```console\nrm\n```", "```console\n$ rm\n"]
    {
        assert!(commands(hidden).is_err(), "{hidden}");
    }
}

#[test]
fn dots_stand_for_what_varies() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (shown, printed) in [
        ("a  b", "a\tb\n"),
        ("", "\n"),
        ("...", ""),
        ("...\nend", "x\ny\nend\n"),
        ("a\n...\nb", "a\nb"),
        ("took ... ms, id ...", "took 3 ms, id 8f"),
        ("a...a...b", "aaab"),
    ] {
        assert!(equals(&lines(shown), printed), "{shown:?} {printed:?}");
    }
    for (shown, printed) in [("a", "a\nb"), ("a...a", "a"), ("...\nend", "end\nx"), ("", "x"), ("a", "")] {
        assert!(!equals(&lines(shown), printed), "{shown:?} {printed:?}");
    }
    assert!(begins(&lines("a"), "a\nb") && begins(&[], "") && !begins(&lines("a"), ""));
}
