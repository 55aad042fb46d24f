//! placeholder map, written when the parts are in.

pub mod catalog;
pub mod cli;
pub mod client;
pub mod model;
pub mod store;
