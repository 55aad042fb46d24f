//! The endpoints: which one is used, when another is, and how we log in.
//!
//! Each endpoint has a client of its own, and one of them is used until it fails. The client's own
//! balancer is not used: it picks a random endpoint for every call, without looking whether the last
//! call there failed or hung, so that with one of three members dead a third of all calls would fail.
//!
//! Owns: the time limit of a call, sending it again elsewhere, the token, and reading rotated
//! certificates. Does not own: what is called.

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

/// Whether a call may be sent a second time when it is not known what became of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resend {
    /// It may: a read, or what has the same effect twice.
    Yes,
    /// It may not, unless the first cannot have been sent at all.
    No,
}

/// The client of one endpoint.
pub(super) struct EndpointClient {
    /// Its place among the endpoints.
    at: usize,
    pub(super) url: String,
    pub(super) client: Client,
    user: Option<(String, String)>,
    /// How many tokens we have had; 0 when we have yet to ask for the first.
    tokens: AtomicU64,
    /// Held while a token is asked for, so that many calls that find it expired ask once.
    login_lock: Mutex<()>,
}

impl EndpointClient {
    async fn open(settings: &EtcdSettings, at: usize, url: String) -> Result<Self, SettingsError> {
        let user = settings.user()?;
        let options = settings.options(&url)?;
        // Returns at once, etcd there or not: the connection is made by the first call.
        let client = Client::connect([&url], Some(options)).await.map_err(|error| match error {
            Error::TransportError(tls) => SettingsError::Tls(with_sources(&tls)),
            other => SettingsError::Endpoint { endpoint: url.clone(), problem: format!("is no URL ({other})") },
        })?;
        Ok(Self { at, url, client, user, tokens: AtomicU64::new(0), login_lock: Mutex::new(()) })
    }

    /// One call, logged in; once more if the token turns out to have expired.
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
                tracing::debug!(url = self.url, %error, "etcd no longer takes our token, asking for another");
                self.log_in(used).await?;
                send(self.clone()).await
            }
            result => result,
        }
    }

    /// Asks for a token, unless someone else has since the one that was `used`.
    async fn log_in(&self, used: u64) -> Result<(), Error> {
        let _login = self.login_lock.lock().await;
        if self.tokens.load(Ordering::Acquire) != used {
            return Ok(());
        }
        let mut client = self.client.clone();
        match client.update_user(self.user.clone()).await {
            // As etcdctl does: credentials for an etcd that asks for none are no error.
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
    /// The place of the one in use.
    current: AtomicUsize,
    /// When the certificate files were written that the links were made with.
    certificates_modified: Mutex<[Option<SystemTime>; 3]>,
}

impl Endpoints {
    /// Makes the clients; nothing is sent yet.
    pub(super) async fn open(settings: EtcdSettings) -> Result<Self, SettingsError> {
        settings.check_times()?;
        let certificates_modified = Mutex::new(settings.certificates_modified());
        let mut clients = Vec::new();
        for (at, url) in settings.urls()?.into_iter().enumerate() {
            clients.push(ArcSwap::from_pointee(EndpointClient::open(&settings, at, url).await?));
        }
        // Any of them to begin with, so that many daemons do not all crowd the first member.
        let current = AtomicUsize::new(fastrand::usize(..clients.len()));
        Ok(Self { settings, clients, current, certificates_modified })
    }

    /// The endpoints' URLs.
    pub(super) fn urls(&self) -> Vec<String> {
        self.clients.iter().map(|endpoint| endpoint.load().url.clone()).collect()
    }

    /// Makes a call at the endpoint in use, and at others as far as `resend` allows. Takes no longer than
    /// the request timeout.
    pub(super) async fn call<T, F, Call>(&self, resend: Resend, send: F) -> Result<T, StoreError>
    where
        F: Fn(Arc<EndpointClient>) -> Call,
        Call: Future<Output = Result<T, Error>>,
    {
        let limit = self.settings.request_timeout;
        let deadline = Instant::now() + limit;
        // Even a single endpoint gets a second try: the first may have met a connection that etcd had closed.
        let mut tries = self.clients.len().max(2);
        loop {
            tries -= 1;
            let endpoint = self.clients[self.current.load(Ordering::Relaxed)].load_full();
            let Ok(result) = timeout_at(deadline, endpoint.run(&send)).await else {
                self.fail_over(&endpoint).await;
                return Err(StoreError::Unreachable(format!("{}: no answer within {limit:?}", endpoint.url)));
            };
            let error = match result {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let meaning = error::store_error(&endpoint.url, &error);
            let retry = match meaning {
                StoreError::Unreachable(_) => resend == Resend::Yes || error::was_never_sent(&error),
                // It had no effect. Another member may have another certificate, but the password is the same.
                StoreError::Denied(_) => self.clients.len() > 1,
                _ => return Err(meaning),
            };
            self.fail_over(&endpoint).await;
            if tries == 0 || !retry {
                return Err(meaning);
            }
            tracing::debug!(url = endpoint.url, %error, "etcd call failed, trying again");
        }
    }

    /// Turns to the next endpoint, unless someone else has; and to new certificates, if there are any.
    pub(super) async fn fail_over(&self, endpoint: &EndpointClient) {
        let next = (endpoint.at + 1) % self.clients.len();
        if self.current.compare_exchange(endpoint.at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && next != endpoint.at
        {
            tracing::debug!(
                from = endpoint.url,
                to = self.clients[next].load().url,
                "turning to another etcd endpoint"
            );
        }
        self.reload_certificates().await;
    }

    /// Makes the clients anew when a certificate file was written since. Called only after a failure: an
    /// open connection outlives its certificate, so there is nothing to do before.
    async fn reload_certificates(&self) {
        let mut certificates_modified = self.certificates_modified.lock().await;
        let now = self.settings.certificates_modified();
        if *certificates_modified == now {
            return;
        }
        for endpoint in &self.clients {
            let (at, url) = (endpoint.load().at, endpoint.load().url.clone());
            match EndpointClient::open(&self.settings, at, url).await {
                Ok(fresh) => endpoint.store(Arc::new(fresh)),
                // Half written, perhaps. The next failure looks again, because `certificates_modified` is left as it was.
                Err(error) => return tracing::warn!(%error, "etcd's certificate files changed but cannot be used"),
            }
        }
        *certificates_modified = now;
        tracing::info!("etcd's certificate files were read again");
    }
}
