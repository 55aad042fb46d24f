//! The README is a program: its shell snippets run here, in order, in one shell, and their output is compared.
//!
//! How the README is written so that it can be run:
//!
//! - A block tagged `console` holds lines that begin with `$ ` (commands) and below each what it prints. A line
//!   ending in `\` continues in the next.
//! - `...` on a line of its own stands for any lines or none; within a line for any characters. Spaces and tabs
//!   count as one space.
//! - A command prints exactly what is shown, nothing where nothing is shown, and succeeds.
//! - A command ending in `&` stays; what is shown is awaited at the beginning of what it prints. All end with the
//!   test.
//! - Commands that only query ([`QUERIES`]) are repeated for a while, as a person does who is too quick.
//! - In a block tagged `console no-run` the programs must be there, and are not run.

mod console;
mod session;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process;

use console::Command;
use session::{Outcome, Session};
use skyhound_test_support::wait::{SOON, try_until};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

/// For `cargo`, which may have everything to build.
const BUILD: Duration = Duration::from_secs(25 * 60);

/// Commands that change nothing, so that a repetition is harmless.
const QUERIES: [&str; 2] = ["dig ", "etcdctl get "];

/// A line of the README that still waits for real output.
const MISSING: &str = "TODO-OUTPUT";

#[tokio::test]
async fn snippets_do_what_the_readme_says() {
    let missing: Vec<_> = README.lines().zip(1..).filter(|(line, _)| line.contains(MISSING)).map(|(_, n)| n).collect();
    assert!(missing.is_empty(), "README.md has no real output yet in the lines {missing:?}");
    if let Err(problem) = play(README).await {
        panic!("README.md:{problem}");
    }
}

/// The issue that this project began with names two commands that do all the set-up. The README leads with them.
#[test]
fn the_two_commands_are_there() {
    let commands = console::commands(README).unwrap_or_else(|problem| panic!("README.md:{problem}"));
    for (wanted, run) in [("cargo run --release -- serve", true), ("tests/run", false)] {
        let shown = commands.iter().any(|c| c.text.trim_end_matches([' ', '&']) == wanted && c.run == run);
        assert!(shown, "`{wanted}` is not in README.md");
    }
}

#[tokio::test]
async fn the_test_script_explains_its_options() {
    let help = process::Command::new("tests/run").arg("--help").current_dir(ROOT).output().await.expect("tests/run");
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout);
    for option in ["--quick", "--long", "--help"] {
        assert!(help.contains(option), "{option} is not in:\n{help}");
    }
}

#[tokio::test]
async fn one_shell_runs_it_all() {
    let snippet = "```console\n\
        $ cd /; x=1\n$ echo $x $PWD\n1 /\n\
        $ (echo up; exec sleep 1000) &\nup\n\
        $ kill %1; wait\n\
        $ echo 'well; done' >&2\nwell...\n```\n";
    assert_eq!(play(snippet).await, Ok(()));
}

#[tokio::test]
async fn differences_are_reported() {
    for (snippet, expected) in [
        ("$ echo a\nb", "2: $ echo a\n--- the README says\nb\n--- it printed\na\n(and exited with 0)"),
        ("$ false", "exited with 1"),
        ("$ echo a", "it printed\na"),
        ("$ echo a &\nb", "it printed\na\n(and ended)"),
        ("$ exit", "bash ended"),
    ] {
        let problem = play(&format!("```console\n{snippet}\n```\n")).await.expect_err(snippet);
        assert!(problem.contains(expected), "{problem}");
    }
}

/// Plays all console blocks of a text. The error begins with its line number.
async fn play(markdown: &str) -> Result<(), String> {
    let mut session = Session::open(Path::new(ROOT)).map_err(|e| format!("0: no bash: {e}"))?;
    for command in &console::commands(markdown)? {
        println!("$ {}", command.text);
        let done = if command.run { run(&mut session, command).await } else { find(command).await };
        done.map_err(|problem| format!("{}: $ {}\n{problem}", command.line, command.text))?;
    }
    Ok(())
}

async fn run(session: &mut Session, command: &Command) -> Result<(), String> {
    let deadline = if command.text.starts_with("cargo ") { BUILD } else { SOON };
    if command.stays() {
        return begin(session, command, deadline).await;
    }
    let mut ask = async || {
        let Outcome { status, printed } = session.run(&command.text, deadline).await?;
        if status == 0 && console::equals(&command.expected, &printed) {
            return Ok(());
        }
        Err(format!("{}(and exited with {status})", difference(command, &printed)))
    };
    let harmless = QUERIES.iter().any(|question| command.text.starts_with(question));
    if harmless { try_until(deadline, ask).await } else { ask().await }
}

async fn begin(session: &mut Session, command: &Command, deadline: Duration) -> Result<(), String> {
    let job = session.start(&command.text).await?;
    // Without an error there is nothing to wait for: it has printed what is shown, or it has ended.
    let outcome = try_until(deadline, async || {
        // In this order: what it printed before it ended counts.
        let running = job.running();
        let printed = job.printed();
        if console::begins(&command.expected, &printed) {
            return Ok(Ok(()));
        }
        let difference = difference(command, &printed);
        if running { Err(difference) } else { Ok(Err(format!("{difference}(and ended)"))) }
    });
    outcome.await?
}

fn difference(command: &Command, printed: &str) -> String {
    format!("--- the README says\n{}\n--- it printed\n{printed}", command.expected.join("\n"))
}

/// Checks that the first word of a command is a program.
async fn find(command: &Command) -> Result<(), String> {
    let program = command.text.split_whitespace().next().unwrap_or_default();
    let found = process::Command::new("bash")
        .args(["-c", "command -v -- \"$1\"", "bash", program])
        .current_dir(ROOT)
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(|e| e.to_string())?;
    if found.success() { Ok(()) } else { Err(format!("there is no program {program}")) }
}
