//! Network servers: acceptors, HTTP, WebSocket, line protocols, TLS, limits and graceful shutdown.
//!
//! ```text
//! accept ─▶ listen ─▶ (tls) ─▶ http ─▶ route ─┬─▶ response (body)
//!   │       permit        └▶ lines            └─▶ websocket: takes over the socket, holds the permit
//!   └─▶ admission (DNS)                    drain ◀─ the last permit
//! ```
//!
//! [`accept`] binds sockets and accepts connections. A listener gives each a [`ConnectionPermit`], which lives until
//! the close, upgraded sockets included; [`drain`] waits for the last one. [`tls`] performs the handshake, [`http`]
//! reads requests, and [`route`] finds their handler. [`lines`] serves line protocols over TCP instead of HTTP.
//! [`admission`] limits connections per client; DNS uses it.
//!
//! Owns: all [`limits`] of HTTP and WebSocket, the error for a peer that exceeds one, and graceful shutdown. Does
//! not own: the meaning of a request, which routes define (`skyhound_frontends`, `ops`). This crate knows neither the
//! registry nor the catalog. Without the feature `server` it contains the client side of [`tls`] alone.

#[cfg(feature = "server")]
pub mod accept;
#[cfg(feature = "server")]
pub mod admission;
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
mod listen;
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
pub use accept::BindError;
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
pub use route::{Reply, Request, Route, Routes};
#[cfg(feature = "server")]
pub use server::{HttpServer, HttpSettings};
