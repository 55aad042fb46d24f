//! `/version`: which program this is. hound-dog's clients ask it under the same path.

use crate::net::{Reply, route};
use hyper::StatusCode;

/// `{"app":"skyhound","version":"…"}`.
pub fn version() -> Reply {
    route::json(
        StatusCode::OK,
        &serde_json::json!({ "app": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }),
    )
}
