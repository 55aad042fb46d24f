//! The contract of [`Store`](skyhound_store::Store), tested on every implementation.
//!
//! `suite` has one test for each clause, for any store. The other modules run it on one implementation each, and test the
//! guarantees that only this implementation gives.

#![allow(clippy::unwrap_used, reason = "a test fails by it; clippy exempts only functions marked as tests")]

#[macro_use]
mod suite;

mod disk;
mod etcd;
mod memory;
