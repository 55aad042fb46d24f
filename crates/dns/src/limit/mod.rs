//! Who may ask, and how often.
//!
//! ```text
//! datagram ─▶ gate ─▶ the paths that answer
//!              ├ access   which networks may ask (streams too: they ask it when they accept)
//!              ├ rate     how many answers a network gets in a second (UDP: a stream proves its address)
//!              └ minimal_response  what is said to who is turned away: a header and the question again
//! ```
//! Owns: the decision, and the response to who is turned away. Looks at the address alone, before the message
//! is read. Does not own: what is answered to everybody else. Without a setting it costs one comparison.

pub mod access;
#[cfg(target_os = "linux")]
pub(super) mod gate;
#[cfg(target_os = "linux")]
mod minimal_response;
pub mod rate;

pub use access::Access;
pub use rate::{RateLimiter, RateSettings};
