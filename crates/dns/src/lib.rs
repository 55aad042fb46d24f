//! Answers DNS from the catalog: the SkyDNS rules, over UDP, TCP, TLS and HTTPS.
//!
//! In the order a question travels: [`server`] holds the sockets, [`handler`] is called with a [`message`] that
//! was read, [`answer()`] decides everything that DNS says, [`size`] makes it fit, and `encode` writes it.
//!
//! ```text
//! socket ─▶ handler ─▶ answer(snapshot, health, settings, question, rotation) ─▶ size ─▶ encode ─▶ socket
//!                        ├ lookup_targets  the nodes that a name is answered from
//!                        ├ search     which entries those are
//!                        ├ rrset      entries → SRV, MX, NS, CNAME, PTR
//!                        │   └ alias  A, AAAA, TXT; hosts that are names, followed within the zones
//!                        ├ upstream   the queries that other servers would have to answer
//!                        ├ chaos      class CH
//!                        └ negative   SOA, NXDOMAIN, NODATA, and every refusal
//! ```
//! Before any of it, [`limit`] says who may ask at all, and how often over UDP.
//!
//! What is left to ask outside, [`handler`] has asked by [`forwarder`] between answer and size, for clients that
//! may have it done; what is to be signed, [`dnssec`] signs there. [`mod@explain`] tells a person how an answer
//! came about.
//!
//! Over UDP on Linux (`udp`, and [`datagram`] for what it takes) most questions never get as far as [`handler`],
//! as [`fast`] answers them with what was said before. Everything else goes through `general`: bytes to bytes,
//! whatever the transport. [`stream`] is TCP and TLS, [`https`] a route of [`skyhound_net`]'s server.
//!
//! Owns: which records and which rcode a question gets, sizes and truncation, the sockets. Does not own:
//! the tree of entries ([`skyhound_core::catalog`]) nor what an entry is ([`skyhound_model::entry`]); it never writes
//! and never asks the store. [`answer()`] is synchronous and has no clock, no counter and no I/O: a question
//! costs memory reads, and the same arguments give the same answer.
//!
//! Absent on purpose: recursion from the root (names outside the zones go to other resolvers or are refused),
//! a cache of what those say, zone transfers, dynamic updates.

mod alias;
pub mod answer;
mod chaos;
#[cfg(target_os = "linux")]
pub mod datagram;
pub mod dnssec;
mod encode;
pub mod explain;
#[cfg(target_os = "linux")]
pub mod fast;
pub mod forwarder;
mod general;
pub mod handler;
pub mod https;
pub mod limit;
mod lookup_targets;
pub mod message;
mod metrics;
mod negative;
pub mod network;
mod rrset;
mod search;
pub mod server;
pub mod settings;
pub mod size;
pub mod stats;
pub mod stream;
#[cfg(target_os = "linux")]
mod udp;
#[cfg(any(not(target_os = "linux"), test))]
mod udp_portable;
pub mod upstream;
mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use answer::{ExtendedError, Question, Response, answer};
pub use message::Transport;
pub use server::DnsServer;
pub use settings::{AddressSelection, DnsSettings, SrvWeights};
pub use skyhound_net::BindError;
pub use stats::DnsStats;
