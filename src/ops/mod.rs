//! For those who run the daemon: is it well, what does it do, which one is it.
//!
//! [`gauges`] reads the parts when [`crate::metrics`] are scraped; [`health`], [`version`]
//! and [`explain`] are routes.

pub mod explain;
pub mod gauges;
pub mod health;
pub mod version;

use crate::app::App;
use crate::metrics::Metrics;
use crate::net::{Reply, Route, route};
use bytes::Bytes;
use hyper::StatusCode;
use std::sync::Arc;

/// What [`Metrics::render`] is: the text form that became of Prometheus's own, which it reads since 2.5.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz`, `/readyz`, `/metrics`, `/version`.
pub fn routes(app: &Arc<App>) -> Vec<Route> {
    let ready = Arc::clone(app);
    let metrics = Arc::clone(&app.metrics);
    vec![
        Route::get("/healthz", |_, _| async { Ok(health::alive()) }),
        Route::get("/readyz", move |_, peer| {
            let app = Arc::clone(&ready);
            async move { Ok(health::ready(&app, peer.seat.is_stopping()).await) }
        }),
        Route::get("/metrics", move |_, _| {
            let metrics = Arc::clone(&metrics);
            async move { Ok(scrape(metrics).await) }
        }),
        Route::get("/version", |_, _| async { Ok(version::version()) }),
    ]
}

/// Off the executor: counting 10,000 open descriptors takes milliseconds.
async fn scrape(metrics: Arc<Metrics>) -> Reply {
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(text) => route::reply(StatusCode::OK, METRICS_TYPE, Bytes::from(text)),
        Err(_) => route::text(StatusCode::INTERNAL_SERVER_ERROR, "collecting the metrics failed\n"),
    }
}
