//! The words of the domain, as plain values: no tokio, no I/O, no clock.
//!
//! [`name`] and [`key`] are two spellings of one place; [`entry`] is what stands there; [`instance`]
//! turns what a peer said into an entry and its place, [`details`] is what ours adds to it, [`address`] reads where it
//! says that it is;
//! [`removal`] is why an entry left, [`version`] which versions a range holds.

pub mod address;
pub mod details;
pub mod entry;
pub mod instance;
pub mod key;
pub mod name;
pub mod removal;
pub mod text;
pub mod version;

pub use entry::{Entry, Host};
pub use instance::{Instance, MirrorKey, Naming, Registration};
pub use key::{Key, Layout};
pub use name::{Label, Name};
pub use removal::RemovalReason;
