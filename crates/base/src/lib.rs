//! Small utilities without I/O, for every crate of the workspace.
//!
//! - [`Backoff`]: pauses between retries
//! - [`hash`]: mixing of 64 bits with the same results on every node
//! - [`errors`]: an error with its sources in one line

mod backoff;
pub mod errors;
pub mod hash;

pub use backoff::{Backoff, Jitter};
