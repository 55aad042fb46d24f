//! What the integration tests share: other people's programs, and waiting for them.

// Each test target takes in the whole module and uses its own part of it. A test that cannot go on panics.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod coredns;
pub mod daemon;
pub mod dig;
pub mod etcd;
pub mod pki;
pub mod wait;
