//! What the tests share: the programs they compare with, and how they wait.
// Every test target compiles all of it and uses a part.
#![allow(dead_code, unreachable_pub)]

pub mod coredns;
pub mod dig;
pub mod wait;
