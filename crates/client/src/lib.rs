//! The client of skyhound: [`Provider`] registers an instance, [`Resolver`] and [`Discover`] find instances, and
//! [`Watcher`] delivers their changes.
//!
//! ```no_run
//! use skyhound_client::{Provide, Provider, Resolver};
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
//! // … found by any resolver …
//! let resolver = Resolver::with_server("127.0.0.1:5300".parse()?);
//! for target in resolver.resolve("web.services.skydns.local").await? {
//!     println!("{} at {:?}, port {}", target.host, target.addrs, target.port);
//! }
//!
//! // … to here. Dropping the provider does the same without waiting for the daemon's confirmation.
//! provider.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! The modules, each above those that it uses:
//!
//! | module | purpose |
//! |---|---|
//! | `provider` | handle of a registration: states, events, update, close |
//! | `provider_task` | next server and time of the next attempt |
//! | `connection` | one WebSocket: handshake, pings, liveness, close |
//! | `state` | states and events that the handle and the task share |
//! | `provide` | description of a registration, and its encoding as a query |
//! | `publish`, `discover` | events to subscribers; services and instances over HTTP |
//! | `watch` | changes, across lost connections |
//! | `instance_set`, `sse` | differences between sets; event streams (both pure) |
//! | `resolve` | instances of a name in DNS |
//! | `order`, `dns` | order of RFC 2782 (pure); exchange with name servers |
//! | `http`, `connect` | one request; TCP connections |
//! | `error`, `timing`, `server` | failures; timeouts; address of a daemon |
//!
//! Deliberately absent: a cache (a daemon answers from memory, and a resolver on the host can cache), and the other
//! frontends, which have clients of their own.

#![warn(clippy::missing_errors_doc)]

mod connect;
mod connection;
mod discover;
mod dns;
mod error;
mod http;
mod instance_set;
mod order;
mod provide;
mod provider;
mod provider_task;
mod publish;
mod resolve;
mod server;
mod sse;
mod state;
mod timing;
mod watch;

pub use discover::{Discover, DiscoverError, Instance, InstanceQuery, Service};
pub use error::{Loss, Refusal};
pub use provide::Provide;
pub use provider::{ProvideError, Provider};
pub use publish::Audience;
pub use resolve::{Rcode, ResolveError, Resolver, Target};
pub use server::{DEFAULT_SERVER, Server, ServerError};
pub use skyhound_net::tls::ClientFiles;
pub use state::{Event, Events, State};
pub use timing::Timing;
pub use watch::{RemovalCause, Watch, WatchEvent, Watcher};
