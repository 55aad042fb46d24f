//! Small pieces that every crate may use, without I/O and without an opinion.
//!
//! - [`Backoff`]: pauses between retries
//! - [`hash`]: mixing of 64 bits, the same on every node
//! - [`errors`]: an error with its sources, in one line

pub mod backoff;
pub mod errors;
pub mod hash;

pub use backoff::{Backoff, Jitter};
