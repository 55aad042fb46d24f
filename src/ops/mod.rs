//! Routes for operators: health, readiness, metrics, version, explanations of DNS answers.
//!
//! [`gauges`] reads the parts when [`skyhound_net::metrics`] are scraped; [`health`], [`mod@version`]
//! and [`explain`] are routes.

pub mod explain;
pub mod gauges;
pub mod health;
pub mod version;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderMap};
use skyhound_frontends::app::App;
use skyhound_net::metrics::Metrics;
use skyhound_net::{Reply, Route, route};
use std::sync::Arc;

/// The content type of [`Metrics::render`], for clients that accept it: Prometheus does since 2.5.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of [`Metrics::render_prometheus`], for all other clients.
pub const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/healthz`, `/readyz`, `/metrics`, `/version`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let ready = Arc::clone(app);
    let metrics = Arc::clone(&app.metrics);
    vec![
        Route::get("/healthz", |_, _| async { Ok(health::alive()) }),
        Route::get("/readyz", move |_, peer| {
            let app = Arc::clone(&ready);
            async move { Ok(health::ready(&app, peer.permit.is_stopping()).await) }
        }),
        Route::get("/metrics", move |request, _| {
            let metrics = Arc::clone(&metrics);
            async move { Ok(scrape(metrics, accepts_open_metrics(request.headers())).await) }
        }),
        Route::get("/version", |_, _| async { Ok(version::version()) }),
    ]
}

/// Returns `true` if the client names `OpenMetrics`. `*/*` does not count: `curl` and older scrapers send it, and
/// those scrapers read the other format.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(|kinds| kinds.contains("openmetrics-text")))
}

/// Runs outside the executor: counting 10,000 open descriptors takes milliseconds.
async fn scrape(metrics: Arc<Metrics>, open: bool) -> Reply {
    let render = move || if open { metrics.render() } else { metrics.render_prometheus() };
    match tokio::task::spawn_blocking(render).await {
        Ok(text) => route::reply(StatusCode::OK, if open { OPEN_METRICS } else { PLAIN_METRICS }, Bytes::from(text)),
        Err(_) => route::text(StatusCode::INTERNAL_SERVER_ERROR, "cannot collect the metrics; see the log\n"),
    }
}
