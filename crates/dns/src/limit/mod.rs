//! Limits by client address: access lists and response rates.
//!
//! ```text
//! datagram ─▶ gate ─▶ fast and general path
//!              ├ access            the networks with permission to query (streams are checked when they are accepted)
//!              ├ rate              the responses per second and network (UDP only: a stream proves its address)
//!              └ minimal_response  the response to a rejected client: a header and the question
//! ```
//! Owns: the decision, and the response to a rejected client. Uses the address alone, before the message is read. Does
//! not own: the responses to all other clients. Without a limit in the settings it costs one comparison.

pub mod access;
#[cfg(target_os = "linux")]
pub(super) mod gate;
#[cfg(target_os = "linux")]
mod minimal_response;
pub mod rate;

pub use access::Access;
pub use rate::{RateLimiter, RateSettings};
