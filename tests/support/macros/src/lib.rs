//! The attribute of `skyhound-test-support`. A crate of its own, because Rust requires that of attributes; without
//! dependencies, because it only prepends another attribute.

use proc_macro::TokenStream;

/// An asynchronous test on a runtime with two threads.
///
/// Two on every machine, so that a test means the same everywhere: one thread alone never runs two tasks at once, and
/// a thread for each core would leave nothing to the daemons that the tests start.
///
/// ```ignore
/// #[multi_thread_test]
/// async fn an_instance_is_found() {}
/// ```
///
/// # Panics
/// Never: the attribute is a constant that parses.
#[proc_macro_attribute]
pub fn multi_thread_test(_: TokenStream, test: TokenStream) -> TokenStream {
    let attribute = r#"#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]"#;
    let mut expanded: TokenStream = attribute.parse().expect("an attribute");
    expanded.extend(test);
    expanded
}
