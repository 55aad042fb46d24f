//! The handler as a [`RequestHandler`] of hickory-server, for this crate's listeners and for those of other programs.
//!
//! ```text
//! our listeners ─▶ general ─▶ Request::from_bytes ─▶ handle_request(request, Collector) ─▶ our encoder ─▶ bytes
//! hickory_server::Server ─────────────────────────▶ handle_request(request, …) ─▶ hickory's encoder ─▶ socket
//! ```
//! Owns: the two ends of that interface. Does not own: the answer ([`super::handler`]) nor the listeners.
//!
//! A [`hickory_server::server::ResponseHandler`] receives records and encodes them itself. hickory's encoder compresses
//! the first 120 names of a message only, so that a large answer would lose a third of its records. Every response
//! handler is `'static`, and `Collector` is therefore recognised by its type: it receives the bytes of our encoder.
//!
//! hickory-server's listeners limit neither connections nor questions in flight, and code outside of them cannot.
//! A program that mounts the handler in a `hickory_server::Server` gets the same access lists, response sizes, signing,
//! forwarding and static zones; `--dns-rate`, the connection limits, padding and the fast path belong to our listeners.

use super::handler::{Handler, PreparedResponse, UDP_PAYLOAD_DEFAULT, encode};
use super::message::{Request, Transport};
use async_trait::async_trait;
use hickory_net::NetError;
use hickory_net::runtime::Time;
use hickory_net::xfer::Protocol;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::server::{self, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder};
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::debug;

/// The number of names of a message that hickory's encoder compresses.
const COMPRESSED_NAMES: usize = 120;

/// The protocol that is stated to hickory-server. It names TLS and HTTPS only with features that bring its own
/// listeners; [`Collector`] knows the transport.
pub(super) fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Udp => Protocol::Udp,
        Transport::Tcp | Transport::Tls | Transport::Https => Protocol::Tcp,
    }
}

/// The transport of a request from a listener that is not ours.
fn transport(protocol: Protocol) -> Transport {
    match (protocol.is_datagram(), protocol.is_encrypted()) {
        (true, _) => Transport::Udp,
        (false, true) => Transport::Tls,
        (false, false) => Transport::Tcp,
    }
}

/// A response handler that stores the response's bytes. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    transport: Transport,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Creates a collector for one request over `transport`.
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport, bytes: Arc::default() }
    }

    /// Takes the bytes of the response.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, bytes: Vec<u8>) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// Returns the handler as a `Collector`, if it is one.
    fn recognise<R: ResponseHandler>(handler: &R) -> Option<&Self> {
        (handler as &dyn Any).downcast_ref()
    }
}

#[async_trait]
impl ResponseHandler for Collector {
    /// Encodes the response of another request handler with hickory's encoder.
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        if self.transport == Transport::Udp {
            encoder.set_max_size(response.edns().map_or(UDP_PAYLOAD_DEFAULT, Edns::max_payload));
        }
        let info = response.destructive_emit(&mut encoder)?;
        self.put(bytes);
        Ok(info)
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &server::Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        if let Some(transport) = Collector::recognise(&response_handle).map(|collector| collector.transport) {
            let ours = Request::of(request, transport);
            let response = self.prepare(&ours).await;
            let metadata = response.metadata;
            let (bytes, counts) = encode(&ours, response);
            if let Some(collector) = Collector::recognise(&response_handle) {
                collector.put(bytes);
            }
            return Header { metadata, counts }.into();
        }
        let ours = Request::of(request, transport(request.protocol()));
        let PreparedResponse { response: prepared, fits, metadata, mut edns } = self.prepare(&ours).await;
        if let Some(edns) = &mut edns {
            // The listener decides how long a connection may be idle.
            edns.options_mut().remove(EdnsCode::Keepalive);
            if ours.transport == Transport::Udp {
                // hickory's encoder takes the size that the response states for the limit of the response.
                edns.set_max_payload(self.size_limit(&ours));
            }
        }
        let build = |answers: usize, authority: usize, additional: usize| {
            MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
                metadata,
                &prepared.answers[..answers],
                &prepared.authority[..authority],
                &[],
                &prepared.additional[..additional],
            )
        };
        let mut counts = (fits.answers, fits.authority, fits.additional);
        // Records that hickory's encoder omits set TC in a response, also over TCP, where a client has no larger
        // transport to retry with. The records that remain start anywhere in the set, by the rotation.
        while ours.transport != Transport::Udp && counts.0 + counts.1 + counts.2 > COMPRESSED_NAMES / 2 {
            let mut scratch = Vec::new();
            let emitted = build(counts.0, counts.1, counts.2).destructive_emit(&mut BinEncoder::new(&mut scratch));
            let Ok(info) = emitted else { break };
            let written = usize::from(info.counts().answers);
            counts = match counts {
                _ if !info.truncation => break,
                (answers, authority, 1..) if written == answers => (answers, authority, 0),
                // One fewer, for the OPT record.
                _ => (written.saturating_sub(1), 0, 0),
            };
        }
        let response = build(counts.0, counts.1, counts.2);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                debug!(%error, "cannot send a DNS response");
                let mut metadata = Metadata::response_from_request(&metadata);
                metadata.response_code = ResponseCode::ServFail;
                Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}
