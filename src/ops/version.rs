//! `/version`: which program this is. hound-dog's clients ask it under the same path.

use hyper::StatusCode;
use skyhound_net::{Reply, route};

/// `{"app":"skyhound","version":"…"}`.
pub fn version() -> Reply {
    route::json(
        StatusCode::OK,
        &serde_json::json!({ "app": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }),
    )
}
