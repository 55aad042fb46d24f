//! The store's laws, kept by every implementation.
//!
//! `suite` states each law once, for any [`Store`](skyhound::store::Store); the other modules say what
//! it is tried on, and add what only that implementation promises.

#[macro_use]
mod suite;

mod disk;
mod memory;
