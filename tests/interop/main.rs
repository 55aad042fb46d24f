//! Interoperation: every frontend with every other, and tools of other projects with the daemon.

// Modules share items with each other.
#![allow(unreachable_pub)]

mod frontends;
mod third_party_clients;
