//! The state of a skyhound node: registrations, the catalog of all entries, and delivery to subscribers.
//!
//! - [`registry`]: claims, and the leases that keep their entries alive
//! - [`catalog`]: the immutable snapshot that all readers use
//! - [`events`]: changes of the catalog, delivered to subscribers
//! - [`topics`]: messages, published and delivered without the catalog

pub mod catalog;
pub mod events;
pub mod registry;
pub mod topics;
