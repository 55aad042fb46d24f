//! The daemon in the place of a SkyDNS: what it asks of others, how it explains itself, what it says to odd
//! questions. The answers as such are in `tests/conformance`.

// The modules of a test are its own affair. What is unwrapped and is not there is the failure.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod explain;
mod limits;
mod odd;
mod outside;
mod saved;
mod settings;
mod zones;
