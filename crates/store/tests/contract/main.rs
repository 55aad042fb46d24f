//! The store's laws, kept by every implementation.
//!
//! `suite` states each law once, for any [`Store`](skyhound_store::Store); the other modules say what
//! it is tried on, and add what only that implementation promises.

#![allow(clippy::unwrap_used, reason = "a test fails by it; clippy knows only functions marked as tests")]

#[macro_use]
mod suite;

mod disk;
mod etcd;
mod memory;
