//! The sockets: UDP and TCP on the same addresses and ports, TLS on others, until shutdown.
//!
//! Owns: binding, and the order of the shutdown. Does not own: reading and writing messages (`udp`, [`super::stream`],
//! and for HTTPS the HTTP server), nor the answers ([`super::handler`]).

use super::handler::Handler;
use super::https;
use super::settings::DnsSettings;
use super::static_zones::Watch;
use super::stats::DnsStats;
use super::stream::StreamListeners;
use skyhound_core::catalog::Catalog;
use skyhound_net::accept::Acceptor;
use skyhound_net::tls::Tls;
use skyhound_net::{BindError, Route};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::udp::{AddressSockets, UdpWorkers};
#[cfg(not(target_os = "linux"))]
use tokio::net::UdpSocket as AddressSockets;

/// The number of ports tried when the port that TCP got is in use for UDP (port 0 only).
const PORT_ATTEMPTS: usize = 16;
/// Protocol in the errors of UDP sockets.
const UDP: &str = "DNS over UDP";

/// A running DNS server with its sockets.
pub struct DnsServer {
    handler: Handler,
    streams: StreamListeners,
    #[cfg(target_os = "linux")]
    udp: UdpWorkers,
    #[cfg(not(target_os = "linux"))]
    udp: tokio::task::JoinSet<()>,
    addrs: Vec<SocketAddr>,
    tls_addrs: Vec<SocketAddr>,
    streams_max: usize,
    /// Reads zone files again, as long as this lives.
    _zones: Option<Watch>,
}

impl DnsServer {
    /// Binds UDP and TCP on every address or on none, and starts to answer. Port 0 takes a free port, the same for both.
    /// Without an address the server has only the listeners added later and the route for HTTPS.
    pub async fn bind(listen: &[SocketAddr], settings: DnsSettings, catalog: Arc<Catalog>) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(listen.len());
        for address in listen {
            sockets.push(bind_pair(*address).await?);
        }
        let handler = Handler::new(Arc::clone(&catalog), settings.clone());
        let mut streams = StreamListeners::new(handler.clone(), settings.streams);
        let (mut addrs, mut ports) = (Vec::new(), Vec::new());
        for (address, udp, tcp) in sockets {
            addrs.push(address);
            ports.push(udp);
            streams.listen(tcp, None);
        }
        Ok(Self {
            #[cfg(target_os = "linux")]
            udp: UdpWorkers::start(ports, &settings, &catalog, &handler).map_err(|source| BindError {
                protocol: UDP,
                addr: addrs[0],
                source,
            })?,
            #[cfg(not(target_os = "linux"))]
            udp: ports.into_iter().map(|port| super::udp_portable::serve(port, handler.clone())).collect(),
            handler,
            streams,
            addrs,
            tls_addrs: Vec::new(),
            streams_max: settings.streams.max_connections,
            _zones: settings.static_zones.watch(),
        })
    }

    /// Adds listeners for TLS (RFC 7858), on all of these addresses or on none.
    pub fn listen_tls(&mut self, listen: &[SocketAddr], tls: &Arc<Tls>) -> Result<(), BindError> {
        let mut listeners = Vec::with_capacity(listen.len());
        for address in listen {
            listeners.push(bind_tcp("DNS over TLS", *address)?);
        }
        for listener in listeners {
            self.tls_addrs.push(listener.local_addr());
            self.streams.listen(listener, Some(Arc::clone(tls)));
        }
        Ok(())
    }

    /// The routes for DNS over HTTPS (RFC 8484), for an HTTP server with TLS.
    pub fn https_routes(&self) -> Vec<Route> {
        https::routes(&self.handler)
    }

    /// The bound addresses of UDP and TCP, in the order of the settings.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// The bound addresses of TLS.
    pub fn tls_addrs(&self) -> &[SocketAddr] {
        &self.tls_addrs
    }

    /// The limit of TCP and TLS connections.
    pub(super) fn streams_max(&self) -> usize {
        self.streams_max
    }

    /// The counters.
    pub fn stats(&self) -> Arc<DnsStats> {
        self.handler.stats()
    }

    /// Waits until a part has failed permanently, which is a bug. It may be dropped and called again.
    pub async fn join(&mut self) {
        #[cfg(target_os = "linux")]
        let udp = self.udp.finished();
        #[cfg(not(target_os = "linux"))]
        let udp = async {
            if self.udp.join_next().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.streams.finished() => {}
            () = udp => {}
        }
    }

    /// Closes the sockets. Returns when they are closed, so that the port can be bound again.
    #[cfg_attr(target_os = "linux", allow(unused_mut))]
    pub async fn shutdown(mut self) {
        #[cfg(target_os = "linux")]
        self.udp.stop().await;
        #[cfg(not(target_os = "linux"))]
        self.udp.shutdown().await;
        self.streams.stop().await;
    }
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsServer").field("addrs", &self.addrs).finish_non_exhaustive()
    }
}

/// Binds a UDP and a TCP socket on one port.
async fn bind_pair(address: SocketAddr) -> Result<(SocketAddr, AddressSockets, Acceptor), BindError> {
    let mut attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let tcp = bind_tcp("DNS over TCP", address)?;
        let bound = tcp.local_addr();
        #[cfg(target_os = "linux")]
        let udp = AddressSockets::bind(bound);
        #[cfg(not(target_os = "linux"))]
        let udp = AddressSockets::bind(bound).await;
        match udp {
            Ok(udp) => return Ok((bound, udp, tcp)),
            // Another task of this process may hold the port, and release it.
            Err(error) if attempts > 0 && error.kind() == io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            Err(source) => return Err(BindError { protocol: UDP, addr: bound, source }),
        }
    }
}

fn bind_tcp(protocol: &'static str, addr: SocketAddr) -> Result<Acceptor, BindError> {
    Acceptor::bind(addr, false).map_err(|source| BindError { protocol, addr, source })
}
