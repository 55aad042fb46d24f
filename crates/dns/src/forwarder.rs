//! Sends the upstream queries that complete a response ([`super::upstream`]).
//!
//! Owns: the clients with permission, the choice of the next server, deadlines, the limit of concurrent questions, and
//! the protection against forwarding loops. Does not own: the queries (values of [`super::answer()`]), nor sockets,
//! random ids and ports, and the matching of responses with queries (hickory's clients).
//!
//! Nothing is cached here: that is the task of the resolver in front, or of the upstream.

use super::response::{ExtendedError, Response, ResponsePart, UpstreamQuery};
use super::settings::{FORWARD_ATTEMPT, FORWARD_DEADLINE, FORWARD_MAX, ForwardSettings};
use futures_util::StreamExt;
use futures_util::future::join_all;
use hickory_net::NetError;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsHandle, DnsRequestSender};
use hickory_proto::op::{DnsRequest, DnsRequestOptions, Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

/// The EDNS option that counts how often daemons of this kind forwarded a question, in the range for local use
/// (RFC 6891 section 9). Two daemons with each other as their `--nameserver` would otherwise forward one question for
/// ever.
const HOPS: u16 = 65_313;
/// The limit of hops of a question.
const HOPS_MAX: u8 = 4;
/// The size of UDP responses that upstream servers may send.
const PAYLOAD: u16 = 1232;

/// The client whose question is forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Requester {
    /// The address of the client.
    pub ip: IpAddr,
    /// RD: the client wants recursion (RFC 1035 section 4.1.1).
    pub recursion_desired: bool,
    /// The number of times that the question was forwarded before.
    pub hops: u8,
}

/// The client of the upstream servers.
#[derive(Debug)]
pub struct Forwarder {
    settings: ForwardSettings,
    /// The counter that makes each server the first in turn.
    next_server: AtomicUsize,
    in_flight: Semaphore,
}

impl Forwarder {
    /// Creates a forwarder; it sends nothing yet.
    pub fn new(settings: ForwardSettings) -> Self {
        Self { settings, next_server: AtomicUsize::new(0), in_flight: Semaphore::new(FORWARD_MAX) }
    }

    /// Returns whether a client has permission to have questions forwarded (RA).
    pub fn allows(&self, ip: IpAddr) -> bool {
        !self.settings.disabled && self.settings.allow.iter().any(|net| net.contains(ip))
    }

    /// Completes a response for a client with permission; returns it unchanged for others.
    pub async fn complete(&self, mut response: Response, client: Requester) -> Response {
        let open_queries = std::mem::take(&mut response.upstream_queries);
        if open_queries.is_empty() || !client.recursion_desired || !self.allows(client.ip) || client.hops >= HOPS_MAX {
            return response;
        }
        let Ok(_permit) = self.in_flight.try_acquire() else { return without_upstream(response, &open_queries) };
        let queries = join_all(open_queries.iter().map(|query| self.query_servers(query, client.hops)));
        let Ok(results) = timeout(FORWARD_DEADLINE, queries).await else {
            return without_upstream(response, &open_queries);
        };
        for (query, result) in open_queries.iter().zip(results) {
            response = match (query.part, result) {
                (ResponsePart::Whole, Some(message)) => relayed(message),
                (_, None) => without_upstream(response, std::slice::from_ref(query)),
                (part, Some(message)) => merged(response, part, message),
            };
        }
        response
    }

    /// Queries the servers one after the other until one has an answer.
    async fn query_servers(&self, query: &UpstreamQuery, hops: u8) -> Option<Message> {
        let servers = query.servers.as_deref().unwrap_or(&self.settings.servers);
        let first = self.next_server.fetch_add(1, Relaxed) % servers.len().max(1);
        let (after, before) = servers.split_at(first);
        for server in before.iter().chain(after) {
            match timeout(FORWARD_ATTEMPT, exchange(*server, query_message(query, hops))).await {
                // A failure is no better than no response: the next server may have an answer.
                Ok(Ok(message)) if !is_failure(message.metadata.response_code) => return Some(message),
                Ok(Ok(message)) => {
                    debug!(%server, rcode = %message.metadata.response_code, "upstream failed; trying the next one");
                }
                Ok(Err(error)) => debug!(%server, %error, "upstream is unreachable; trying the next one"),
                Err(_) => debug!(%server, "upstream timed out; trying the next one"),
            }
        }
        None
    }
}

fn is_failure(rcode: ResponseCode) -> bool {
    !matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn query_message(query: &UpstreamQuery, hops: u8) -> Message {
    let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(query.name.clone(), query.qtype));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    edns.options_mut().insert(EdnsOption::Unknown(HOPS, vec![hops + 1]));
    message.edns = Some(edns);
    message
}

/// The number of times that a question was forwarded before it came here.
pub fn hops(edns: Option<&Edns>) -> u8 {
    match edns.and_then(|edns| edns.option(EdnsCode::Unknown(HOPS))) {
        Some(EdnsOption::Unknown(_, data)) => data.first().copied().unwrap_or(HOPS_MAX),
        _ => 0,
    }
}

/// Queries one server over UDP, and over TCP if the response is truncated.
async fn exchange(server: SocketAddr, message: Message) -> Result<Message, NetError> {
    let provider = TokioRuntimeProvider::default();
    let options = DnsRequestOptions::default();
    let mut udp = UdpClientStream::builder(server, provider.clone()).with_timeout(Some(FORWARD_ATTEMPT)).build();
    let response = udp.send_message(DnsRequest::new(message.clone(), options)).next().await;
    let response = response.ok_or_else(|| NetError::from("no response over UDP"))??;
    if !response.metadata.truncation {
        return Ok(response.into_message());
    }
    let tcp = TcpClientStream::exchange(server, None, FORWARD_ATTEMPT, None, provider).await?;
    let response = tcp.send(DnsRequest::new(message, options)).next().await;
    Ok(response.ok_or_else(|| NetError::from("no response over TCP"))??.into_message())
}

/// The response of an upstream in place of this server's. AA is not set: it is only forwarded.
fn relayed(message: Message) -> Response {
    Response {
        rcode: message.metadata.response_code,
        answers: message.answers,
        authority: message.authorities,
        additional: message.additionals,
        ..Response::default()
    }
}

/// The response with an upstream's records added. Records of types that were not queried are dropped.
fn merged(mut response: Response, part: ResponsePart, message: Message) -> Response {
    let section = if part == ResponsePart::Answer { &mut response.answers } else { &mut response.additional };
    for record in message.answers {
        let relevant = part == ResponsePart::Answer
            || matches!(record.record_type(), RecordType::A | RecordType::AAAA | RecordType::CNAME);
        if relevant && !section.contains(&record) {
            section.push(record);
        }
    }
    response
}

/// The response when no upstream has an answer: SERVFAIL for a question that is the upstream's as a whole. An alias is
/// sent without its target, and the client may follow it.
fn without_upstream(response: Response, open_queries: &[UpstreamQuery]) -> Response {
    if open_queries.iter().any(|query| query.part == ResponsePart::Whole) {
        return Response::empty(ResponseCode::ServFail, Some(ExtendedError::NoReachableAuthority));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::super::dnssec::key::ZoneKey;
    use super::super::testing::{question, settings, snapshot};
    use super::super::{DnsSettings, answer};
    use super::*;
    use hickory_proto::dnssec::Algorithm;
    use hickory_proto::rr::Name;
    use skyhound_core::catalog::Health;

    const TREE: &[(&str, &str)] = &[
        ("out", r#"{"host":"www.example.org"}"#),
        ("short", r#"{"host":"printer"}"#),
        ("pool/a", r#"{"host":"a.example.org","port":1}"#),
        ("dns/stub/com/example/ns1", r#"{"host":"10.0.0.53"}"#),
        ("dns/stub/com/example/sub/ns1", r#"{"host":"10.0.0.54","port":5353}"#),
        ("dns/stub/test/skydns/in/dc2/ns1", r#"{"host":"10.0.0.55"}"#),
        ("dns/stub/test/skydns/ns1", r#"{"host":"10.0.0.56"}"#),
        ("in/dc2/here", r#"{"host":"10.0.0.1"}"#),
    ];

    fn upstream_queries(settings: &DnsSettings, name: &str, qtype: RecordType) -> Vec<String> {
        let response = answer(&snapshot(TREE), Health::Current, settings, &question(name, qtype), 0);
        let line = |query: &UpstreamQuery| {
            let servers = query.servers.as_deref().unwrap_or(&[]);
            format!("{} {} {:?} {servers:?}", query.name, query.qtype, query.part)
        };
        response.upstream_queries.iter().map(line).collect()
    }

    fn forwarding() -> DnsSettings {
        let mut settings = settings();
        settings.forward.servers = vec!["10.0.0.1:53".parse().unwrap()];
        settings
    }

    #[test]
    fn upstream_queries_follow_aliases_and_ndots() {
        let on = forwarding();
        assert_eq!(upstream_queries(&on, "out.skydns.test.", RecordType::A), ["www.example.org. A Answer []"]);
        assert_eq!(upstream_queries(&on, "short.skydns.test.", RecordType::A), [""; 0]);
        let both = ["a.example.org. A Additional []", "a.example.org. AAAA Additional []"];
        assert_eq!(upstream_queries(&on, "pool.skydns.test.", RecordType::SRV), both);
        assert_eq!(upstream_queries(&on, "example.net.", RecordType::MX), ["example.net. MX Whole []"]);
        assert_eq!(upstream_queries(&on, "net.", RecordType::MX), [""; 0], "--ndots");
    }

    #[test]
    fn only_stub_zones_are_queried_without_a_nameserver() {
        let off = settings();
        assert_eq!(upstream_queries(&off, "out.skydns.test.", RecordType::A), [""; 0]);
        assert_eq!(upstream_queries(&off, "example.net.", RecordType::A), [""; 0]);
        assert_eq!(
            upstream_queries(&off, "www.example.com.", RecordType::A),
            ["www.example.com. A Whole [10.0.0.53:53]"]
        );
        assert_eq!(
            upstream_queries(&off, "a.sub.example.com.", RecordType::A),
            ["a.sub.example.com. A Whole [10.0.0.54:5353]"]
        );
        assert_eq!(upstream_queries(&off, "badexample.com.", RecordType::A), [""; 0]);
        let mut disabled = forwarding();
        disabled.forward.disabled = true;
        assert_eq!(upstream_queries(&disabled, "www.example.com.", RecordType::A), [""; 0]);
        assert_eq!(upstream_queries(&disabled, "out.skydns.test.", RecordType::A), [""; 0]);
    }

    /// The rcode for a client without permission to forward, and the servers for one with it.
    #[test]
    fn stub_zone_answers_names_missing_in_the_store() {
        let response = |settings: &DnsSettings, name: &str| {
            let response = answer(&snapshot(TREE), Health::Current, settings, &question(name, RecordType::A), 0);
            let servers = response.upstream_queries.iter().flat_map(|query| query.servers.clone().unwrap_or_default());
            (response.rcode, servers.map(|server| server.to_string()).collect::<Vec<_>>().join(" "))
        };
        let none = String::new;
        let delegated = || (ResponseCode::Refused, "10.0.0.55:53".to_owned());
        let mut enabled = settings();
        assert_eq!(response(&enabled, "there.dc2.in.skydns.test."), delegated());
        assert_eq!(response(&enabled, "_web._tcp.dc2.in.skydns.test."), delegated());
        assert_eq!(response(&enabled, "here.dc2.in.skydns.test."), (ResponseCode::NoError, none()));
        assert_eq!(
            response(&enabled, "dc2.in.skydns.test."),
            (ResponseCode::NoError, none()),
            "the store has entries below it"
        );
        assert_eq!(response(&enabled, "xdc2.in.skydns.test."), (ResponseCode::NXDomain, none()));
        assert_eq!(
            response(&enabled, "nosuch.skydns.test."),
            (ResponseCode::NXDomain, none()),
            "a zone of this server is no stub zone"
        );
        enabled.forward.disabled = true;
        assert_eq!(response(&enabled, "there.dc2.in.skydns.test.").0, ResponseCode::NXDomain);
        let mut signed = settings();
        signed.keys.push(ZoneKey::for_zone("skydns.test", Algorithm::ED25519).into());
        assert_eq!(response(&signed, "there.dc2.in.skydns.test.").0, ResponseCode::NXDomain);

        let stub_only = snapshot(&[("dns/stub/test/skydns/in/dc2/ns1", r#"{"host":"10.0.0.55"}"#)]);
        let rcode = |name| answer(&stub_only, Health::Current, &settings(), &question(name, RecordType::A), 0).rcode;
        assert_eq!(rcode("in.skydns.test."), ResponseCode::NoError, "it is above a stub zone");
        assert_eq!(rcode("dc2.in.skydns.test."), ResponseCode::Refused);
    }

    #[tokio::test]
    async fn forwarder_rejects_unpermitted_clients_and_loops() {
        let forwarder = Forwarder::new(forwarding().forward);
        let query = UpstreamQuery {
            name: Name::root(),
            qtype: RecordType::A,
            servers: Some(vec![]),
            part: ResponsePart::Whole,
        };
        let response =
            || Response { upstream_queries: vec![query.clone()], ..Response::empty(ResponseCode::Refused, None) };
        let allowed = Requester { ip: "127.0.0.1".parse().unwrap(), recursion_desired: true, hops: 0 };
        for (client, rcode) in [
            (allowed, ResponseCode::ServFail),
            (Requester { ip: "192.0.2.1".parse().unwrap(), ..allowed }, ResponseCode::Refused),
            (Requester { recursion_desired: false, ..allowed }, ResponseCode::Refused),
            (Requester { hops: HOPS_MAX, ..allowed }, ResponseCode::Refused),
        ] {
            assert_eq!(forwarder.complete(response(), client).await.rcode, rcode, "{client:?}");
        }
    }

    #[test]
    fn hops_are_counted() {
        let query =
            UpstreamQuery { name: Name::root(), qtype: RecordType::A, servers: None, part: ResponsePart::Whole };
        assert_eq!(hops(query_message(&query, 2).edns.as_ref()), 3);
        assert_eq!(hops(None), 0);
    }
}
