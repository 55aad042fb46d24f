//! The `skyhound` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before there is a runtime with its threads: this process is about to turn into another program.
    if let Some(failed) = skyhound::cli::command::become_command(std::env::args_os()) {
        return failed;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("skyhound: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(skyhound::cli::run());
    // A look-up of a server's name that hangs in libc must not hold up the end.
    runtime.shutdown_background();
    code
}
