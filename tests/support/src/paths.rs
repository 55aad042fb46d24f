//! Paths of the repository and of the program under test.

use std::path::PathBuf;
use std::sync::LazyLock;

/// The root of the repository. Cargo sets `CARGO_MANIFEST_DIR` to it only for the tests of the root package.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The path of the `skyhound` binary of the profile that the running test or benchmark was built with.
///
/// Cargo names it at compile time (`CARGO_BIN_EXE_skyhound`) to the tests of the package that it belongs to, and this
/// is another package. It builds the binary before it runs them, into the folder above that of the test.
///
/// Panics if the binary is missing.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("the path of the running test");
        let file = format!("skyhound{}", std::env::consts::EXE_SUFFIX);
        // target/debug/deps/end_to_end-0123456789abcdef → target/debug/skyhound
        let default_path = test.parent().and_then(|deps| deps.parent()).map(|profile| profile.join(&file));
        // With `build.build-dir`, the tests are in another folder than the binary, and cargo names it at run time.
        let named = std::env::var_os("CARGO_BIN_EXE_skyhound").map(PathBuf::from);
        let found = named.into_iter().chain(default_path.clone()).find(|path| path.is_file());
        let found = found.unwrap_or_else(|| {
            panic!(
                "{} is missing: `cargo build` (with --release for a benchmark) builds it, and so does `cargo test` of \
                 the root package",
                default_path.unwrap_or_else(|| file.into()).display()
            )
        });
        found.into_os_string().into_string().expect("a path in UTF-8")
    });
    &PROGRAM
}
