//! Lookup of a service's instances in DNS, in the order in which to try them.
//!
//! Owns: the choice of the queries, and the meaning of a response without records. Does not own: the order within a
//! priority (`order`), nor the exchange with the servers (`dns`).
//!
//! One SRV query, and address queries only for targets whose addresses the response does not contain. Nothing is
//! cached: a daemon answers from memory, and an instance that left must not be returned again.

use crate::dns::{DnsName, NameServers, Record, RecordData, Response};
use crate::order::order;
use domain::base::Rtype;
use domain::base::iana::OptRcode;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Targets whose addresses are looked up at a time.
const ADDRESS_LOOKUPS: usize = 16;
/// Aliases (CNAME) that are followed one after the other.
const ALIASES_MAX: usize = 8;

/// An instance of a service, as DNS describes it.
///
/// ```
/// use skyhound_client::Target;
///
/// let target = Target {
///     host: "i1.web.services.skydns.local".into(),
///     addrs: vec!["10.0.0.1".parse()?],
///     port: 8080,
///     priority: 1,
///     weight: 100,
///     ttl: 30,
/// };
/// assert_eq!(target.sockets().next(), Some("10.0.0.1:8080".parse()?));
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the instance, without the final dot.
    pub host: String,
    /// Addresses of the instance. Empty if its name has none (any more).
    pub addrs: Vec<IpAddr>,
    /// Port.
    pub port: u16,
    /// SRV priority; the lowest is tried first.
    pub priority: u16,
    /// SRV weight: the share of the load within the priority.
    pub weight: u16,
    /// Time for which the record may be cached, in seconds.
    pub ttl: u32,
}

impl Target {
    /// The socket addresses to connect to.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.addrs.iter().map(|addr| SocketAddr::new(*addr, self.port))
    }
}

/// A DNS response code (RFC 6895 section 2.3). Displayed by its mnemonic.
///
/// ```
/// use skyhound_client::Rcode;
///
/// assert_eq!(Rcode::SERVFAIL.to_string(), "SERVFAIL");
/// assert_eq!(u16::from(Rcode::SERVFAIL), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(u16);

impl Rcode {
    /// The server failed to answer. A skyhound daemon sends it until it has read its store.
    pub const SERVFAIL: Self = Self(2);
    /// The server does not serve the zone of the name.
    pub const REFUSED: Self = Self(5);
    const NOERROR: Self = Self(0);
    const NXDOMAIN: Self = Self(3);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not `checked_from_int`, which rejects every code but 0 (domain 0.12.3). A response has 12 bits for the code.
        OptRcode::masked_from_int(self.0).fmt(f)
    }
}

impl From<Rcode> for u16 {
    fn from(rcode: Rcode) -> Self {
        rcode.0
    }
}

/// The reason why a lookup has no answer. An answer without instances is no error.
///
/// ```no_run
/// use skyhound_client::{ResolveError, Resolver};
///
/// # async fn example(resolver: Resolver) {
/// match resolver.resolve("web.services.skydns.local").await {
///     Ok(targets) => println!("{} instances", targets.len()),
///     Err(ResolveError::Failed { .. } | ResolveError::Unreachable { .. }) => println!("try again later"),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The text is no valid DNS name.
    #[error("{name:?} is not a DNS name: {reason}")]
    Name {
        /// The text.
        name: String,
        /// The violated rule.
        reason: String,
    },
    /// The host's resolver configuration cannot be read.
    #[error("cannot read this host's resolver configuration; name a server instead")]
    System(#[source] io::Error),
    /// No server responded in time, or none is reachable.
    #[error("no answer about {name}; is the DNS server running, and is its port right?")]
    Unreachable {
        /// Name of the query.
        name: String,
        /// Last network error.
        source: io::Error,
    },
    /// The server responded with an error such as `SERVFAIL`; a later attempt may succeed.
    #[error("the DNS server cannot answer for {name}: {rcode}")]
    Failed {
        /// Name of the query.
        name: String,
        /// Response code.
        rcode: Rcode,
    },
    /// The server does not serve the zone of the name: it has another root, or it is another server.
    #[error("the DNS server refuses to answer about {name}; compare the name's end with the daemon's --dns-root")]
    Refused {
        /// Name of the query.
        name: String,
    },
}

/// A resolver that finds the instances of a service in DNS. Cheap to clone.
///
/// ```no_run
/// use skyhound_client::{Resolver, Target};
/// use tokio::net::TcpStream;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let resolver = Resolver::with_server("127.0.0.1:5300".parse()?);
/// let targets = resolver.resolve("web.services.skydns.local").await?;
/// for socket in targets.iter().flat_map(Target::sockets) {
///     if let Ok(stream) = TcpStream::connect(socket).await {
///         println!("connected to {}", stream.peer_addr()?);
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Resolver {
    servers: NameServers,
}

impl Resolver {
    /// A resolver that queries one server, such as the address of a daemon's `--dns-addr`.
    pub fn with_server(server: SocketAddr) -> Self {
        Self { servers: NameServers::new(server) }
    }

    /// A resolver that queries the host's own servers (`/etc/resolv.conf`), for hosts whose servers forward the zone
    /// to a daemon.
    ///
    /// # Errors
    /// [`ResolveError::System`] if the file cannot be read or lists no server.
    pub fn system() -> Result<Self, ResolveError> {
        Ok(Self { servers: NameServers::from_system().map_err(ResolveError::System)? })
    }

    /// Returns the instances of `name`, such as `web.services.skydns.local`, in the order of RFC 2782: try them from
    /// the first. The result is empty if there are none; that is an answer and no error.
    ///
    /// The name is absolute: search domains are not tried. A server has 2 seconds for a response, and servers that do
    /// not respond are queried twice.
    ///
    /// # Errors
    /// [`ResolveError::Name`] for an invalid name, [`ResolveError::Refused`] and [`ResolveError::Failed`] if a server
    /// responds with an error code, [`ResolveError::Unreachable`] if none responds.
    pub async fn resolve(&self, name: &str) -> Result<Vec<Target>, ResolveError> {
        let Response { answers, additional, .. } = self.lookup(&absolute(name)?, Rtype::SRV).await?;
        let targets = answers.iter().filter_map(|record| target(record, &additional));
        let completed = stream::iter(targets).map(|target| self.complete(target)).buffered(ADDRESS_LOOKUPS);
        let mut targets: Vec<_> = completed.try_collect().await?;
        order(&mut targets, |target| (target.priority, target.weight), &mut fastrand::Rng::new());
        Ok(targets)
    }

    /// Looks up the addresses that the SRV response does not contain.
    async fn complete(&self, mut target: Target) -> Result<Target, ResolveError> {
        if !target.addrs.is_empty() {
            return Ok(target);
        }
        let host = absolute(&target.host)?;
        let (v6, v4) = tokio::join!(self.lookup(&host, Rtype::AAAA), self.lookup(&host, Rtype::A));
        let mut failure = None;
        for found in [v6, v4] {
            match found {
                Ok(response) => target.addrs.extend(response.answers.iter().filter_map(address)),
                Err(error) => failure = Some(error),
            }
        }
        // The addresses of one family are enough.
        match failure {
            Some(error) if target.addrs.is_empty() => Err(error),
            _ => Ok(target),
        }
    }

    /// Looks up the records of one type. Follows aliases that a response does not resolve itself: an authoritative
    /// server knows only its own part of a chain. The result has no records if there are none.
    async fn lookup(&self, name: &DnsName, record_type: Rtype) -> Result<Response, ResolveError> {
        let mut owner = name.clone();
        let mut aliases = 0;
        loop {
            let response = self.query(&owner, record_type).await?;
            let has_records = response.answers.iter().any(|record| !matches!(record.data, RecordData::Alias(_)));
            let end = end_of_chain(&owner, &response.answers);
            aliases += 1;
            if has_records || end == owner || aliases > ALIASES_MAX {
                return Ok(response);
            }
            owner = end;
        }
    }

    async fn query(&self, name: &DnsName, record_type: Rtype) -> Result<Response, ResolveError> {
        let text = || name.to_string();
        let response = self.servers.query(name, record_type).await;
        let response = response.map_err(|source| ResolveError::Unreachable { name: text(), source })?;
        match Rcode(response.rcode) {
            Rcode::NOERROR => Ok(response),
            Rcode::NXDOMAIN => Ok(Response { answers: Vec::new(), ..response }),
            Rcode::REFUSED => Err(ResolveError::Refused { name: text() }),
            rcode => Err(ResolveError::Failed { name: text(), rcode }),
        }
    }
}

/// The name at the end of the aliases of a response, which may be a circle.
fn end_of_chain(name: &DnsName, answers: &[Record]) -> DnsName {
    let mut end = name;
    for _ in answers {
        let alias = answers.iter().find_map(|record| match &record.data {
            RecordData::Alias(target) if record.owner == *end => Some(target),
            _ => None,
        });
        end = alias.unwrap_or(end);
    }
    end.clone()
}

/// The absolute name, without search domains.
fn absolute(name: &str) -> Result<DnsName, ResolveError> {
    let invalid = |reason: String| ResolveError::Name { name: name.to_owned(), reason };
    if name.is_empty() {
        return Err(invalid("it is empty".into()));
    }
    name.parse().map_err(|error: domain::base::name::FromStrError| invalid(error.to_string()))
}

fn address(record: &Record) -> Option<IpAddr> {
    match record.data {
        RecordData::Address(address) => Some(address),
        _ => None,
    }
}

/// The target of an SRV record, with those of its addresses that the response contains.
fn target(record: &Record, additional: &[Record]) -> Option<Target> {
    let RecordData::Srv { priority, weight, port, ref target } = record.data else { return None };
    // RFC 2782: "A Target of "." means that the service is decidedly not available at this domain."
    if target.is_root() {
        return None;
    }
    let addrs = additional.iter().filter(|record| record.owner == *target).filter_map(address).collect();
    Some(Target { host: target.to_string(), addrs, port, priority, weight, ttl: record.ttl })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(owner: &str, target: &str) -> Record {
        let data = RecordData::Alias(target.parse().unwrap());
        Record { owner: owner.parse().unwrap(), ttl: 0, data }
    }

    #[test]
    fn aliases_are_followed_to_their_end() {
        let end = |answers: &[Record]| end_of_chain(&"a.example".parse().unwrap(), answers).to_string();
        assert_eq!(end(&[]), "a.example");
        assert_eq!(end(&[alias("b.example", "c.example"), alias("A.example", "b.example")]), "c.example");
        // A circle ends.
        assert_eq!(end(&[alias("a.example", "b.example"), alias("b.example", "a.example")]), "a.example");
    }
}
