//! DNS: the server, the daemon in the place of a SkyDNS, and the resolvers and auditors of other projects.
//!
//! [`server`]: the server in this process. All others start the real binary: [`transport`] (TLS and HTTPS), [`dnssec`]
//! (validators), [`skydns`] (forwarding, settings, limits), [`conformance`] (the answers of SkyDNS and CoreDNS),
//! [`resolver_compliance`] (a strict resolver and an auditor of zones).

// Modules share items with each other. A test fails by what it unwraps.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod conformance;
mod dnssec;
mod resolver_compliance;
mod server;
mod skydns;
mod transport;
