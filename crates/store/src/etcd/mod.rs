//! The store in etcd v3, for many daemons that share one registry.
//!
//! etcd fulfils the [contract](crate#contract). This module translates requests, and handles the failures that the client
//! crate leaves to its user: tokens that expire, endpoints that fail, streams that hang.
//!
//! - `settings`: endpoints, credentials, certificates and timeouts
//! - `endpoints`: selection, time limit and token of a call
//! - `txn`, `list`, `lease`: a commit, a listing, the renewal of leases
//! - `watch`: a feed; `batches` and `progress`: the interpretation of a watch's responses
//! - `error`: the mapping of etcd's errors
//!
//! Deliberately absent: a cache and a queue. A call is a request, and its caller receives the error and decides about
//! retries.

mod batches;
mod endpoints;
mod error;
mod lease;
mod list;
mod progress;
mod settings;
mod txn;
mod watch;

pub use settings::{EtcdSettings, SettingsError};

use super::{Commit, Feed, LeaseId, Listing, Member, Revision, Status, Store, StoreError, Write};
use async_trait::async_trait;
use endpoints::{EndpointClient, Endpoints, Resend};
use etcd_client::LeaseGrantOptions;
use lease::Keepalive;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An etcd or a cluster of them, with the contract of [`Store`].
///
/// ```no_run
/// use skyhound_store::{Store, etcd::{Etcd, EtcdSettings}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = EtcdSettings { endpoints: vec!["http://127.0.0.1:2379".into()], ..EtcdSettings::default() };
/// let store = Etcd::connect(settings).await?;
/// println!("etcd is at revision {}", store.status().await?.revision);
/// # Ok(())
/// # }
/// ```
pub struct Etcd {
    endpoints: Endpoints,
    keepalive: Keepalive,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.endpoints.urls()).finish()
    }
}

impl Etcd {
    /// Validates the settings and creates the clients, within a tokio runtime. Sends nothing: it succeeds if etcd is
    /// unreachable, and the first call returns the error.
    ///
    /// # Errors
    /// A [`SettingsError`] for settings that cannot work, or for a certificate file that cannot be used.
    pub async fn connect(settings: EtcdSettings) -> Result<Self, SettingsError> {
        Ok(Self { endpoints: Endpoints::open(settings).await?, keepalive: Keepalive::default() })
    }
}

#[async_trait]
impl Store for Etcd {
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError> {
        list::list(&self.endpoints, prefix).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        let txn = txn::txn(writes)?;
        let send = |endpoint: Arc<EndpointClient>| {
            let txn = txn.clone();
            async move { endpoint.client.kv_client().txn(txn).await }
        };
        self.endpoints.call(Resend::No, send).await.map(txn::commit)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // Rounded up: a lease that expires too early breaks its holder, one that expires a little late does not.
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(whole.max(1)).unwrap_or(i64::MAX);
        let grant = |endpoint: Arc<EndpointClient>| async move {
            // A lease that was granted twice is not renewed and expires. Each attempt has a new id, because an earlier
            // attempt without a response may have used its id.
            let options = LeaseGrantOptions::new().with_id(LeaseId::random().0);
            endpoint.client.lease_client().grant(seconds, Some(options)).await
        };
        let granted = self.endpoints.call(Resend::Yes, grant).await?;
        Ok(LeaseId(granted.id()))
    }

    async fn renew(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        self.keepalive.renew(&self.endpoints, leases).await
    }

    async fn revoke(&self, LeaseId(id): LeaseId) -> Result<(), StoreError> {
        let send = |endpoint: Arc<EndpointClient>| async move {
            match endpoint.client.lease_client().revoke(id).await {
                Err(error) if !error::lease_is_gone(&error) => Err(error),
                _ => Ok(()),
            }
        };
        self.endpoints.call(Resend::Yes, send).await
    }

    async fn lease_ttl(&self, LeaseId(id): LeaseId) -> Result<Option<Duration>, StoreError> {
        let send =
            |endpoint: Arc<EndpointClient>| async move { endpoint.client.lease_client().time_to_live(id, None).await };
        // A missing lease has a TTL of 0.
        let ttl = self.endpoints.call(Resend::Yes, send).await?.granted_ttl();
        Ok(u64::try_from(ttl).ok().filter(|ttl| *ttl > 0).map(Duration::from_secs))
    }

    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError> {
        watch::feed(&self.endpoints, prefix, after).await
    }

    async fn status(&self) -> Result<Status, StoreError> {
        let send = |endpoint: Arc<EndpointClient>| async move {
            Ok((endpoint.url.clone(), endpoint.client.maintenance_client().status().await?))
        };
        let (location, status) = self.endpoints.call(Resend::Yes, send).await?;
        let header = status.0.header.unwrap_or_default();
        Ok(Status {
            kind: "etcd",
            version: status.0.version,
            revision: txn::revision(header.revision),
            location,
            member: Some(Member {
                cluster_id: header.cluster_id,
                member_id: header.member_id,
                leader_id: status.0.leader,
                raft_term: status.0.raft_term,
            }),
            // The alarms of all members, and the lack of a leader.
            alarms: status.0.errors.iter().map(|alarm| alarm.trim().to_owned()).collect(),
        })
    }
}
