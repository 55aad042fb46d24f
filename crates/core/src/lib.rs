//! The state of a skyhound node: synchronous data structures with a thin asynchronous shell.
//!
//! - [`registry`]: claims on entries, the leases of those entries, and the group commits that write them
//! - [`catalog`]: the immutable snapshot of the store that every reader uses
//! - [`events`]: changes of the catalog, delivered to subscribers
//! - [`topics`]: pub/sub messages, which bypass the catalog
//!
//! The registry and the events import the catalog; the catalog imports none of the others, and [`topics`] imports no
//! catalog.

pub mod catalog;
pub mod events;
pub mod registry;
pub mod topics;
