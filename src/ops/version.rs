//! `/version`: name and version of this program. hound-dog's clients use the same path.

use hyper::StatusCode;
use skyhound_net::{Reply, route};

/// Returns `{"app":"skyhound","version":"…"}`.
pub fn version() -> Reply {
    route::json(
        StatusCode::OK,
        &serde_json::json!({ "app": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }),
    )
}
