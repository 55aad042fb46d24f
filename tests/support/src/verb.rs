//! The verbs of the binary, as a shell runs them.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::program;
use super::wait::SOON;

/// The binary with these arguments, and nothing to read.
pub fn skyhound(args: &[&str]) -> Command {
    // A shell's `&` may have had this process ignore SIGINT, and a child process inherits that.
    let mut command = Command::new("env");
    command.args(["--default-signal", program()]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end, which has to be soon.
pub async fn run(mut command: Command) -> Output {
    let ended = tokio::time::timeout(SOON, command.output()).await;
    ended.unwrap_or_else(|_| panic!("{command:?} does not end")).expect("it runs")
}
