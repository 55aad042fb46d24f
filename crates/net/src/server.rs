//! The HTTP server: bind, run, shut down.
//!
//! Owns: the listener and its settings. Does not own: connections ([`super::http`]) and routes ([`super::route`]).

use super::accept::BindError;
use super::drain::{Drain, Peer};
use super::http::{self, HttpService};
use super::limits::Limits;
use super::listen::Listener;
use super::route::Routes;
use super::tls::Tls;
use crate::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The settings of the HTTP server.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// Limits of its peers.
    pub limits: Limits,
    /// TLS on all addresses of [`HttpServer::bind`].
    pub tls: Option<Arc<Tls>>,
}

/// The HTTP server. It accepts connections from bind until it is dropped or shut down.
#[derive(Debug)]
pub struct HttpServer {
    addrs: Vec<SocketAddr>,
    listener: Listener,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl HttpServer {
    /// Listens on all addresses or on none. Port 0 selects a free port, another one for each address. IPv6 addresses
    /// accept IPv4 peers too (`[::]` accepts all) unless IPv4 addresses are listed as well.
    ///
    /// Must be called in a tokio runtime.
    pub fn bind(
        addrs: &[SocketAddr],
        settings: &HttpSettings,
        routes: Routes,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let limits = settings.limits.fitted_to_descriptors();
        let help = "Open TCP connections of the HTTP server";
        let listener = Listener::new(limits.connections, metrics, "skyhound_http_connections".to_owned(), help);
        let mut server = Self { addrs: Vec::new(), listener, limits, metrics: Arc::clone(metrics) };
        server.addrs = server.bind_more(addrs, settings.tls.as_ref(), routes)?;
        Ok(server)
    }

    /// Listens on further addresses, with routes of their own and the same limit of connections. Returns the bound
    /// addresses.
    pub fn bind_more(
        &mut self,
        addrs: &[SocketAddr],
        tls: Option<&Arc<Tls>>,
        routes: Routes,
    ) -> Result<Vec<SocketAddr>, BindError> {
        let service = HttpService::new(routes, self.limits, Arc::clone(&self.metrics));
        let (tls, max) = (tls.cloned(), self.listener.drain().max());
        let protocol = if tls.is_some() { "HTTPS" } else { "HTTP" };
        self.listener
            .listen(protocol, addrs, move |stream, peer| serve_connection(stream, peer, tls.as_ref(), &service, max))
    }

    /// The bound addresses, in the configured order.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The count of connections.
    pub fn drain(&self) -> &Arc<Drain> {
        self.listener.drain()
    }

    /// Serves without end. Returns only if an acceptor failed, which is a bug; drop the future before
    /// [`HttpServer::shutdown`].
    pub async fn run_until_done(&mut self) {
        self.listener.run_until_done().await;
    }

    /// Stops accepting, signals all connections and held sockets to stop, and waits for their end, at most for
    /// `deadline`. Returns the number of connections that are left.
    pub async fn shutdown(self, deadline: Duration) -> usize {
        self.listener.shutdown(deadline).await
    }
}

fn serve_connection(
    stream: TcpStream,
    peer: Option<Peer>,
    tls: Option<&Arc<Tls>>,
    service: &Arc<HttpService>,
    max: usize,
) {
    // Responses are small and complete; Nagle's algorithm would delay them. Fails only if the peer disconnected.
    let _ = stream.set_nodelay(true);
    let Some(peer) = peer else { return http::refuse(stream, tls.is_some(), service, max) };
    let (tls, service) = (tls.cloned(), Arc::clone(service));
    tokio::spawn(async move {
        if let Some(stream) = http::accept_tls(stream, tls, &peer, &service).await {
            http::serve(stream, peer, service).await;
        }
    });
}
