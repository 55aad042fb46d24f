//! A request in the form that the handler reads, and the transports.
//!
//! Owns: which bytes are a request. Does not own: the parts of a message, which hickory parses, nor the response
//! ([`super::handler`]).

use hickory_proto::op::{Edns, Header, Message, Metadata, Query};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};
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
    /// Reads a whole message. An error behind the question section makes the whole message malformed.
    pub fn read(bytes: &[u8], from: SocketAddr, transport: Transport) -> Result<Self, DecodeError> {
        let mut decoder = BinDecoder::new(bytes);
        let Header { metadata, counts } = Header::read(&mut decoder)?;
        let start = decoder.index();
        // No allocation for the number in the header: twelve bytes can claim 65,535.
        let mut queries = Vec::new();
        for _ in 0..counts.queries {
            queries.push(Query::read(&mut decoder)?);
        }
        let question = decoder.slice_from(start)?.into();
        let mut section = |count: u16, is_additional| {
            Message::read_records(&mut decoder, count.into(), is_additional, metadata.op_code)
        };
        section(counts.answers, false)?;
        section(counts.authorities, false)?;
        let (_, edns, _) = section(counts.additionals, true)?;
        Ok(Self { metadata, queries, question, edns, from, transport })
    }

    /// The EDNS version of the request.
    pub fn version(&self) -> u8 {
        self.edns.as_ref().map_or(0, Edns::version)
    }
}
