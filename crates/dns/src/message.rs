//! A request in the form that the handler reads, and the transports.
//!
//! Owns: the parts of a message that the handler reads. Does not own: parsing, which hickory-server does, nor the
//! response ([`super::handler`]).

use hickory_proto::op::{Edns, Metadata, Query};
use std::net::SocketAddr;

/// The transport of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP: the response has a limit, and the client's address may be forged.
    Udp,
    /// TCP (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
}

impl Transport {
    /// All transports, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }

    /// Returns whether no third party can read it.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

/// A request that was parsed.
#[derive(Debug)]
pub struct Request {
    /// The header, without its counts.
    pub metadata: Metadata,
    /// The question section.
    pub queries: Vec<Query>,
    /// The question section in its wire form, which the response repeats byte by byte.
    pub question: Box<[u8]>,
    /// The OPT record, if present.
    pub edns: Option<Edns>,
    /// The client's address.
    pub from: SocketAddr,
    /// The transport that the message came over.
    pub transport: Transport,
}

impl Request {
    /// The request that hickory-server parsed. It parses a whole message: an error behind the question section makes the
    /// whole message malformed.
    pub fn of(message: &hickory_server::server::Request, transport: Transport) -> Self {
        Self {
            metadata: message.metadata,
            queries: message.queries.queries().iter().map(|query| query.original().clone()).collect(),
            question: message.queries.as_bytes().into(),
            edns: message.edns.clone(),
            from: message.src(),
            transport,
        }
    }

    /// The EDNS version of the request.
    pub fn version(&self) -> u8 {
        self.edns.as_ref().map_or(0, Edns::version)
    }
}
