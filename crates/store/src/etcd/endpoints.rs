//! The endpoints of an etcd: selection, failover and login.
//!
//! Each endpoint has a client of its own, and one endpoint is used until it fails. The client's own balancer is not used:
//! it picks a random endpoint for every call, regardless of calls there that failed or hung, so that with one of three
//! members dead a third of all calls would fail.
//!
//! Owns: the time limit of a call, its retry at another endpoint, the token, and the reload of rotated certificates.
//! Does not own: the calls themselves.
//!
//! | error of a call | retry at another endpoint |
//! |---|---|
//! | no response in time | no: the time limit is used up |
//! | unreachable | yes, if the call may be sent twice or was never sent |
//! | denied | yes, if there is another endpoint: its certificate may differ |
//! | any other | no |

use super::error;
use super::settings::{EtcdSettings, SettingsError};
use crate::StoreError;
use arc_swap::ArcSwap;
use etcd_client::{Client, Error};
use skyhound_base::errors::with_sources;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// Permission to send a call again if its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    /// The call is a read or idempotent.
    Yes,
    /// The call is sent again only if it was never sent.
    No,
}

/// The client of one endpoint.
pub(super) struct EndpointClient {
    /// Index in the list of endpoints.
    at: usize,
    pub(super) url: String,
    pub(super) client: Client,
    user: Option<(String, String)>,
    /// Number of tokens so far; 0 before the first login.
    tokens: AtomicU64,
    /// Held during a login, so that many calls with an expired token log in once.
    login_lock: Mutex<()>,
}

impl EndpointClient {
    async fn open(settings: &EtcdSettings, at: usize, url: String) -> Result<Self, SettingsError> {
        let user = settings.user()?;
        let options = settings.options(&url)?;
        // Returns at once even if etcd is unreachable: the first call opens the connection.
        let client = Client::connect([&url], Some(options)).await.map_err(|error| match error {
            Error::TransportError(tls) => SettingsError::Tls(with_sources(&tls)),
            other => SettingsError::Endpoint { endpoint: url.clone(), problem: format!("is not a URL ({other})") },
        })?;
        Ok(Self { at, url, client, user, tokens: AtomicU64::new(0), login_lock: Mutex::new(()) })
    }

    /// Makes a call with a token, and again with a new token if the first has expired.
    async fn run<T, F, Call>(self: &Arc<Self>, send: &F) -> Result<T, Error>
    where
        F: Fn(Arc<Self>) -> Call,
        Call: Future<Output = Result<T, Error>>,
    {
        if self.user.is_none() {
            return send(self.clone()).await;
        }
        if self.tokens.load(Ordering::Acquire) == 0 {
            self.log_in(0).await?;
        }
        let used = self.tokens.load(Ordering::Acquire);
        match send(self.clone()).await {
            Err(error) if error::cured_by_login(&error) => {
                tracing::debug!(url = self.url, %error, "etcd rejected the token; logging in again");
                self.log_in(used).await?;
                send(self.clone()).await
            }
            result => result,
        }
    }

    /// Requests a token, unless another call has replaced the one that was `used`.
    async fn log_in(&self, used: u64) -> Result<(), Error> {
        let _login = self.login_lock.lock().await;
        if self.tokens.load(Ordering::Acquire) != used {
            return Ok(());
        }
        let mut client = self.client.clone();
        match client.update_user(self.user.clone()).await {
            // As in etcdctl: credentials for an etcd without authentication are not an error.
            Err(error) if error::has_no_users(&error) => client.update_user(None).await?,
            result => result?,
        }
        self.tokens.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// All endpoints of one etcd.
pub(super) struct Endpoints {
    pub(super) settings: EtcdSettings,
    clients: Vec<ArcSwap<EndpointClient>>,
    /// Index of the endpoint in use.
    current: AtomicUsize,
    /// Modification times of the certificate files that the clients use.
    certificates_modified: Mutex<[Option<SystemTime>; 3]>,
}

impl Endpoints {
    /// Creates the clients without sending anything.
    pub(super) async fn open(settings: EtcdSettings) -> Result<Self, SettingsError> {
        settings.check_times()?;
        let certificates_modified = Mutex::new(settings.certificates_modified());
        let mut clients = Vec::new();
        for (at, url) in settings.urls()?.into_iter().enumerate() {
            clients.push(ArcSwap::from_pointee(EndpointClient::open(&settings, at, url).await?));
        }
        // A random one, so that many daemons do not all use the first member.
        let current = AtomicUsize::new(fastrand::usize(..clients.len()));
        Ok(Self { settings, clients, current, certificates_modified })
    }

    /// Returns the URLs of the endpoints.
    pub(super) fn urls(&self) -> Vec<String> {
        self.clients.iter().map(|endpoint| endpoint.load().url.clone()).collect()
    }

    /// Makes a call at the endpoint in use, and at others as far as `resend` allows, within the request timeout.
    pub(super) async fn call<T, F, Call>(&self, resend: Resend, send: F) -> Result<T, StoreError>
    where
        F: Fn(Arc<EndpointClient>) -> Call,
        Call: Future<Output = Result<T, Error>>,
    {
        let limit = self.settings.request_timeout;
        let deadline = Instant::now() + limit;
        // A single endpoint has a second attempt too: the first may have used a connection that etcd had closed.
        let mut attempts = self.clients.len().max(2);
        loop {
            attempts -= 1;
            let endpoint = self.clients[self.current.load(Ordering::Relaxed)].load_full();
            let Ok(result) = timeout_at(deadline, endpoint.run(&send)).await else {
                self.fail_over(&endpoint).await;
                return Err(StoreError::Unreachable(format!("{}: no response within {limit:?}", endpoint.url)));
            };
            let error = match result {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let store_error = error::store_error(&endpoint.url, &error);
            let retry = match store_error {
                StoreError::Unreachable(_) => resend == Resend::Yes || error::was_never_sent(&error),
                // The call had no effect. Another member may have another certificate, but the password is the same.
                StoreError::Denied(_) => self.clients.len() > 1,
                _ => return Err(store_error),
            };
            self.fail_over(&endpoint).await;
            if attempts == 0 || !retry {
                return Err(store_error);
            }
            tracing::debug!(url = endpoint.url, %error, "etcd call failed; retrying");
        }
    }

    /// Switches to the next endpoint, unless another call has done so, and reloads certificates that have changed.
    pub(super) async fn fail_over(&self, endpoint: &EndpointClient) {
        let next = (endpoint.at + 1) % self.clients.len();
        if self.current.compare_exchange(endpoint.at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && next != endpoint.at
        {
            tracing::debug!(
                from = endpoint.url,
                to = self.clients[next].load().url,
                "switching to another etcd endpoint"
            );
        }
        self.reload_certificates().await;
    }

    /// Replaces the clients if a certificate file was modified. Called only after a failure: an open connection outlives
    /// its certificate, so nothing needs to be done earlier.
    async fn reload_certificates(&self) {
        let mut certificates_modified = self.certificates_modified.lock().await;
        let now = self.settings.certificates_modified();
        if *certificates_modified == now {
            return;
        }
        for endpoint in &self.clients {
            let (at, url) = (endpoint.load().at, endpoint.load().url.clone());
            match EndpointClient::open(&self.settings, at, url).await {
                Ok(client) => endpoint.store(Arc::new(client)),
                // The files may be half written. `certificates_modified` is unchanged, so the next failure tries again.
                Err(error) => return tracing::warn!(%error, "etcd's certificate files changed but cannot be used"),
            }
        }
        *certificates_modified = now;
        tracing::info!("reloaded etcd's certificate files");
    }
}
