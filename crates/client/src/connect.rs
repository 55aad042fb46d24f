//! TCP connections to a server.
//!
//! Owns: the lookup of the server's addresses and the order in which they are tried. Does not own: TLS and the
//! protocol on the connection.

use crate::server::Server;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Connects to the first address of the server that accepts. Each address gets an equal share of the time, so that
/// one that drops packets does not hide the next.
pub(crate) async fn connect(server: &Server, limit: Duration) -> io::Result<TcpStream> {
    let found = timeout(limit, lookup_host((server.host(), server.port()))).await;
    let addresses: Vec<_> = found.map_err(|_| timed_out("no address found within", limit))??.collect();
    let per_address = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", server.host()));
    for address in addresses {
        match timeout(per_address, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = timed_out("no TCP connection within", per_address),
        }
    }
    Err(last)
}

fn timed_out(problem: &str, limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{problem} {limit:?}"))
}
