//! State of a skyhound node: who is registered, what is known, and who is told.
//!
//! - [`registry`]: claims, and the leases that carry them
//! - [`catalog`]: the immutable snapshot that everything reads
//! - [`events`]: changes of the catalog, delivered to subscribers
//! - [`topics`]: messages, published and delivered past the catalog

pub mod catalog;
pub mod events;
pub mod registry;
pub mod topics;
