//! seaport: rows over real sockets, the original as client, hub and peer, and keys.

// The modules of a test are its own affair.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod bad;
mod failover;
mod hub;
mod hubs;
mod keys;
mod life;
mod node;
mod original;
mod peer;
mod scripts;
mod verbs;
