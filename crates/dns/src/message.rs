//! A request, as the handler wants it, and what it came over.
//!
//! Owns: what of a message the handler needs. Does not own: reading it, which hickory-server does, nor what is
//! said to it ([`super::handler`]).

use hickory_proto::op::{Edns, Metadata, Query};
use std::net::SocketAddr;

/// What a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// UDP: the answer has a limit, and who asks may be forged.
    Udp,
    /// TCP (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
}

impl Transport {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Tcp, Self::Tls, Self::Https];

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }

    /// Whether nobody else can read it.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

/// A message that was read.
#[derive(Debug)]
pub struct Request {
    /// The header, without its counts.
    pub metadata: Metadata,
    /// The question section.
    pub queries: Vec<Query>,
    /// The same in its wire form, which is said back to the byte.
    pub question: Box<[u8]>,
    /// The OPT record, if there is one.
    pub edns: Option<Edns>,
    /// Who asks.
    pub from: SocketAddr,
    /// Over what.
    pub transport: Transport,
}

impl Request {
    /// The request that hickory-server read from a message. It reads all of it: a message that goes wrong only behind
    /// its question is wrong as a whole.
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

    /// The EDNS version that is asked for.
    pub fn version(&self) -> u8 {
        self.edns.as_ref().map_or(0, Edns::version)
    }
}
