//! The daemon and its clients end to end: the real binary, real sockets and the real dig.
//!
//! [`daemon`]: the main job, on every store. [`v1`]: plain HTTP and its verbs. [`client`]: the client against servers
//! that misbehave. [`net`]: HTTP and held sockets, byte by byte, with the server in this process.

// Modules share items with each other. A test fails by what it unwraps.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod client;
mod daemon;
mod net;
mod v1;
