//! seaport: rows over real sockets, the original as client, hub and peer, and keys.

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
