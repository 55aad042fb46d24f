//! The registration of this hub as a service with the role `seaport`: clients that know it fail over to it.
//!
//! The original registers itself with the hub that it peers with. Daemons on one store are one hub, so each of them is
//! in the registry, on its own lease. No peer registered it, so no peer can free it.
//!
//! Owns: the registration and the row that advertise this hub. Does not own: the decision to advertise
//! ([`super::server`]).

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

/// The role of hubs.
const ROLE: &str = "seaport";
/// The version of the original with the same behavior.
const VERSION: &str = "2.0.9";
/// The frontend of the registration, which is no client's.
const FRONTEND: &str = "skyhound";
/// The metadata field with the hub's id.
const HUB_FIELD: &str = "hub";
/// The pause before a failed registration is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Returns the registration of the hub at `host` and `port`.
pub(super) fn instance(app: &App, id: &str, host: &str, port: u16) -> Result<Instance, InvalidParameter> {
    let registration = Registration {
        service: ROLE.into(),
        host: host.into(),
        port,
        version: Some(VERSION.into()),
        prefix: Some("hub".into()),
        meta: [(HUB_FIELD.to_owned(), id.to_owned())].into(),
        frontend: FRONTEND,
        ..Registration::default()
    };
    registration.accept(&app.naming, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Returns the same as a `register` row for one other hub, with the address that this hub has for it.
pub(super) fn row(id: &str, host: &str, port: u16) -> Row {
    let host = host.parse().map_or_else(|_| host.to_owned(), |ip: IpAddr| ip.to_canonical().to_string());
    let fields = [("role", json!(ROLE)), ("version", json!(VERSION)), ("port", json!(port)), ("host", json!(host))];
    let meta: ServiceMeta =
        fields.into_iter().chain([("id", json!(id))]).map(|(key, value)| (key.to_owned(), value)).collect();
    Row::Register(id.to_owned(), meta)
}

/// Reports that a hub is one of the daemons on this store.
pub(super) fn is_of_this_store(app: &App, id: &str) -> bool {
    let snapshot = app.catalog.snapshot();
    let details = snapshot.instances(ROLE).filter_map(|stored| stored.entry.details.as_ref());
    details.filter(|details| details.frontend() == FRONTEND).any(|details| details.meta_value(HUB_FIELD) == Some(id))
}

/// The active registration of this hub.
#[derive(Debug)]
pub(super) struct Advert {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Advert {
    /// Registers the hub and holds the registration.
    pub(super) fn start(app: Arc<App>, instance: Instance) -> Self {
        let (stop, stopping) = watch::channel(false);
        Self { stop, task: tokio::spawn(hold(app, instance, stopping)) }
    }

    /// Removes the registration, also where other entries stay for their lease: no client should fail over to this hub
    /// any more. The caller bounds it by a timeout.
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
                Err(error) => warn!(%error, name = %instance.name, "cannot register this seaport hub; retrying"),
            }
            sleep(RETRY_PAUSE).await;
        }
    };
    let claim = tokio::select! {
        claim = registering => claim,
        // An error means that the sender was dropped, which is a stop as well.
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    info!(name = %instance.name, "registered this seaport hub");
    let _ = stopping.wait_for(|stop| *stop).await;
    drop(claim.release(RemovalReason::Deregistered).await);
}
