//! Queries to a daemon over HTTP: the services, and their instances with all properties.
//!
//! Owns: the queries, the types of the response, and the failover between servers. Does not own: changes (`watch`),
//! nor the addresses to connect to, which [`Resolver`](crate::Resolver) finds in DNS.

use crate::error::{Loss, Refusal, RequestError};
use crate::http::{self, HttpRequest, target};
use crate::server::Server;
use crate::timing::Timing;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skyhound_model::address::join_host_port;
use skyhound_net::tls::ClientFiles;
use std::collections::BTreeMap;
use tokio::time::timeout;

/// Limit of a response, in bytes: some two million instances.
const RESPONSE_MAX: usize = 1024 * 1024 * 1024;

/// A client of the HTTP queries.
///
/// ```no_run
/// use skyhound_client::{Discover, InstanceQuery};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let discover = Discover::with_servers(vec!["http://node1:8053".parse()?]);
/// for service in discover.services().await? {
///     println!("{} has {} instances", service.name, service.instances);
/// }
/// let query = InstanceQuery { services: vec!["web".into()], ..InstanceQuery::default() };
/// for instance in discover.instances(&query).await? {
///     println!("{} at {}", instance.name, instance.endpoint());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discover {
    /// The daemons, tried in turn until one responds. An empty list means [`Server::default`].
    pub servers: Vec<Server>,
    /// Certificates for servers with `https://`. Default: the system's authorities.
    pub tls: ClientFiles,
    /// Timeouts.
    pub timing: Timing,
}

/// A filter of instances. An empty field matches all.
///
/// ```
/// use skyhound_client::InstanceQuery;
///
/// let query = InstanceQuery { services: vec!["web".into()], version: "^1.2".into(), ..InstanceQuery::default() };
/// assert!(query.category.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceQuery {
    /// Names of the services.
    pub services: Vec<String>,
    /// Version such as `1.2.3`, or range in npm's syntax: `^1.2`, `1.x`, `>=1 <3`.
    pub version: String,
    /// Categories, in the order of the name from left to right.
    pub category: Vec<String>,
}

/// A service that has instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Name, in lower case.
    pub name: String,
    /// Number of instances.
    pub instances: u64,
}

/// A process that offers a service. Its [`name`](Instance::name) identifies it.
///
/// ```
/// use skyhound_client::Instance;
///
/// let instance = Instance { host: Some("2001:db8::1".into()), port: 8080, ..Instance::default() };
/// assert_eq!(instance.endpoint(), "[2001:db8::1]:8080");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Id: the first label of the name.
    pub id: String,
    /// Service, in lower case.
    pub service: String,
    /// Categories, in the order of the name from left to right.
    pub category: Vec<String>,
    /// Address, or a name that DNS has to resolve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Port; 0 if there is none.
    pub port: u16,
    /// Endpoint in the format of the frontend by which the instance registered, which DNS may be unable to express.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// SRV priority; the lowest is tried first.
    pub priority: u16,
    /// SRV weight: the share of the load within a priority.
    pub weight: u16,
    /// TTL of the records, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// Content of the TXT record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Group, as in `SkyDNS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Semantic version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// Frontend by which the instance registered; `None` for an entry that another program wrote.
    #[serde(rename = "dialect", skip_serializing_if = "Option::is_none")]
    pub frontend: Option<String>,
    /// Name in DNS.
    pub name: String,
    /// Key in the store.
    pub key: String,
    /// Store revision of the last write.
    pub revision: u64,
    /// TTL of the entry's lease in seconds, once the daemon has read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u32>,
}

impl Instance {
    /// Returns `host:port`, with brackets around an IPv6 address; without a host, the `address`.
    pub fn endpoint(&self) -> String {
        match (self.host.as_deref(), &self.address) {
            (Some(host), _) => join_host_port(host, self.port),
            (None, Some(address)) => address.clone(),
            (None, None) => format!(":{}", self.port),
        }
    }
}

/// The reason why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The query is invalid.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No daemon responded; the fields describe the last attempt.
    #[error("no answer from {server}: {reason}")]
    Lost {
        /// Server of the last attempt.
        server: Server,
        /// Reason of its failure.
        reason: Loss,
    },
}

#[derive(Deserialize)]
struct Services {
    services: Vec<Service>,
}
#[derive(Deserialize)]
struct Instances {
    instances: Vec<Instance>,
}

impl Discover {
    /// A client of these servers, with all defaults.
    pub fn with_servers(servers: Vec<Server>) -> Self {
        Self { servers, ..Self::default() }
    }

    /// Returns all services that have an instance, sorted by name.
    ///
    /// # Errors
    /// [`DiscoverError::Lost`] if no server responded.
    pub async fn services(&self) -> Result<Vec<Service>, DiscoverError> {
        Ok(self.get::<Services>("/v1/services").await?.services)
    }

    /// Returns the instances that match all fields of the query. An empty result is no error.
    ///
    /// # Errors
    /// [`DiscoverError::Refused`] if the query is invalid, [`DiscoverError::Lost`] if no server responded.
    pub async fn instances(&self, query: &InstanceQuery) -> Result<Vec<Instance>, DiscoverError> {
        let pairs = [
            ("service", query.services.join(",")),
            ("version", query.version.clone()),
            ("category", query.category.join(",")),
        ];
        Ok(self.get::<Instances>(&target("/v1/instances", &pairs)).await?.instances)
    }

    /// Returns the daemon's explanation of its answer to a DNS query: the JSON of `/explain`.
    ///
    /// # Errors
    /// [`DiscoverError::Refused`] if the name or the type is invalid, [`DiscoverError::Lost`] if no server responded.
    pub async fn explain(&self, name: &str, record_type: &str) -> Result<serde_json::Value, DiscoverError> {
        self.get(&target("/explain", &[("name", name.to_owned()), ("type", record_type.to_owned())])).await
    }

    /// The servers; at least one.
    pub(crate) fn servers_or_default(&self) -> Vec<Server> {
        if self.servers.is_empty() { vec![Server::default()] } else { self.servers.clone() }
    }

    /// The JSON response of the first server that responds.
    async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, DiscoverError> {
        let servers = self.servers_or_default();
        let mut last =
            DiscoverError::Lost { server: servers[0].clone(), reason: Loss::NoResponse(self.timing.response) };
        for server in &servers {
            let request = HttpRequest { target, accept: "application/json", ..HttpRequest::default() };
            let received = match http::send(server, request, &self.tls, self.timing).await {
                Ok(response) => read(response.into_body(), self.timing).await,
                Err(RequestError::Refused(refusal)) => return Err(refusal.into()),
                Err(RequestError::Lost(loss)) => Err(loss),
            };
            match received {
                Ok(response) => return Ok(response),
                Err(reason) => last = DiscoverError::Lost { server: server.clone(), reason },
            }
        }
        Err(last)
    }
}

/// Reads and parses a body. Its duration is not limited, only each pause in it.
async fn read<T: DeserializeOwned>(mut body: Incoming, timing: Timing) -> Result<T, Loss> {
    let mut text = Vec::new();
    loop {
        let frame =
            timeout(timing.liveness_timeout, body.frame()).await.map_err(|_| Loss::Timeout(timing.liveness_timeout))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Loss::Broken(error.to_string()))?;
        if let Some(chunk) = frame.data_ref() {
            text.extend_from_slice(chunk);
        }
        if text.len() > RESPONSE_MAX {
            return Err(Loss::Broken(format!("the response exceeds {RESPONSE_MAX} bytes")));
        }
    }
    serde_json::from_slice(&text).map_err(|error| Loss::Broken(format!("the response is not skyhound's: {error}")))
}
