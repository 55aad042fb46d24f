//! Shared code of the integration tests and benchmarks: the programs that they run and compare with, clients, and
//! waiting for them.
//!
//! - Programs as processes: [`daemon`], [`etcd`], [`coredns`], [`unbound`], and [`site`], a daemon with its store.
//! - Clients: [`dig`], [`ask`] and [`watch`] for DNS; [`http`], [`sse`], [`provider`] and [`wire`] for the rest;
//!   [`verb`] for the verbs of the binary.
//! - [`wait`], the one module that polls, [`multi_thread_test`] and [`on_every_store!`].

// A helper panics where a test cannot go on.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod address;
pub mod ask;
pub mod coredns;
pub mod daemon;
pub mod dig;
pub mod dnskey;
pub mod etcd;
pub mod http;
mod paths;
pub mod pki;
pub mod provider;
pub mod read_only_store;
pub mod site;
pub mod sse;
mod stores;
pub mod unbound;
pub mod verb;
pub mod wait;
pub mod watch;
pub mod wire;

pub use paths::{ROOT, program};
pub use skyhound_test_macros::multi_thread_test;
