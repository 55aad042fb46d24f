//! DNS answers from the catalog: the SkyDNS rules, over UDP, TCP, TLS and HTTPS.
//!
//! The modules in the order in which a question passes them: [`server`] holds the sockets, [`handler`] receives a parsed
//! [`message`], [`answer()`] decides the whole content of the [`response`], [`size`] fits it to the transport, and
//! `encode` writes it.
//!
//! ```text
//! socket ─▶ handler ─▶ answer(snapshot, health, settings, question, rotation) ─▶ size ─▶ encode ─▶ socket
//!                        ├ lookup_targets  the nodes whose entries answer a name
//!                        ├ search          the entries at and below them
//!                        ├ rrset           entries → SRV, MX, NS, CNAME, PTR
//!                        │   └ alias       A, AAAA, TXT; hosts that are names, followed within the zones
//!                        ├ upstream        the queries that other servers would have to answer
//!                        ├ chaos           class CH
//!                        └ negative        SOA, NXDOMAIN, NODATA, and every refusal
//! ```
//! Before all of it, [`limit`] decides which clients are answered at all, and how often over UDP.
//!
//! Names in zone files are answered by [`static_zones`], before [`answer()`]. [`request_handler`] gives [`handler`] the
//! interface of hickory-server, which any `hickory_server::Server` can call.
//!
//! Between answer and size, [`handler`] has [`forwarder`] send the upstream queries of clients with permission, and
//! [`dnssec`] sign the records. [`mod@explain`] describes how an answer came about.
//!
//! Over UDP on Linux (`udp`, and [`datagram`] for the choice of path) most questions never reach [`handler`]: [`fast`]
//! answers them from rendered answers. Everything else takes the path of `general`, a function from bytes to bytes for
//! all transports. [`stream`] is TCP and TLS, [`https`] a route of [`skyhound_net`]'s server.
//!
//! Imports form no cycle. Each file imports only files of the lines above its own, and of its own line those to its
//! left:
//!
//! ```text
//! values      wire, message, network, response, sections, close_reason
//! settings    dnssec::key, limit::{access, rate}, static_zones, settings
//! rules       search, alias, rrset, lookup_targets, upstream, negative, chaos
//! output      encode, size, stats, dnssec, answer, static_answer, explain
//! requests    forwarder, handler, general
//! transports  limit::gate, fast, datagram, udp, stream, https, server, metrics
//! ```
//!
//! Owns: which records and which rcode answer a question, sizes and truncation, the sockets. Does not own: the tree of
//! entries ([`skyhound_core::catalog`]) nor the format of an entry ([`skyhound_model::entry`]); it never writes and never
//! calls the store. [`answer()`] is synchronous and has no clock, no counter and no I/O: a question costs memory reads,
//! and the same arguments give the same answer.
//!
//! Absent on purpose: recursion from the root (names outside the zones are forwarded to other resolvers or refused), a
//! cache of their responses, zone transfers, dynamic updates.

mod alias;
pub mod answer;
mod chaos;
mod close_reason;
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
pub mod request_handler;
pub mod response;
mod rrset;
mod search;
mod sections;
pub mod server;
pub mod settings;
pub mod size;
mod static_answer;
pub mod static_zones;
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

pub use answer::answer;
pub use message::Transport;
pub use response::{ExtendedError, Question, Response};
pub use server::DnsServer;
pub use settings::{AddressSelection, DnsSettings, SrvWeights};
pub use skyhound_net::BindError;
pub use stats::DnsStats;
