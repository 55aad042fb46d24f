//! Bytes in and out: listening, HTTP, websockets, limits, and the way out of them all.
//!
//! The line of one connection: [`listen`] accepts it and gives it a [`ConnectionPermit`] → [`tls`], where the listener has
//! it → [`http`] reads requests and finds their [`route`] → a route answers ([`body`]), or takes the socket
//! over ([`websocket`]) and keeps the seat as long as it holds it → [`drain`] waits for the last seat.
//! Protocols of lines over bare TCP have [`lines`] in the place of HTTP.
//!
//! Owns: every [limit](limits) of the HTTP side, what a peer hears that breaks one, and stopping. Does not
//! own: what a request means. Routes bring that along (`skyhound_frontends`, `ops`); this module
//! knows neither the registry nor the catalog.

#[cfg(feature = "server")]
pub mod body;
#[cfg(feature = "server")]
pub mod drain;
#[cfg(feature = "server")]
pub mod error;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
pub mod lines;
#[cfg(feature = "server")]
pub mod listen;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod route;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod stream;
pub mod tls;
#[cfg(feature = "server")]
pub mod websocket;

#[cfg(feature = "server")]
pub use body::{Body, BodySendError, BodySender};
#[cfg(feature = "server")]
pub use drain::{ConnectionPermit, Peer};
#[cfg(feature = "server")]
pub use error::HttpError;
#[cfg(feature = "server")]
pub use limits::Limits;
#[cfg(feature = "server")]
pub use lines::{LineConnection, LineServer};
#[cfg(feature = "server")]
pub use listen::BindError;
#[cfg(feature = "server")]
pub use route::{Reply, Request, Route, Routes};
#[cfg(feature = "server")]
pub use server::{HttpServer, HttpSettings};
