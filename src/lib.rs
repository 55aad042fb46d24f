//! The `skyhound` daemon and command line: service registration and discovery that works with existing tools.
//!
//! A process registers an instance and holds a connection; as long as the process lives, anything that speaks DNS or
//! HTTP finds it. Records go to etcd in the SkyDNS layout or to an embedded store.
//!
//! # Data flow
//! The libraries below `crates/` in the order in which data flows through them:
//!
//! ```text
//! client ─▶ net ─▶ frontends ─▶ core::registry ─▶ store ─▶ core::catalog ─┬─▶ dns ─▶ resolver
//!                                                                         ├─▶ frontends, ops ─▶ client (requests)
//!                                                                         └─▶ core::events ─▶ frontends ─▶ client (watches)
//! ```
//!
//! # This package
//! - [`cli`]: one file per verb
//! - [`config`]: the settings, resolved and validated before anything starts
//! - [`server`]: the order in which the parts start and stop
//! - [`ops`]: health, readiness, metrics, version, `/explain`
//! - [`dashboard`]: the page at `/stats`
//! - [`sidecar`]: registration and health check of one application beside this daemon
//!
//! Programs in Rust that register or look up services use the crate `skyhound-client` alone.

pub mod cli;
pub mod config;
pub mod dashboard;
pub mod ops;
pub mod server;
pub mod sidecar;

/// The version of this program, as in Cargo.toml.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
