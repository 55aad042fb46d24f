//! placeholder map, written when the parts are in.

pub mod app;
pub mod catalog;
pub mod dialect;
pub mod model;
pub mod net;
pub mod ops;
pub mod registry;
pub mod store;
