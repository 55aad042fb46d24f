//! Bytes in and out: listening, HTTP, websockets, limits, and the way out of them all.
//!
//! The line of one connection: [`listen`] accepts it and gives it a [`Seat`] → [`tls`], where the listener has
//! it → [`http`] reads requests and finds their [`route`] → a route answers ([`body`]), or takes the socket
//! over ([`websocket`]) and keeps the seat as long as it holds it → [`drain`] waits for the last seat.
//! Protocols of lines over bare TCP have [`lines`] in the place of HTTP.
//!
//! Owns: every [limit](limits) of the HTTP side, what a peer hears that breaks one, and stopping. Does not
//! own: what a request means. Routes bring that along ([`crate::dialect`], [`crate::ops`]); this module
//! knows neither the registry nor the catalog.

pub mod body;
pub mod drain;
pub mod error;
pub mod http;
pub mod limits;
pub mod lines;
pub mod listen;
pub mod route;
pub mod server;
pub mod stream;
pub mod tls;
pub mod websocket;

pub use body::{Body, Outlet, Unread};
pub use drain::{Peer, Seat};
pub use error::HttpError;
pub use limits::Limits;
pub use lines::{LineServer, Lines};
pub use listen::BindError;
pub use route::{Reply, Request, Route, Routes};
pub use server::{HttpServer, HttpSettings};
