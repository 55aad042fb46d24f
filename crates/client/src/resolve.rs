//! From a service's name to where its instances are, in the order in which to try them.
//!
//! Owns: which questions are asked, and what an answer without records means. Does not own: the order
//! within a priority ([`super::order`]), the wire (hickory).
//!
//! One SRV question, and addresses only for targets whose addresses the answer did not bring along. UDP
//! first, TCP when the answer was cut. Nothing is cached: a daemon answers from memory, and an instance that
//! left must not be handed out again.

use super::order::order;
use futures_util::{StreamExt, TryStreamExt, stream};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{TokioResolver, system_conf};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The longest wait for one answer.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a question is asked again before the server counts as away.
pub const RETRIES: usize = 1;

/// How many targets' addresses are asked for at a time. Hickory refuses more than 32 on one connection.
const ADDRESSES_AT_ONCE: usize = 16;

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, without the dot at the end.
    pub host: String,
    /// Its addresses. Empty when its name has none (any more).
    pub addrs: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// SRV priority: the lowest is to be tried first.
    pub priority: u16,
    /// SRV weight: its share within the priority.
    pub weight: u16,
    /// How long this may be believed, in seconds.
    pub ttl: u32,
}

impl Target {
    /// What to connect to.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.addrs.iter().map(|addr| SocketAddr::new(*addr, self.port))
    }
}

/// Why there is no answer. An answer that lists nothing is none of these.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The text is no name of DNS.
    #[error("{name:?} is no DNS name: {why}")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The host's resolver configuration cannot be read.
    #[error("cannot read this host's resolver configuration; name a server instead")]
    System(#[source] NetError),
    /// No server answered in time, or none can be reached.
    #[error("no answer about {name}; is the DNS server running, and is its port right?")]
    Unreachable {
        /// The name in question.
        name: String,
        /// What the network said.
        source: NetError,
    },
    /// The server does not know: `SERVFAIL` (skyhound: it has not read its store yet) and the like. Ask
    /// again later.
    #[error("the DNS server cannot say what {name} is: {code}")]
    Failed {
        /// The name in question.
        name: String,
        /// Its response code.
        code: ResponseCode,
    },
    /// The server does not serve this name's zone: another root, or another server.
    #[error("the DNS server refuses to answer about {name}; compare the name's end with the daemon's --dns-root")]
    Refused {
        /// The name in question.
        name: String,
    },
}

/// Finds the instances of a service. Cheap to clone; clones share their sockets.
#[derive(Debug, Clone)]
pub struct Resolver {
    dns: TokioResolver,
}

impl Resolver {
    /// Asks one server: a daemon's `--dns-addr`, for example.
    pub fn with_server(server: SocketAddr) -> Result<Self, ResolveError> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        Self::build(ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
    }

    /// Asks the host's own servers (`/etc/resolv.conf`), for where those forward the zone to a daemon.
    pub fn system() -> Result<Self, ResolveError> {
        let (config, options) = system_conf::read_system_conf().map_err(ResolveError::System)?;
        Self::build(config, options)
    }

    fn build(config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, ResolveError> {
        options.cache_size = 0;
        options.timeout = RESPONSE_TIMEOUT;
        options.attempts = RETRIES;
        // Without EDNS an answer over 512 bytes, some ten instances, would always take a second trip by TCP.
        options.edns0 = true;
        options.use_hosts_file = ResolveHosts::Never;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok(Self { dns: builder.with_options(options).build().map_err(ResolveError::System)? })
    }

    /// The instances of `name`, such as `web.services.skydns.local`, in RFC 2782's order: try them from the
    /// first. Empty when there are none; that is an answer and no error.
    ///
    /// The name is taken as a whole: search domains are not tried.
    pub async fn resolve(&self, name: &str) -> Result<Vec<Target>, ResolveError> {
        let fqdn = absolute(name)?;
        let Some(answer) = answer(name, self.dns.srv_lookup(fqdn).await)? else {
            return Ok(Vec::new());
        };
        let targets = answer.answers().iter().filter_map(|record| target(record, answer.additionals()));
        let with_addresses = stream::iter(targets).map(|target| self.complete(target)).buffered(ADDRESSES_AT_ONCE);
        let mut targets: Vec<_> = with_addresses.try_collect().await?;
        order(&mut targets, |target| (target.priority, target.weight), &mut fastrand::Rng::new());
        Ok(targets)
    }

    /// Asks for the addresses that the answer did not bring along.
    async fn complete(&self, mut target: Target) -> Result<Target, ResolveError> {
        if target.addrs.is_empty() {
            let found = self.dns.lookup_ip(absolute(&target.host)?).await;
            target.addrs = answer(&target.host, found)?.map(|found| found.iter().collect()).unwrap_or_default();
        }
        Ok(target)
    }
}

/// The name, and no search domains behind it.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    let mut fqdn =
        Name::from_ascii(name).map_err(|error| ResolveError::Name { name: name.to_owned(), why: error.to_string() })?;
    if name.is_empty() {
        return Err(ResolveError::Name { name: String::new(), why: "it is empty".into() });
    }
    fqdn.set_fqdn(true);
    Ok(fqdn)
}

/// Tells "there is nothing" (`None`) from "there is no answer".
fn answer<T>(name: &str, result: Result<T, NetError>) -> Result<Option<T>, ResolveError> {
    let name = || name.to_owned();
    match result {
        Ok(found) => Ok(Some(found)),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(None),
        Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused))) => {
            Err(ResolveError::Refused { name: name() })
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(ResolveError::Failed { name: name(), code }),
        Err(source) => Err(ResolveError::Unreachable { name: name(), source }),
    }
}

/// An SRV record with the addresses that came along with it.
fn target(record: &Record, along: &[Record]) -> Option<Target> {
    let RData::SRV(srv) = &record.data else { return None };
    // RFC 2782: "A Target of "." means that the service is decidedly not available at this domain."
    if srv.target.is_root() {
        return None;
    }
    let addrs = along.iter().filter(|r| r.name == srv.target).filter_map(|r| r.data.ip_addr());
    Some(Target {
        host: srv.target.to_ascii().trim_end_matches('.').to_owned(),
        addrs: addrs.collect(),
        port: srv.port,
        priority: srv.priority,
        weight: srv.weight,
        ttl: record.ttl,
    })
}
