//! The HTTP server: bind, run, shut down.

use super::drain::{Drain, Peer};
use super::http::{self, HttpService};
use super::limits::Limits;
use super::listen::{BindError, Listener};
use super::route::Routes;
use super::tls::Tls;
use crate::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How the HTTP server runs.
#[derive(Debug, Clone, Default)]
pub struct HttpSettings {
    /// What its peers may ask of it.
    pub limits: Limits,
    /// TLS on all of its addresses.
    pub tls: Option<Arc<Tls>>,
}

/// The HTTP server. It accepts as soon as it is bound, and no more once it is dropped or shut down.
#[derive(Debug)]
pub struct HttpServer {
    addrs: Vec<SocketAddr>,
    listener: Listener,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl HttpServer {
    /// Listens on all addresses or on none. Port 0 takes any free port, another one for each address. IPv6
    /// addresses take IPv4 peers too (`[::]` is everybody) unless IPv4 addresses are listed as well.
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

    /// Listens on further addresses, with routes of their own and seats from the same count. Says where.
    pub fn bind_more(
        &mut self,
        addrs: &[SocketAddr],
        tls: Option<&Arc<Tls>>,
        routes: Routes,
    ) -> Result<Vec<SocketAddr>, BindError> {
        let service = HttpService::new(routes, self.limits, Arc::clone(&self.metrics));
        let (tls, max) = (tls.cloned(), self.listener.drain().max());
        self.listener.listen(addrs, move |stream, peer| serve_connection(stream, peer, tls.as_ref(), &service, max))
    }

    /// Where it listens, in the order asked for, ports filled in.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Who is connected.
    pub fn drain(&self) -> &Arc<Drain> {
        self.listener.drain()
    }

    /// Serves for ever. Returns only if an acceptor failed, which is a bug; drop the future to go on to
    /// [`HttpServer::shutdown`].
    pub async fn run_until_done(&mut self) {
        self.listener.run_until_done().await;
    }

    /// Stops accepting, tells every connection and every held socket, and waits for them to end, at most for
    /// `deadline`. Returns how many did not.
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
    // Answers are small and whole; Nagle's algorithm would hold them back. Fails only if the peer is gone.
    let _ = stream.set_nodelay(true);
    let Some(peer) = peer else { return http::refuse(stream, tls.is_some(), service, max) };
    let (tls, service) = (tls.cloned(), Arc::clone(service));
    tokio::spawn(async move {
        if let Some(stream) = http::accept_tls(stream, tls, &peer, &service).await {
            http::serve(stream, peer, service).await;
        }
    });
}
