//! The domain types as plain values: no tokio, no I/O, no clock.
//!
//! In the order in which a registration uses them:
//!
//! - [`instance`]: a client's [`Registration`], validated into an [`Instance`]
//! - [`name`] and [`key`]: the DNS name of an instance and its key in the store, which are inverses
//! - [`entry`]: the value under a key, in the format of SkyDNS
//! - [`details`]: the fields that skyhound adds to an entry
//! - [`address`]: host and port of an address in any frontend's notation
//! - [`version`]: version ranges of queries
//! - [`removal`]: the reason why an entry was removed
//! - [`Revision`]: the position in a store's history
//!
//! ```
//! use skyhound_model::{Entry, Naming, Registration};
//!
//! let naming = Naming {
//!     root: "skydns.local".parse()?,
//!     layout: skyhound_model::Layout::new("/skydns"),
//!     default_category: "services".into(),
//!     default_ttl: 30,
//! };
//! let registration = Registration { service: "web".into(), port: 8080, frontend: "skyapi", ..Registration::default() };
//! let instance = registration.accept(&naming, "10.0.0.5".parse()?)?;
//! assert_eq!(naming.layout.name(instance.key.as_bytes())?, instance.name);
//! assert_eq!(Entry::parse(&instance.entry.encode())?, instance.entry);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(clippy::missing_errors_doc)]

pub mod address;
pub mod details;
pub mod entry;
pub mod instance;
pub mod key;
pub mod name;
pub mod removal;
mod revision;
mod text;
pub mod version;

pub use entry::{Entry, Host};
pub use instance::{Instance, MirrorKey, Naming, Registration};
pub use key::{Key, Layout};
pub use name::{Label, Name};
pub use removal::RemovalReason;
pub use revision::Revision;
pub use text::Text;
