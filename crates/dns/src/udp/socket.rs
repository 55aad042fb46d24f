//! Datagrams in batches: one `recvmmsg` and one `sendmmsg` for up to [`BATCH`] of them.
//!
//! Owns: the sockets of one address (several may listen on it, the kernel spreads clients over them), the buffers, and
//! the source address of a response, which is the destination address of its question. Does not own: the contents of a
//! datagram. `nix` has both calls without `unsafe`. Its `sendmmsg` takes one list of control messages for a whole
//! batch, hence [`Batch::run`].

use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg, sendmsg,
    setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The maximum number of datagrams of one call. A busy server has a few waiting each time; more than this no longer
/// lowers the cost of a call, and each needs a buffer.
pub(super) const BATCH: usize = 32;
/// The size of the largest datagram that is received completely, and of the largest response.
pub(super) const DATAGRAM_MAX: usize = crate::datagram::BUFFER_LEN;
/// The interval at which an idle thread checks whether it has to stop. [`UdpWorkers::stop`](super::UdpWorkers::stop)
/// wakes it; this is for systems on which that fails.
const STOP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A bound socket.
#[derive(Debug)]
pub(super) struct ServerSocket {
    socket: UdpSocket,
    /// True if it is bound to the unspecified address, and so receives for several addresses.
    wildcard: bool,
}

/// The local address that a datagram was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DestinationAddr {
    /// The address that the socket is bound to.
    Bound,
    V4(Ipv4Addr),
    /// An IPv6 address and its interface, which a link-local address needs (`fe80::/10`); 0 otherwise.
    V6(Ipv6Addr, u32),
}

/// The source and the destination of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatagramPeer {
    pub addr: SockaddrStorage,
    pub destination: DestinationAddr,
}

impl DatagramPeer {
    /// The source address, if a response can be sent to it: port 0 and the unspecified and broadcast addresses are
    /// forged.
    pub(super) fn addr(&self) -> Option<SocketAddr> {
        let addr = match (self.addr.as_sockaddr_in(), self.addr.as_sockaddr_in6()) {
            (Some(v4), _) => SocketAddr::from((v4.ip(), v4.port())),
            (_, Some(v6)) => SocketAddr::from((v6.ip(), v6.port())),
            _ => return None,
        };
        let forged = match addr.ip() {
            IpAddr::V4(ip) => ip.is_unspecified() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unspecified(),
        };
        (addr.port() != 0 && !forged).then_some(addr)
    }
}

impl ServerSocket {
    /// Binds one of several sockets on an address.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        let wildcard = addr.ip().is_unspecified();
        match addr.ip() {
            IpAddr::V4(_) if wildcard => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(_) if wildcard => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            _ => {}
        }
        socket.bind(&addr.into())?;
        Ok(Self { socket: socket.into(), wildcard })
    }

    /// Wakes the thread that waits in [`Batch::receive`]. The kernel ends the call even though it also returns that the
    /// socket is not connected (`inet_shutdown`: "Hack to wake up other listeners").
    pub(super) fn wake(&self) {
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Read);
    }

    /// Sends one response, unless the socket's queue is full.
    pub(super) fn send(&self, peer: &DatagramPeer, response: &[u8]) -> io::Result<()> {
        let data = [IoSlice::new(response)];
        peer.destination.with_control(|control| {
            sendmsg(self.socket.as_raw_fd(), &data, control, MsgFlags::MSG_DONTWAIT, Some(&peer.addr))
        })?;
        Ok(())
    }
}

impl DestinationAddr {
    /// Returns the address in a received datagram's control message.
    fn of(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Self {
        let controls = message.cmsgs().into_iter().flatten();
        let mut destination = controls.filter_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Self::V4(u32::from_be(info.ipi_spec_dst.s_addr).into())),
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let addr = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                Some(Self::V6(addr, if addr.is_unicast_link_local() { info.ipi6_ifindex } else { 0 }))
            }
            _ => None,
        });
        destination.next().unwrap_or(Self::Bound)
    }

    /// Calls `call` with the control message that makes this address the source of a response.
    fn with_control<T>(self, call: impl FnOnce(&[ControlMessage<'_>]) -> T) -> T {
        match self {
            Self::Bound => call(&[]),
            Self::V4(addr) => {
                let spec = nix::libc::in_addr { s_addr: u32::from(addr).to_be() };
                let info =
                    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec, ipi_addr: nix::libc::in_addr { s_addr: 0 } };
                call(&[ControlMessage::Ipv4PacketInfo(&info)])
            }
            Self::V6(addr, ipi6_ifindex) => {
                let ipi6_addr = nix::libc::in6_addr { s6_addr: addr.octets() };
                call(&[ControlMessage::Ipv6PacketInfo(&in6_pktinfo { ipi6_addr, ipi6_ifindex })])
            }
        }
    }
}

/// The buffers of a batch, each for a datagram and then for the response to it.
pub(super) struct Batch {
    bytes: Box<[[u8; DATAGRAM_MAX]; BATCH]>,
    /// The length of the datagram or response in each buffer; 0 for no response.
    lengths: [usize; BATCH],
    addrs: [Option<SockaddrStorage>; BATCH],
    destination: [DestinationAddr; BATCH],
    received: MultiHeaders<SockaddrStorage>,
    to_send: MultiHeaders<SockaddrStorage>,
}

impl Batch {
    pub(super) fn new(server: &ServerSocket) -> io::Result<Self> {
        let headers = || -> io::Result<_> {
            let control = match server.socket.local_addr()? {
                _ if !server.wildcard => None,
                SocketAddr::V4(_) => Some(cmsg_space!(in_pktinfo)),
                SocketAddr::V6(_) => Some(cmsg_space!(in6_pktinfo)),
            };
            Ok(MultiHeaders::preallocate(BATCH, control))
        };
        Ok(Self {
            bytes: vec![[0; DATAGRAM_MAX]; BATCH].try_into().map_err(|_| io::ErrorKind::OutOfMemory)?,
            lengths: [0; BATCH],
            addrs: [None; BATCH],
            destination: [DestinationAddr::Bound; BATCH],
            received: headers()?,
            to_send: headers()?,
        })
    }

    /// Waits for a datagram, receives the others that are queued, and returns their number.
    pub(super) fn receive(&mut self, server: &ServerSocket) -> io::Result<usize> {
        let mut slices = self.bytes.each_mut().map(|bytes| [IoSliceMut::new(bytes)]);
        let fd = server.socket.as_raw_fd();
        let messages = recvmmsg(fd, &mut self.received, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        let mut count = 0;
        for message in messages {
            self.lengths[count] = message.bytes;
            self.addrs[count] = message.address;
            self.destination[count] =
                if server.wildcard { DestinationAddr::of(&message) } else { DestinationAddr::Bound };
            count += 1;
        }
        Ok(count)
    }

    /// Returns a buffer, the length of the datagram in it, and its peer.
    pub(super) fn datagram(&mut self, at: usize) -> (&mut [u8; DATAGRAM_MAX], usize, Option<DatagramPeer>) {
        let peer = self.addrs[at].map(|addr| DatagramPeer { addr, destination: self.destination[at] });
        (&mut self.bytes[at], self.lengths[at], peer)
    }

    /// Sets the length of the response in a buffer; 0 for none.
    pub(super) fn set_response(&mut self, at: usize, length: usize) {
        self.lengths[at] = length;
    }

    /// Sends the responses in the first `count` buffers and returns the number of those that could not be sent.
    pub(super) fn send(&mut self, server: &ServerSocket, count: usize) -> usize {
        let mut failed = 0;
        let mut at = 0;
        while at < count {
            if self.lengths[at] == 0 {
                at += 1;
                continue;
            }
            let sent = self.send_run(server, at, self.run(at, count)).unwrap_or(0);
            // 0: the first of them cannot be sent. Its queue is full, or there is no route to its address.
            failed += usize::from(sent == 0);
            at += sent.max(1);
        }
        failed
    }

    /// Returns the end of the run of responses that begins at `from` and has one source address.
    fn run(&self, from: usize, count: usize) -> usize {
        let other = |at: &usize| self.lengths[*at] == 0 || self.destination[*at] != self.destination[from];
        (from..count).find(other).unwrap_or(count)
    }

    fn send_run(&mut self, server: &ServerSocket, from: usize, to: usize) -> io::Result<usize> {
        let Self { bytes, lengths, addrs, destination, to_send, .. } = self;
        let slices: [_; BATCH] = std::array::from_fn(|at| [IoSlice::new(&bytes[at][..lengths[at]])]);
        let fd = server.socket.as_raw_fd();
        let sent = destination[from].with_control(|control| {
            sendmmsg(fd, to_send, &slices[from..to], &addrs[from..to], control, MsgFlags::MSG_DONTWAIT)
                .map(Iterator::count)
        })?;
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exchanges datagrams between a socket bound to `bind` and a client that receives from `server_ip` only.
    fn exchange(bind: &str, server_ip: &str) {
        let server = ServerSocket::bind(bind.parse().unwrap()).unwrap();
        let number = server.socket.local_addr().unwrap().port();
        let client = UdpSocket::bind(SocketAddr::new(server_ip.parse().unwrap(), 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.connect(SocketAddr::new(server_ip.parse().unwrap(), number)).unwrap();
        let mut batch = Batch::new(&server).unwrap();
        // Headers are reused: the values that the kernel wrote into them must not affect the next round.
        for round in 1..4u8 {
            client.send(&[round, 1]).unwrap();
            client.send(&[round, 2]).unwrap();
            let mut received = 0;
            while received < 2 {
                let count = batch.receive(&server).unwrap();
                received += count;
                for at in 0..count {
                    let (bytes, length, peer) = batch.datagram(at);
                    assert_eq!((length, bytes[0], peer.unwrap().addr()), (2, round, client.local_addr().ok()));
                    bytes[2] = 7;
                    batch.set_response(at, 3);
                }
                assert_eq!(batch.send(&server, count), 0);
            }
            let mut response = [0; 9];
            assert_eq!((client.recv(&mut response).unwrap(), response[2]), (3, 7));
            assert_eq!(client.recv(&mut response).unwrap(), 3);
            let (_, _, peer) = batch.datagram(0);
            server.send(&peer.unwrap(), b"once").unwrap();
            assert_eq!(client.recv(&mut response).unwrap(), 4);
        }
    }

    #[test]
    fn responses_have_the_source_that_was_queried() {
        exchange("127.0.0.1:0", "127.0.0.1");
        exchange("0.0.0.0:0", "127.0.0.1");
        exchange("0.0.0.0:0", "127.8.7.6");
        exchange("[::1]:0", "::1");
        exchange("[::]:0", "::1");
    }

    #[test]
    fn unanswerable_peers_are_rejected() {
        let peer = |text: &str| {
            let addr: std::net::SocketAddrV4 = text.parse().unwrap();
            DatagramPeer { addr: SockaddrStorage::from(addr), destination: DestinationAddr::Bound }.addr()
        };
        assert!(peer("10.0.0.1:53").is_some());
        for forged in ["10.0.0.1:0", "0.0.0.0:53", "255.255.255.255:53"] {
            assert!(peer(forged).is_none(), "{forged}");
        }
    }
}
