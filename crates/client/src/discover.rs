//! Asks a daemon over HTTP which services there are and where their instances are, with all that it knows of them.
//! (For where to connect to, [`super::resolve`] asks DNS.)
//!
//! Owns: the question and the answer's shape. Does not own: changes ([`super::watch`]).

use super::http::{self, RequestError, target};
use super::provide::Timing;
use super::provider::{Loss, Refusal};
use super::server::Server;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skyhound_model::address::join_host_port;
use skyhound_net::tls::ClientFiles;
use std::collections::BTreeMap;
use tokio::time::timeout;

/// The longest answer that is read, in bytes: some two million instances.
pub const ANSWER_MAX: usize = 1024 * 1024 * 1024;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discover {
    /// The daemons, asked in turn until one answers. None means [`Server::default`].
    pub servers: Vec<Server>,
    /// Certificates for servers with `https://`. Default: the system's authorities.
    pub tls: ClientFiles,
    /// How long to wait for what.
    pub timing: Timing,
}

/// What is asked for; what is empty does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceQuery {
    /// The services.
    pub services: Vec<String>,
    /// A version such as `1.2.3`, or a range as npm has them: `^1.2`, `1.x`, `>=1 <3`.
    pub version: String,
    /// The categories, as in the name from left to right.
    pub category: Vec<String>,
}

/// A service that has instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, in lower case.
    pub name: String,
    /// How many there are.
    pub instances: u64,
}

/// One process that offers one service. What it is known by is its [`name`](Instance::name).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// The last label of its name.
    pub id: String,
    /// The service, in lower case.
    pub service: String,
    /// The categories, as in the name from left to right.
    pub category: Vec<String>,
    /// An address, or a name that DNS has to look up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port; 0 where there is none.
    pub port: u16,
    /// Where it is in its own words, where its dialect has such; perhaps nothing that DNS can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// SRV priority; the lowest is tried first.
    pub priority: u16,
    /// SRV weight: the share of the load within a priority.
    pub weight: u16,
    /// How long it may be cached, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// What TXT answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `SkyDNS`'s group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Semantic version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What else it says of itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// The protocol by which it registered; none where others wrote the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Its name in DNS.
    pub name: String,
    /// Where it stands in the store.
    pub key: String,
    /// The revision of the store that put it.
    pub revision: u64,
    /// The term of the lease that it hangs on, in seconds, once the daemon knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u32>,
}

impl Instance {
    /// `host:port`, with brackets where they belong; without a host the address in its own words.
    pub fn endpoint(&self) -> String {
        match (self.host.as_deref(), &self.address) {
            (Some(host), _) => join_host_port(host, self.port),
            (None, Some(address)) => address.clone(),
            (None, None) => format!(":{}", self.port),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// The question is wrong.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No daemon answered; this is what became of the last one.
    #[error("no answer from {server}: {reason}")]
    Lost {
        /// Who was asked last.
        server: Server,
        /// Why it did not answer.
        reason: Loss,
    },
}

/// The envelopes of both answers.
#[derive(Deserialize)]
struct Services {
    services: Vec<Service>,
}
#[derive(Deserialize)]
struct Instances {
    instances: Vec<Instance>,
}

impl Discover {
    /// Asks these.
    pub fn with_servers(servers: Vec<Server>) -> Self {
        Self { servers, ..Self::default() }
    }

    /// Every service that has an instance, in order.
    pub async fn services(&self) -> Result<Vec<Service>, DiscoverError> {
        Ok(self.ask::<Services>("/v1/services").await?.services)
    }

    /// The instances for which all of it is so. None is an answer and no error.
    pub async fn instances(&self, query: &InstanceQuery) -> Result<Vec<Instance>, DiscoverError> {
        let pairs = [
            ("service", query.services.join(",")),
            ("version", query.version.clone()),
            ("category", query.category.join(",")),
        ];
        Ok(self.ask::<Instances>(&target("/v1/instances", &pairs)).await?.instances)
    }

    /// Asks the daemon how it answers a DNS query and why: the JSON of its `/explain`.
    ///
    /// # Errors
    /// [`DiscoverError::Refused`] if the name or the type is invalid, [`DiscoverError::Lost`] if no server responded.
    pub async fn explain(&self, name: &str, record_type: &str) -> Result<serde_json::Value, DiscoverError> {
        self.ask(&target("/explain", &[("name", name.to_owned()), ("type", record_type.to_owned())])).await
    }

    /// At least one.
    pub(super) fn servers_or_default(&self) -> Vec<Server> {
        if self.servers.is_empty() { vec![Server::default()] } else { self.servers.clone() }
    }

    /// What a path is answered, as JSON.
    async fn ask<T: DeserializeOwned>(&self, target: &str) -> Result<T, DiscoverError> {
        let servers = self.servers_or_default();
        let mut last =
            DiscoverError::Lost { server: servers[0].clone(), reason: Loss::NoResponse(self.timing.response) };
        for server in &servers {
            let request = http::HttpRequest { target, accept: "application/json", ..http::HttpRequest::default() };
            let answer = match http::send(server, request, &self.tls, self.timing).await {
                Ok(response) => read(response.into_body(), self.timing).await,
                Err(RequestError::Refused(refusal)) => return Err(refusal.into()),
                Err(RequestError::Lost(loss)) => Err(loss),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(reason) => last = DiscoverError::Lost { server: server.clone(), reason },
            }
        }
        Err(last)
    }
}

/// A whole body, as long as it goes on.
async fn read<T: DeserializeOwned>(mut body: Incoming, timing: Timing) -> Result<T, Loss> {
    let mut text = Vec::new();
    loop {
        let frame =
            timeout(timing.liveness_timeout, body.frame()).await.map_err(|_| Loss::Timeout(timing.liveness_timeout))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Loss::Broken(error.to_string()))?;
        if let Some(piece) = frame.data_ref() {
            text.extend_from_slice(piece);
        }
        if text.len() > ANSWER_MAX {
            return Err(Loss::Broken(format!("its answer is over {ANSWER_MAX} bytes")));
        }
    }
    serde_json::from_slice(&text).map_err(|error| Loss::Broken(format!("its answer is none of skyhound's: {error}")))
}
