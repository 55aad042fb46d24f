//! The client: be found ([`Provider`]), find ([`Resolver`], [`Discover`]), and hear what changes ([`Watcher`]).
//!
//! ```no_run
//! use skyhound::client::{Provide, Provider, Resolver};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // In DNS from here …
//! let provider = Provider::start(Provide {
//!     servers: vec!["http://127.0.0.1:8053".parse()?],
//!     weight: Some(10),
//!     ..Provide::new("web", 8080)
//! });
//! provider.registered().await?;
//!
//! // … found by anybody …
//! let resolver = Resolver::with_server("127.0.0.1:5300".parse()?)?;
//! for target in resolver.resolve("web.services.skydns.local").await? {
//!     println!("{} at {:?}, port {}", target.host, target.addrs, target.port);
//! }
//!
//! // … to here. Dropping it does the same without waiting for the daemon's word.
//! provider.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! In the order in which things happen:
//!
//! | module | owns |
//! |---|---|
//! | [`server`] | where a daemon is, from text |
//! | [`provide`] | what a process says of itself, and its spelling as a query |
//! | [`provider`] | the handle: states, events, update, close |
//! | `provider_task` | which server is tried next, and when |
//! | `connection` | one websocket: handshake, pings, liveness, close |
//! | [`discover`] | asking a daemon for services and instances |
//! | [`watch`] | hearing of changes, and coming back |
//! | [`publish`] | saying an event to those who listen |
//! | `http`, `sse` | one GET, and events from its answer |
//! | `instance_set` | what of it is news (pure) |
//! | [`resolve`] | from a name to where its instances are |
//! | [`order`] | RFC 2782's order (pure) |
//!
//! Deliberately absent: a cache (ask the daemon, it answers from memory; or a resolver on the host), and
//! the other dialects, which have clients of their own.

mod connection;
pub mod discover;
mod http;
mod instance_set;
pub mod order;
pub mod provide;
pub mod provider;
mod provider_task;
pub mod publish;
pub mod resolve;
pub mod server;
mod sse;
pub mod watch;

pub use discover::{Discover, DiscoverError};
pub use provide::{Provide, Timing};
pub use provider::{Event, Events, Loss, ProvideError, Provider, Refusal, State};
pub use resolve::{ResolveError, Resolver, Target};
pub use server::{Server, ServerError};
pub use watch::{Watch, Watcher};
