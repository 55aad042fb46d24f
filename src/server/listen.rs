//! The sockets: HTTP with all its routes, DNS on every transport, seaport.

use super::StartError;
use crate::config::Settings;
use crate::dashboard;
use crate::ops;
use crate::sidecar::SidecarHealth;
use skyhound_core::catalog::Catalog;
use skyhound_dns::DnsServer;
use skyhound_frontends::app::App;
use skyhound_frontends::{self as frontends, seaport};
use skyhound_net::metrics::Metrics;
use skyhound_net::tls::Tls;
use skyhound_net::{HttpServer, HttpSettings, Routes};
use std::net::SocketAddr;
use std::sync::Arc;

/// Returns the routes that need nothing but the app. [`Server::bind`](super::Server::bind) adds those of DNS, of the
/// dashboard and of the sidecar.
pub fn routes(app: &Arc<App>) -> Routes {
    Routes::default().with(frontends::routes(app)).with(ops::routes(app))
}

/// The HTTP server, and its addresses that serve DNS over HTTPS alone.
pub(super) struct Listeners {
    pub(super) http: HttpServer,
    pub(super) dns_https: Vec<SocketAddr>,
}

/// Binds HTTP and websockets, which include DNS over HTTPS if they have TLS, and DNS over HTTPS alone.
pub(super) fn bind_http(
    settings: &Settings,
    app: &Arc<App>,
    dns: Option<&DnsServer>,
    tls: Option<&Arc<Tls>>,
    health: &Arc<SidecarHealth>,
) -> Result<Listeners, StartError> {
    let doh_routes = || dns.map(DnsServer::https_routes).unwrap_or_default();
    let mut routes = routes(app)
        .with(ops::explain::routes(&app.catalog, settings.dns.clone()))
        .with(dashboard::routes(app, dns.map(DnsServer::stats)))
        .with(settings.sidecar.as_ref().map(|_| health.route()));
    if settings.enable_tls {
        routes = routes.with(doh_routes());
    }
    let http_settings = HttpSettings { tls: tls.filter(|_| settings.enable_tls).cloned(), ..HttpSettings::default() };
    let mut http = HttpServer::bind(&settings.listen, &http_settings, routes, &app.metrics)?;
    let dns_https = http.bind_more(&settings.dns_https_listen, tls, Routes::default().with(doh_routes()))?;
    Ok(Listeners { http, dns_https })
}

pub(super) fn start_seaport(settings: &Settings, app: &Arc<App>) -> Result<Option<seaport::HubServer>, StartError> {
    let shared = settings.store.is_shared();
    Ok(settings.seaport.as_ref().map(|hub| seaport::HubServer::start(hub, app, shared)).transpose()?)
}

/// Binds DNS; `None` if it is off on every transport.
pub(super) async fn bind_dns(
    settings: &Settings,
    catalog: &Arc<Catalog>,
    metrics: &Arc<Metrics>,
    tls: Option<&Arc<Tls>>,
) -> Result<Option<DnsServer>, StartError> {
    let transports = [&settings.dns_listen, &settings.dns_tls_listen, &settings.dns_https_listen];
    if transports.iter().all(|addrs| addrs.is_empty()) {
        return Ok(None);
    }
    let mut dns = DnsServer::bind(&settings.dns_listen, settings.dns.clone(), Arc::clone(catalog)).await?;
    if let Some(tls) = tls {
        dns.listen_tls(&settings.dns_tls_listen, tls)?;
    }
    dns.collect(metrics);
    Ok(Some(dns))
}
