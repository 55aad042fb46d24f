//! A request, as the handler wants it, and what it came over.
//!
//! Owns: which bytes are a request. Does not own: the parts of a message, which hickory reads, nor what is
//! said to it ([`super::handler`]).

use hickory_proto::op::{Edns, Header, Message, Metadata, Query};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};
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
    /// Reads all of a message. A message that goes wrong only behind its question is wrong as a whole.
    pub fn read(bytes: &[u8], from: SocketAddr, transport: Transport) -> Result<Self, DecodeError> {
        let mut decoder = BinDecoder::new(bytes);
        let Header { metadata, counts } = Header::read(&mut decoder)?;
        let start = decoder.index();
        // Not room for as many as the header says: twelve bytes can say 65,535.
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

    /// The EDNS version that is asked for.
    pub fn version(&self) -> u8 {
        self.edns.as_ref().map_or(0, Edns::version)
    }
}
