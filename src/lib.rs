//! placeholder map, written when the parts are in.

pub mod catalog;
pub mod model;
pub mod registry;
pub mod store;
