//! placeholder map, written when the parts are in.

pub mod catalog;
pub mod dns;
pub mod model;
pub mod store;
