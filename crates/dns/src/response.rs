//! The question and the response as values, which every rule produces and every transport sends.
//!
//! Owns: the types. Does not own: the rules that fill them ([`super::answer()`]) nor their wire form (`encode`).
//! They are in a file of their own, below all of their users, so that the modules of the rules import each other in
//! one direction.

use super::wire;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name as WireName, Record, RecordType};
use skyhound_model::Name;
use skyhound_model::name::NameError;
use std::net::SocketAddr;

/// The question of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name in the case of the request, which owner names repeat: resolvers mix the case at random and drop
    /// responses that do not (draft-vixie-dnsext-dns0x20).
    pub name: WireName,
    /// The same name as a path in the tree.
    pub tree_name: Name,
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub class: DNSClass,
}

impl Question {
    /// A question about a name in its wire form.
    pub fn new(name: WireName, qtype: RecordType, class: DNSClass) -> Result<Self, NameError> {
        Ok(Self { tree_name: wire::to_tree_name(&name)?, name, qtype, class })
    }
}

/// A response before it is fitted to a transport.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The rcode.
    pub rcode: ResponseCode,
    /// AA: this server is an authority for the zone (RFC 1035 section 4.1.1).
    pub authoritative: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section: the SOA of a negative answer.
    pub authority: Vec<Record>,
    /// The additional section without the OPT record, in the order of the answers that its records belong to: a
    /// record that does not fit belongs to the last of them.
    pub additional: Vec<Record>,
    /// The reason of the rcode, for clients with EDNS.
    pub extended_error: Option<ExtendedError>,
    /// The weight of each SRV record's entry before any rounding, in the order of the answer section. A subset has
    /// to be fair by these weights.
    pub stored_weights: Vec<u16>,
    /// The queries to other servers that complete the response. [`super::forwarder`] sends them for clients with
    /// permission; for all others the response is valid without their results.
    pub upstream_queries: Vec<UpstreamQuery>,
    /// True for a response from a static zone, which is not signed.
    pub is_static: bool,
}

impl Response {
    /// A response without records.
    pub(super) fn empty(rcode: ResponseCode, extended_error: Option<ExtendedError>) -> Self {
        Self { rcode, extended_error, ..Self::default() }
    }
}

/// The extended DNS errors (RFC 8914 section 4) that this server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ExtendedError {
    /// The store is unavailable; the answer is of its last known state.
    Stale = 3,
    /// The store was not read yet.
    NotReady = 14,
    /// The client has no permission for this question.
    Prohibited = 18,
    /// As [`Self::Stale`], for a name that did not exist.
    StaleNxDomain = 19,
    /// No zone of this server holds the name.
    NotAuthoritative = 20,
    /// Questions of this kind are not answered.
    NotSupported = 21,
    /// None of the upstream servers responded.
    NoReachableAuthority = 22,
    /// The stored values at the name are unreadable.
    InvalidData = 24,
}

impl ExtendedError {
    /// The name in `/explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "Stale",
            Self::NotReady => "NotReady",
            Self::Prohibited => "Prohibited",
            Self::StaleNxDomain => "StaleNoName",
            Self::NotAuthoritative => "NotAuthoritative",
            Self::NotSupported => "NotSupported",
            Self::NoReachableAuthority => "NoneReachable",
            Self::InvalidData => "InvalidData",
        }
    }
}

/// A query to other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamQuery {
    /// The name.
    pub name: WireName,
    /// The type.
    pub qtype: RecordType,
    /// The servers of a stub zone, or `None` for those of `--nameserver`.
    pub servers: Option<Vec<SocketAddr>>,
    /// The use of the result.
    pub part: ResponsePart,
}

/// The part of a response that the result of an upstream query becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponsePart {
    /// The whole response.
    Whole,
    /// Records of the answer section, behind the alias that leads to them.
    Answer,
    /// Records of the additional section.
    Additional,
}
