//! The `skyhound` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before the runtime starts its threads, because `exec` replaces this process.
    if let Some(exit_code) = skyhound::cli::command::become_command(std::env::args_os()) {
        return exit_code;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("skyhound: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(skyhound::cli::run());
    // A lookup of a server name that hangs in libc must not delay the exit.
    runtime.shutdown_background();
    code
}
