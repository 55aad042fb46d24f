//! The `skyhound` binary.
fn main() {}
