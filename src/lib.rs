//! `skyhound`: service registration and discovery that works with what people already run.
//!
//! A process says where it is and holds a connection; as long as it lives, anything that speaks DNS or
//! HTTP finds it. One registry, kept in etcd (SkyDNS layout) or in an embedded store, stands behind all of it.
//!
//! # The line
//! Modules in the order in which data flows. Left may use right, never the other way round:
//!
//! ```text
//! peer ─▶ net ─▶ dialect ─▶ registry ─▶ store ─▶ catalog ─┬─▶ dns ─▶ resolver
//!                                                         ├─▶ dialect, ops ─▶ peer (asks)
//!                                                         └─▶ events ─▶ dialect ─▶ peer (listens)
//! ```
//! - [`net`]: bytes in and out, and every limit on them; knows no dialect
//! - [`dialect`]: a translation, one protocol each, and nothing more
//! - [`registry`]: claims, and the leases that carry them: who is here
//! - [`store`]: entries, durably, in order; one trait, two implementations
//! - [`catalog`]: what is known, as one immutable snapshot; what all reading reads
//! - [`events`]: who hears of which change of the catalog
//! - [`topics`]: messages, a line of their own past the catalog: publish, the store, the subscriptions of every node
//! - [`dns`]: what a question is answered, a pure function of a snapshot; and the sockets
//! - [`ops`]: health, readiness, the scrape, the version
//! - [`model`]: the words that all of them share: names, keys, entries
//!
//! Beside the line: [`config`] (settings, checked before anything starts; [`skydns`] reads those of a SkyDNS), [`app`]
//! and [`server`] (what joins the parts, and the order of starting and stopping), [`metrics`] and [`patience`] (leaves that every part
//! may count in), [`cli`] (one file per verb), and [`client`], the same protocol from the other end, for programs in
//! Rust.
//!
//! # Deliberately absent
//! Reading never calls the store: an answer does no I/O. Writing never asks the catalog what to write. There
//! is no replication of ours: more than one node means etcd.

pub mod cli;
pub mod config;
pub mod dashboard;
pub mod ops;
pub mod server;
pub mod sidecar;

/// This version, as in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
