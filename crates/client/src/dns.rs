//! DNS queries to a list of name servers, over UDP, and over TCP after a truncated response.
//!
//! Owns: the query, the sockets, timeouts, retries and the choice of the server; the records that the client reads.
//! Does not own: the meaning of a response (`resolve`).
//!
//! A socket lives for one exchange. It has a random port, and being connected it receives from this server alone; with
//! the random id of the message a response is hard to forge. A resolver of hickory or of `domain::resolv` would keep
//! sockets and background tasks; the former brings a cache and some thirty crates along, and the latter sends no EDNS.

use domain::base::iana::Rcode;
use domain::base::message_builder::PushError;
use domain::base::wire::ParseError;
use domain::base::{Message, MessageBuilder, Name, ParsedRecord, Rtype, ToName};
use domain::rdata::{A, Aaaa, Cname, Srv};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Configuration file of the host's resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Limit of one exchange with one server over one transport.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Rounds over the servers after the first one, while none responds.
const RETRIES: usize = 1;
/// Announced size of UDP responses, which passes every usual path unfragmented. Without EDNS a response over 512
/// bytes, some ten instances, would always take a second exchange over TCP.
const UDP_PAYLOAD_MAX: u16 = 1232;
/// Buffer of a UDP response: servers may ignore the announced size.
const UDP_BUFFER: usize = 4096;

/// An absolute name. Compares without regard to case.
pub(crate) type DnsName = Name<Vec<u8>>;

/// A response, reduced to the records that the client reads.
#[derive(Debug)]
pub(crate) struct Response {
    /// Response code, with the upper bits of EDNS.
    pub(crate) rcode: u16,
    pub(crate) answers: Vec<Record>,
    pub(crate) additional: Vec<Record>,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) owner: DnsName,
    pub(crate) ttl: u32,
    pub(crate) data: RecordData,
}

#[derive(Debug)]
pub(crate) enum RecordData {
    Address(IpAddr),
    Alias(DnsName),
    Srv { priority: u16, weight: u16, port: u16, target: DnsName },
}

/// The name servers, in the order in which they are tried.
#[derive(Debug, Clone)]
pub(crate) struct NameServers(Arc<[SocketAddr]>);

impl NameServers {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self([server].into())
    }

    /// The servers of `/etc/resolv.conf`. Its search domains and options do not matter: names are absolute, and
    /// timeouts are the constants of this module.
    pub(crate) fn from_system() -> io::Result<Self> {
        Self::from_resolv_conf(&std::fs::read(RESOLV_CONF)?)
    }

    /// Reads the valid lines; glibc ignores invalid ones, too.
    fn from_resolv_conf(text: &[u8]) -> io::Result<Self> {
        let (config, _) = resolv_conf::Config::parse_with_errors(text);
        let servers: Arc<[_]> = config.nameservers.iter().map(|ip| SocketAddr::new(ip.into(), 53)).collect();
        if servers.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{RESOLV_CONF} lists no nameserver")));
        }
        Ok(Self(servers))
    }

    /// Sends a query to one server after the other until one has an answer. If none has, the result is an error code
    /// of a server, or else the last network error; only the latter is retried.
    pub(crate) async fn query(&self, name: &DnsName, record_type: Rtype) -> io::Result<Response> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for _ in 0..=RETRIES {
            let mut error_response = None;
            for server in &*self.0 {
                match exchange(*server, name, record_type).await {
                    Ok(response) if matches!(response.opt_rcode().into(), 0 | 3) => return parse(&response),
                    Ok(response) => error_response = Some(response),
                    Err(error) => failure = error,
                }
            }
            if let Some(response) = error_response {
                return parse(&response);
            }
        }
        Err(failure)
    }
}

/// One query to one server: over UDP, then over TCP if the response is truncated.
async fn exchange(server: SocketAddr, name: &DnsName, record_type: Rtype) -> io::Result<Message<Vec<u8>>> {
    let query = query_message(name, record_type)?;
    let response = in_time(exchange_udp(server, &query)).await?;
    if response.header().tc() { in_time(exchange_tcp(server, &query)).await } else { Ok(response) }
}

async fn in_time<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no response within {RESPONSE_TIMEOUT:?}"));
    timeout(RESPONSE_TIMEOUT, exchange).await.map_err(late)?
}

async fn exchange_udp(server: SocketAddr, query: &Message<Vec<u8>>) -> io::Result<Message<Vec<u8>>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query.as_slice()).await?;
    let mut bytes = vec![0; UDP_BUFFER];
    loop {
        let length = socket.recv(&mut bytes).await?;
        // Another message may be forged, and must not end the wait for the true one.
        if let Some(response) = response_to(query, bytes[..length].to_vec()) {
            return Ok(response);
        }
    }
}

async fn exchange_tcp(server: SocketAddr, query: &Message<Vec<u8>>) -> io::Result<Message<Vec<u8>>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.as_slice().len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let mut bytes = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut bytes).await?;
    response_to(query, bytes).ok_or_else(|| malformed("the response does not belong to the query"))
}

fn query_message(name: &DnsName, record_type: Rtype) -> io::Result<Message<Vec<u8>>> {
    let build = || {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_random_id();
        message.header_mut().set_rd(true);
        let mut question = message.question();
        question.push((name, record_type))?;
        let mut additional = question.additional();
        additional.opt(|opt| {
            opt.set_udp_payload_size(UDP_PAYLOAD_MAX);
            Ok(())
        })?;
        Ok::<_, PushError>(additional.into_message())
    };
    build().map_err(io::Error::other)
}

/// The message if it is the response to `query`. An error response may omit the question.
fn response_to(query: &Message<Vec<u8>>, bytes: Vec<u8>) -> Option<Message<Vec<u8>>> {
    let response = Message::from_octets(bytes).ok()?;
    let header = response.header();
    let bare_error = header.qr()
        && header.id() == query.header().id()
        && header.rcode() != Rcode::NOERROR
        && response.header_counts().qdcount() == 0;
    (bare_error || response.is_answer(query)).then_some(response)
}

fn parse(response: &Message<Vec<u8>>) -> io::Result<Response> {
    let read = || {
        let answers = response.answer()?;
        let additional = response.additional()?;
        Ok(Response {
            rcode: response.opt_rcode().into(),
            answers: answers
                .filter_map(|record| record.and_then(|record| parse_record(&record)).transpose())
                .collect::<Result<_, _>>()?,
            additional: additional
                .filter_map(|record| record.and_then(|record| parse_record(&record)).transpose())
                .collect::<Result<_, _>>()?,
        })
    };
    read().map_err(|error: ParseError| malformed(&format!("the response is malformed: {error}")))
}

/// The record, or `None` for a type that the client does not read.
fn parse_record(record: &ParsedRecord<'_, Vec<u8>>) -> Result<Option<Record>, ParseError> {
    let data = match record.rtype() {
        Rtype::A => record.to_record::<A>()?.map(|a| RecordData::Address(a.data().addr().into())),
        Rtype::AAAA => record.to_record::<Aaaa>()?.map(|aaaa| RecordData::Address(aaaa.data().addr().into())),
        Rtype::CNAME => record.to_record::<Cname<_>>()?.map(|alias| RecordData::Alias(alias.data().cname().to_name())),
        Rtype::SRV => record.to_record::<Srv<_>>()?.map(|srv| {
            let srv = srv.data();
            let (priority, weight, port) = (srv.priority(), srv.weight(), srv.port());
            RecordData::Srv { priority, weight, port, target: srv.target().to_name() }
        }),
        _ => None,
    };
    let ttl = record.ttl().as_secs();
    Ok(data.map(|data| Record { owner: record.owner().to_name(), ttl, data }))
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> Message<Vec<u8>> {
        query_message(&"web.services.skydns.local".parse().unwrap(), Rtype::SRV).unwrap()
    }

    #[test]
    fn system_servers_are_read_in_order() {
        let text = b"search example.org\nnameserver 10.0.0.1\nnonsense here\nnameserver 2001:db8::1\noptions ndots:3\n";
        let NameServers(servers) = NameServers::from_resolv_conf(text).unwrap();
        assert_eq!(*servers, ["10.0.0.1:53", "[2001:db8::1]:53"].map(|server| server.parse().unwrap()));
        let none = NameServers::from_resolv_conf(b"search example.org\n").unwrap_err();
        assert_eq!(none.to_string(), "/etc/resolv.conf lists no nameserver");
    }

    #[test]
    fn only_the_response_to_the_query_is_accepted() {
        let query = query();
        let response = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = query.as_slice().to_vec();
            bytes[2] |= 0x80;
            change(&mut bytes);
            response_to(&query, bytes).is_some()
        };
        assert!(response(&|_| {}));
        assert!(!response(&|bytes| bytes[0] ^= 1), "another id");
        assert!(!response(&|bytes| bytes[2] &= 0x7f), "a query");
        assert!(!response(&|bytes| bytes[13] ^= 1), "another name");
        assert!(!response(&|bytes| bytes.truncate(11)), "no header");
        // FORMERR without a question.
        let bare = |bytes: &mut Vec<u8>| {
            bytes.truncate(12);
            bytes[3] |= 1;
            bytes[4..].fill(0);
        };
        assert!(response(&bare));
    }

    #[test]
    fn malformed_records_are_an_error() {
        let mut bytes = query().as_slice().to_vec();
        bytes[7] = 1;
        assert_eq!(parse(&Message::from_octets(bytes).unwrap()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
