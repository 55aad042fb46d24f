//! What strict readers make of our answers: a resolver that takes nothing on trust, and an auditor of zones.
//!
//! They are programs that `tests/run` installs. Each asks a daemon over etcd, as a resolver in front of it would.

// The modules of a test are its own affair. What is unwrapped and is not there is the failure.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod dnsviz;
mod site;
mod unbound;
