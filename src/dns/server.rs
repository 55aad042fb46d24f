//! The sockets: UDP and TCP on the same addresses and ports, until told to stop.
//!
//! Owns: binding, and the order of stopping. Does not own: reading and writing messages (hickory-server for
//! TCP; `udp` for UDP on Linux, and hickory-server elsewhere), nor what is answered ([`super::handler`]).

use super::handler::Handler;
use super::settings::DnsSettings;
use super::stats::DnsStats;
use crate::catalog::Catalog;
use hickory_server::Server;
use hickory_server::net::NetError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

#[cfg(target_os = "linux")]
use super::udp::{Ports, UdpWorkers};
#[cfg(not(target_os = "linux"))]
use tokio::net::UdpSocket as Ports;

/// How often another port is tried when the one that TCP got is taken for UDP (port 0 only).
const PORT_TRIES: usize = 16;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for DNS on {transport} {address}: {error}{}", remedy(*.address, .error))]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// UDP or TCP.
    pub transport: &'static str,
    /// What the system said. In the text already, and so no source.
    pub error: io::Error,
}

/// What an operator can do about it.
fn remedy(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program listens there (`ss -lunpt 'sport = :{}'` names it)", address.port())
        }
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address".to_owned(),
        _ => String::new(),
    }
}

/// DNS, bound and answering.
pub struct DnsServer {
    server: Server<Handler>,
    #[cfg(target_os = "linux")]
    udp: UdpWorkers,
    addrs: Vec<SocketAddr>,
    stats: Arc<DnsStats>,
}

impl DnsServer {
    /// Binds UDP and TCP on every address, or on none; answers from then on. Port 0 takes a free port, the
    /// same for both.
    pub async fn bind(listen: &[SocketAddr], settings: DnsSettings, catalog: Arc<Catalog>) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(listen.len());
        for address in listen {
            sockets.push(pair(*address).await?);
        }
        let (idle, backlog) = (settings.tcp_idle, settings.tcp_backlog);
        let handler = Handler::new(Arc::clone(&catalog), settings.clone());
        let stats = handler.stats();
        let mut server = Server::new(handler.clone());
        let (mut addrs, mut ports) = (Vec::new(), Vec::new());
        for (address, udp, tcp) in sockets {
            addrs.push(address);
            ports.push(udp);
            server.register_listener(tcp, idle, backlog);
        }
        #[cfg(not(target_os = "linux"))]
        ports.into_iter().for_each(|port| server.register_socket(port));
        Ok(Self {
            server,
            #[cfg(target_os = "linux")]
            udp: UdpWorkers::start(ports, &settings, &catalog, &handler).map_err(|error| BindError {
                address: addrs[0],
                transport: "UDP",
                error,
            })?,
            addrs,
            stats,
        })
    }

    /// The addresses that are answered on, in the order they were given.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// What was asked and said so far.
    pub fn stats(&self) -> Arc<DnsStats> {
        Arc::clone(&self.stats)
    }

    /// Runs until a socket fails for good. May be dropped and called again.
    pub async fn join(&mut self) -> Result<(), NetError> {
        #[cfg(target_os = "linux")]
        tokio::select! {
            done = self.server.block_until_done() => done,
            () = self.udp.ended() => Err(NetError::from("the threads that answer over UDP have ended")),
        }
        #[cfg(not(target_os = "linux"))]
        self.server.block_until_done().await
    }

    /// Closes the sockets. Returns when they are closed: the port can be bound again.
    pub async fn shutdown(mut self) -> Result<(), NetError> {
        #[cfg(target_os = "linux")]
        self.udp.stop().await;
        self.server.shutdown_gracefully().await
    }
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DnsServer").field("addrs", &self.addrs).finish_non_exhaustive()
    }
}

/// A UDP and a TCP socket on one port.
async fn pair(address: SocketAddr) -> Result<(SocketAddr, Ports, TcpListener), BindError> {
    let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = TcpListener::bind(address).await.map_err(|error| BindError { address, transport: "TCP", error })?;
        let got = tcp.local_addr().map_err(|error| BindError { address, transport: "TCP", error })?;
        #[cfg(target_os = "linux")]
        let udp = Ports::bind(got);
        #[cfg(not(target_os = "linux"))]
        let udp = Ports::bind(got).await;
        match udp {
            Ok(udp) => return Ok((got, udp, tcp)),
            Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(BindError { address: got, transport: "UDP", error }),
        }
    }
}
