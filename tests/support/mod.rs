//! What the tests share: the programs they run and compare with, and how they wait.
// Every test target compiles all of it and uses a part.
#![allow(dead_code, unreachable_pub)]

pub mod ask;
pub mod coredns;
pub mod daemon;
pub mod dig;
pub mod etcd;
pub mod http;
pub mod pki;
pub mod provider;
pub mod site;
pub mod wait;
pub mod watch;
