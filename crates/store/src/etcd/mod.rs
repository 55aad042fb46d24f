//! The store in etcd v3: for many daemons that share one registry.
//!
//! etcd keeps the laws of [`super`]; this module asks for them in etcd's words, and holds what the client
//! crate leaves to its user: tokens that expire, endpoints that fail, streams that hang.
//!
//! - `settings`: how etcd is reached
//! - `peers`: which endpoint a call goes to, in which time, with which token
//! - `txn`, `list`, `lease`: a commit, a listing, keeping leases
//! - `watch`: a feed; `batches` and `progress`: what a watch's responses mean
//! - `error`: what etcd's errors mean
//!
//! There is no cache and no queue here: a call is a request, and its error is told. Trying again, and
//! when, is for who calls.

mod batches;
mod error;
mod lease;
mod list;
mod peers;
mod progress;
mod settings;
mod txn;
mod watch;

pub use settings::{CONNECT_TIMEOUT, DEFAULT_ENDPOINT, EtcdSettings, PROBE_INTERVAL, REQUEST_TIMEOUT, SettingsError};

use super::{Commit, Feed, LeaseId, Listing, Member, Revision, Status, Store, StoreError, Write};
use async_trait::async_trait;
use etcd_client::LeaseGrantOptions;
use lease::Keepalive;
use peers::{Link, Peers, Resend};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An etcd, or a cluster of them.
pub struct Etcd {
    peers: Peers,
    keepalive: Keepalive,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.peers.urls()).finish()
    }
}

impl Etcd {
    /// Makes ready to call etcd, and finds what is wrong with the settings. Sends nothing: it succeeds when
    /// etcd is away, and the first call then says so. Within a tokio runtime.
    pub async fn connect(settings: EtcdSettings) -> Result<Self, SettingsError> {
        Ok(Self { peers: Peers::open(settings).await?, keepalive: Keepalive::default() })
    }
}

#[async_trait]
impl Store for Etcd {
    async fn list(&self, prefix: &[u8]) -> Result<Listing, StoreError> {
        list::list(&self.peers, prefix).await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Commit, StoreError> {
        let txn = txn::txn(writes)?;
        let send = |link: Arc<Link>| {
            let txn = txn.clone();
            async move { link.client.kv_client().txn(txn).await }
        };
        self.peers.call(Resend::No, send).await.map(txn::commit)
    }

    async fn grant(&self, term: Duration) -> Result<LeaseId, StoreError> {
        // Rounded up: a lease that lives a little longer breaks nothing, one that is too short does.
        let whole = term.as_secs() + u64::from(term.subsec_nanos() > 0);
        let seconds = i64::try_from(whole.max(1)).unwrap_or(i64::MAX);
        let grant = |link: Arc<Link>| async move {
            // A lease granted twice is one that nobody keeps, and goes by itself. An id of its own for each call:
            // an earlier one that got no answer may be taken.
            let options = LeaseGrantOptions::new().with_id(LeaseId::random().0);
            link.client.lease_client().grant(seconds, Some(options)).await
        };
        let granted = self.peers.call(Resend::Yes, grant).await?;
        Ok(LeaseId(granted.id()))
    }

    async fn keep(&self, leases: &[LeaseId]) -> Result<Vec<bool>, StoreError> {
        self.keepalive.keep(&self.peers, leases).await
    }

    async fn revoke(&self, LeaseId(id): LeaseId) -> Result<(), StoreError> {
        let send = |link: Arc<Link>| async move {
            match link.client.lease_client().revoke(id).await {
                Err(error) if !error::lease_is_gone(&error) => Err(error),
                _ => Ok(()),
            }
        };
        self.peers.call(Resend::Yes, send).await
    }

    async fn lease_term(&self, LeaseId(id): LeaseId) -> Result<Option<Duration>, StoreError> {
        let send = |link: Arc<Link>| async move { link.client.lease_client().time_to_live(id, None).await };
        // What is gone has a term of 0.
        let term = self.peers.call(Resend::Yes, send).await?.granted_ttl();
        Ok(u64::try_from(term).ok().filter(|term| *term > 0).map(Duration::from_secs))
    }

    async fn feed(&self, prefix: &[u8], after: Revision) -> Result<Feed, StoreError> {
        watch::feed(&self.peers, prefix, after).await
    }

    async fn status(&self) -> Result<Status, StoreError> {
        let send =
            |link: Arc<Link>| async move { Ok((link.url.clone(), link.client.maintenance_client().status().await?)) };
        let (place, status) = self.peers.call(Resend::Yes, send).await?;
        let header = status.0.header.unwrap_or_default();
        Ok(Status {
            kind: "etcd",
            version: status.0.version,
            revision: txn::revision(header.revision),
            place,
            member: Some(Member {
                cluster_id: header.cluster_id,
                member_id: header.member_id,
                leader_id: status.0.leader,
                raft_term: status.0.raft_term,
            }),
            // Those of all members, and that there is no leader.
            alarms: status.0.errors.iter().map(|said| said.trim().to_owned()).collect(),
        })
    }
}
