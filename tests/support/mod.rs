//! What the integration tests share: the programs they run and compare with, and waiting for them.

// Each test target takes in the whole module and uses its own part of it. A test that cannot go on panics.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod ask;
pub mod coredns;
pub mod daemon;
pub mod dig;
pub mod dnskey;
pub mod etcd;
pub mod http;
pub mod pki;
pub mod provider;
pub mod site;
pub mod sse;
pub mod stores;
pub mod unbound;
pub mod verb;
pub mod wait;
pub mod watch;
pub mod wire;
