//! The `skyhound` binary.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    skyhound::cli::run().await
}
