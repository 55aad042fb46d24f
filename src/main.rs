//! The `skyhound` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before there is a runtime with its threads: this process is about to turn into another program.
    if let Some(failed) = skyhound::cli::command::become_command(std::env::args_os()) {
        return failed;
    }
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    skyhound::cli::run().await
}
