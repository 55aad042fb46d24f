//! The response to a request: the header, EDNS, and the limit of the transport.
//!
//! Owns: errors of a request beside its question, EDNS (RFC 6891), the size limit of the response. Does not own: the
//! answer ([`super::answer()`]), nor the bytes of request and response ([`super::message`], `encode`).

use super::answer::answer;
use super::dnssec::{Dnssec, Signing};
use super::encode::ResponseWriter;
use super::forwarder::{Forwarder, Requester, hops};
use super::message::{Request, Transport};
use super::response::{ExtendedError, Question, Response};
use super::settings::DnsSettings;
use super::size::{Fit, fit, weighted_shuffle};
use super::stats::DnsStats;
use super::wire::EDE;
use hickory_proto::op::{Edns, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::serialize::binary::BinEncodable;
use skyhound_core::catalog::{Catalog, Health};
use std::net::IpAddr;
use std::sync::Arc;

/// The option code of a connection's idle timeout (RFC 7828).
const KEEPALIVE: u16 = 11;
/// The size limit of responses to clients without EDNS (RFC 1035 section 4.2.1), and the minimum that an EDNS size is
/// raised to (RFC 6891 section 6.2.3).
pub(super) const UDP_PAYLOAD_DEFAULT: u16 = 512;

/// Answers requests from a catalog.
#[derive(Debug, Clone)]
pub struct Handler {
    catalog: Arc<Catalog>,
    settings: Arc<DnsSettings>,
    stats: Arc<DnsStats>,
    forwarder: Arc<Forwarder>,
    dnssec: Arc<Dnssec>,
}

impl Handler {
    /// Creates a handler with its own counters.
    pub fn new(catalog: Arc<Catalog>, settings: DnsSettings) -> Self {
        let forwarder = Arc::new(Forwarder::new(settings.forward.clone()));
        let (settings, stats) = (Arc::new(settings), Arc::<DnsStats>::default());
        let dnssec = Arc::new(Dnssec::new(Arc::clone(&settings), Arc::clone(&stats)));
        Self { catalog, settings, stats, forwarder, dnssec }
    }

    /// The counters.
    pub fn stats(&self) -> Arc<DnsStats> {
        Arc::clone(&self.stats)
    }

    /// Returns whether a client has permission to query.
    pub(super) fn allows_client(&self, client: IpAddr) -> bool {
        self.settings.access.allows(client)
    }

    /// The answer, or the error of the request.
    fn decide(&self, request: &Request, rotation: u64) -> Response {
        let queried = match &request.queries[..] {
            [query] => Some(query),
            _ => None,
        };
        self.stats.count_request(queried.map(|query| query.query_type), request.transport);
        // For every transport: a listener may have checked already, but need not.
        if !self.allows_client(request.from.ip()) {
            self.stats.count_denied();
            return Response::empty(ResponseCode::Refused, Some(ExtendedError::Prohibited));
        }
        // The version first: the rest of a later version may have another meaning (RFC 6891 section 6.1.3).
        if request.version() > 0 {
            return Response::empty(ResponseCode::BADVERS, None);
        }
        if request.metadata.op_code != OpCode::Query {
            return Response::empty(ResponseCode::NotImp, None);
        }
        // One question in a message: two have no agreed meaning (RFC 9619).
        let question = queried.map(|q| Question::new(q.name.clone(), q.query_type, q.query_class));
        let Some(Ok(question)) = question else { return Response::empty(ResponseCode::FormErr, None) };
        let health = self.catalog.health();
        let zones = &self.settings.static_zones;
        if let Some(response) = zones.answer(&self.catalog.snapshot(), health, &self.settings, &question, rotation) {
            return response;
        }
        if matches!(health, Health::Stale { .. }) {
            self.stats.count_stale();
        }
        answer(&self.catalog.snapshot(), health, &self.settings, &question, rotation)
    }

    /// The OPT record of the response: present if and only if the request had one (RFC 6891 section 7).
    fn edns(&self, request: &Request, extended_error: Option<ExtendedError>) -> Option<Edns> {
        let request_edns = request.edns.as_ref()?;
        let mut edns = Edns::new();
        edns.set_max_payload(self.settings.udp_payload_max.max(UDP_PAYLOAD_DEFAULT));
        edns.set_dnssec_ok(request_edns.flags().dnssec_ok); // RFC 3225 section 3
        if let Some(extended_error) = extended_error {
            let code = (extended_error as u16).to_be_bytes().to_vec();
            edns.options_mut().insert(EdnsOption::Unknown(EDE, code));
        }
        // RFC 7828 section 3.3.2: on request, and on connections that carry DNS only.
        let keepalive = request_edns.option(EdnsCode::Keepalive).is_some();
        if keepalive && matches!(request.transport, Transport::Tcp | Transport::Tls) {
            let tenths = u16::try_from(self.settings.streams.idle_timeout.as_millis() / 100).unwrap_or(u16::MAX);
            edns.options_mut().insert(EdnsOption::Unknown(KEEPALIVE, tenths.to_be_bytes().to_vec()));
        }
        Some(edns)
    }

    /// Fits the response to its transport. Over UDP a client gets the rest over TCP (`truncated`, which becomes TC); the
    /// other transports have no larger one to change to, so that a part is the answer.
    fn fit_to_transport(
        &self,
        response: &mut Response,
        request: &Request,
        max_len: u16,
        seed: u64,
        signing: Option<&Signing<'_>>,
    ) -> Fit {
        let question = &request.question;
        let udp = request.transport == Transport::Udp;
        let mut fits = match signing {
            Some(signing) => signing.fit(response, question, max_len, udp, seed),
            None => fit(response, question, max_len),
        };
        // A referral without its glue leads nowhere (RFC 9471 section 3.1).
        let is_referral = response.is_static && !response.authoritative && !response.authority.is_empty();
        fits.truncated |= udp && is_referral && fits.additional < response.additional.len();
        if !fits.truncated {
            return fits;
        }
        if udp {
            self.stats.count_truncated();
            return fits;
        }
        if signing.is_none() {
            weighted_shuffle(response, seed);
            fits = fit(response, question, max_len);
        }
        self.stats.count_subset();
        if fits.answers == 0 {
            // One record exceeds 64 KiB. An empty success would deny it.
            *response = Response::empty(ResponseCode::ServFail, None);
        }
        Fit { truncated: false, ..fits }
    }

    /// The size limit of the response in bytes.
    pub(super) fn size_limit(&self, request: &Request) -> u16 {
        match (request.transport, &request.edns) {
            (Transport::Udp, Some(edns)) => {
                edns.max_payload().min(self.settings.udp_payload_max).max(UDP_PAYLOAD_DEFAULT)
            }
            (Transport::Udp, None) => UDP_PAYLOAD_DEFAULT,
            _ => u16::MAX,
        }
    }

    /// The response to a request, before it is encoded. It waits for upstream servers only.
    pub(super) async fn prepare(&self, request: &Request) -> PreparedResponse {
        // Random, not counted: clients query A and AAAA in pairs, and with a counter shared by all questions two
        // instances would never change their order for either type.
        let rotation = fastrand::u64(..);
        let client = Requester {
            ip: request.from.ip(),
            recursion_desired: request.metadata.recursion_desired,
            hops: hops(request.edns.as_ref()),
        };
        let mut response = self.decide(request, rotation);
        let signing = self.dnssec.signing(request, &response).filter(|_| !response.is_static);
        self.settings.static_zones.complete(&self.settings, &mut response);
        let mut response = self.forwarder.complete(response, client).await;
        let edns = self.edns(request, response.extended_error);
        let opt = edns.as_ref().and_then(|edns| edns.to_bytes().ok()).map_or(0, |bytes| bytes.len());
        let max_len = self.size_limit(request).saturating_sub(u16::try_from(opt).unwrap_or(u16::MAX));
        let fits = self.fit_to_transport(&mut response, request, max_len, rotation, signing.as_ref());
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.truncation = fits.truncated;
        metadata.authoritative = response.authoritative;
        metadata.recursion_available = self.settings.forward.is_enabled() && self.forwarder.allows(client.ip);
        metadata.response_code = response.rcode;
        self.stats.count_response(response.rcode);
        PreparedResponse { response, fits, metadata, edns }
    }
}

/// A response before it is encoded: by [`encode`], or by another server's encoder (`request_handler`).
pub(super) struct PreparedResponse {
    pub response: Response,
    /// The records that fit the transport.
    pub fits: Fit,
    pub metadata: Metadata,
    pub edns: Option<Edns>,
}

/// The response in wire form, and its counts. It has the size that was measured: `fit` writes with the same
/// [`ResponseWriter`].
pub(super) fn encode(request: &Request, prepared: PreparedResponse) -> (Vec<u8>, HeaderCounts) {
    let PreparedResponse { response, fits, metadata, edns } = prepared;
    let Some(mut writer) = ResponseWriter::new(&request.question, u16::MAX) else { return Default::default() };
    let mut section = |records: &[_]| u16::try_from(writer.records(records)).unwrap_or(u16::MAX);
    let counts = HeaderCounts {
        queries: u16::try_from(request.queries.len()).unwrap_or(u16::MAX),
        answers: section(&response.answers[..fits.answers]),
        authorities: section(&response.authority[..fits.authority]),
        additionals: section(&response.additional[..fits.additional]),
    };
    // RFC 7830 section 4: a padded request gets a padded response.
    let padded = request.transport.is_encrypted()
        && request.edns.as_ref().is_some_and(|edns| edns.option(EdnsCode::Padding).is_some());
    (writer.finish(metadata, counts, edns.map(|edns| (edns, padded))), counts)
}
