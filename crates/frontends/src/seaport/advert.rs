//! This hub as a service, role `seaport`: clients that know of it go there when their own hub is gone.
//!
//! The original registers itself with the hub that it peers with. Daemons on one store are one hub, so each of them is
//! in the registry, on its own lease. It came in through no peer, and so none can free it.
//!
//! Owns: where this hub is, in words for others. Does not own: whether it says so ([`super::server`]).

use super::meta::ServiceMeta;
use super::row::Row;
use crate::app::App;
use serde_json::json;
use skyhound_model::instance::InvalidParameter;
use skyhound_model::{Instance, Registration, RemovalReason};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

/// What hubs are registered as.
const ROLE: &str = "seaport";
/// The version of the original that this one speaks like.
const VERSION: &str = "2.0.9";
/// Who registers it.
const FRONTEND: &str = "skyhound";
/// The field that says which hub it is.
const HUB_FIELD: &str = "hub";
/// The pause before a registration that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The registration of the hub at `host` and `port`.
pub(super) fn instance(app: &App, id: &str, host: &str, port: u16) -> Result<Instance, InvalidParameter> {
    let registration = Registration {
        service: ROLE.into(),
        host: host.into(),
        port,
        version: Some(VERSION.into()),
        prefix: Some("hub".into()),
        meta: [(HUB_FIELD.to_owned(), id.to_owned())].into(),
        dialect: FRONTEND,
        ..Registration::default()
    };
    registration.accept(&app.naming, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The same as a row for one other hub, by the address that it sees.
pub(super) fn row(id: &str, host: &str, port: u16) -> Row {
    let host = host.parse().map_or_else(|_| host.to_owned(), |ip: IpAddr| ip.to_canonical().to_string());
    let fields = [("role", json!(ROLE)), ("version", json!(VERSION)), ("port", json!(port)), ("host", json!(host))];
    let meta: ServiceMeta =
        fields.into_iter().chain([("id", json!(id))]).map(|(key, value)| (key.to_owned(), value)).collect();
    Row::Register(id.to_owned(), meta)
}

/// Whether a hub is one of the daemons on this store.
pub(super) fn is_of_this_store(app: &App, id: &str) -> bool {
    let snapshot = app.catalog.snapshot();
    let details = snapshot.instances(ROLE).filter_map(|stored| stored.entry.details.as_ref());
    details.filter(|details| details.dialect() == FRONTEND).any(|details| details.meta_value(HUB_FIELD) == Some(id))
}

/// The registration, as it is held.
#[derive(Debug)]
pub(super) struct Advert {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Advert {
    /// Holds it from now on.
    pub(super) fn start(app: Arc<App>, instance: Instance) -> Self {
        let (stop, stopping) = watch::channel(false);
        Self { stop, task: tokio::spawn(hold(app, instance, stopping)) }
    }

    /// Removes it, whatever becomes of other entries: nobody should come here any more. Bound it.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

async fn hold(app: Arc<App>, instance: Instance, mut stopping: watch::Receiver<bool>) {
    let registering = async {
        loop {
            match app.registry.register(instance.clone()).await {
                Ok(claim) => break claim,
                Err(error) => warn!(%error, name = %instance.name, "this hub cannot be registered; trying again"),
            }
            sleep(RETRY_PAUSE).await;
        }
    };
    let claim = tokio::select! {
        claim = registering => claim,
        // An error would say that nobody can stop it any more.
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    info!(name = %instance.name, "this seaport hub is registered");
    let _ = stopping.wait_for(|stop| *stop).await;
    drop(claim.release(RemovalReason::Deregistered).await);
}
