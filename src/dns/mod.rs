//! Answers DNS from the catalog: the SkyDNS rules, over UDP and TCP.
//!
//! In the order a question travels: [`server`] holds the sockets, [`handler`] is what hickory-server calls
//! with a request, [`answer()`] decides everything that DNS says, and [`size`] makes it fit.
//!
//! ```text
//! socket ─▶ handler ─▶ answer(snapshot, health, settings, question, rotation) ─▶ size ─▶ socket
//!                        ├ search     which entries a name answers with
//!                        ├ rrset      entries → SRV, A, AAAA, TXT, NS, CNAME
//!                        │   └ alias  hosts that are names, followed within the zones
//!                        └ negative   SOA, NXDOMAIN, NODATA, and every refusal
//! ```
//!
//! Owns: which records and which rcode a question gets, sizes and truncation, the sockets. Does not own:
//! the tree of entries ([`crate::catalog`]) nor what an entry is ([`crate::model::entry`]); it never writes
//! and never asks the store. [`answer()`] is synchronous and has no clock, no counter and no I/O: a question
//! costs memory reads, and the same arguments give the same answer.
//!
//! Absent on purpose: recursion (a name outside the zones is refused), zone transfers, dynamic updates.

mod alias;
pub mod answer;
#[cfg(target_os = "linux")]
pub mod fast;
#[cfg(target_os = "linux")]
mod general;
pub mod handler;
mod negative;
mod rrset;
mod search;
pub mod server;
pub mod settings;
pub mod size;
pub mod stats;
#[cfg(target_os = "linux")]
mod udp;
mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Explanation, Question, answer};
pub use server::{BindError, DnsServer};
pub use settings::{DnsSettings, SrvWeights};
pub use stats::DnsStats;
