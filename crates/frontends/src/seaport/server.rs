//! The hub as a part of the daemon: its listener, its connections to other hubs, and its own registration.
//!
//! Owns: the order in which they start and stop, and the advertised address. Does not own: their behavior.

use super::advert::{self, Advert};
use super::dial::HubConnections;
use super::hub::SeaportHub;
use super::keys::{HubKeys, KeyFileError};
use super::settings::{Advertise, SeaportSettings};
use crate::app::App;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::{BindError, LineServer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// The reason for which a hub cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A key file is invalid or unreadable.
    #[error("--seaport-key: {0}")]
    Key(#[from] KeyFileError),
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The advertised address cannot be registered.
    #[error("--seaport-advertise: {0}")]
    Advertise(#[from] InvalidParameter),
}

/// A running hub.
#[derive(Debug)]
pub struct HubServer {
    lines: LineServer,
    hubs: HubConnections,
    advert: Option<Advert>,
}

impl HubServer {
    /// Starts the hub. `shared` means that the registry's store may have other daemons.
    pub fn start(settings: &SeaportSettings, app: &Arc<App>, shared: bool) -> Result<Self, HubError> {
        let hub = SeaportHub::new(Arc::clone(app), settings.heartbeat, HubKeys::read(&settings.keys)?, shared);
        let lines = super::bind(&settings.listen, &hub, &app.metrics)?;
        let advertised = advertised_address(settings, shared, lines.local_addrs());
        let instance =
            advertised.as_ref().map(|(host, port)| advert::instance(app, &hub.id, host, *port)).transpose()?;
        // With an advertised address the hub is an instance, which other hubs receive as any other instance.
        let advertise_by_row = advertised.is_none() && settings.advertise != Advertise::Off;
        let port = lines.local_addrs().first().map(SocketAddr::port).filter(|_| advertise_by_row);
        let hubs = HubConnections::start(&hub, &settings.peers, port, &app.metrics);
        let advert = instance.map(|instance| Advert::start(Arc::clone(app), instance));
        Ok(Self { lines, hubs, advert })
    }

    /// The listeners' addresses.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.lines.local_addrs()
    }

    /// Serves until shutdown. Returns only if a part failed, which is a bug.
    pub async fn run_until_done(&mut self) {
        self.lines.run_until_done().await;
    }

    /// Shuts down within `deadline`: first the hub stops to advertise itself, then it closes its connections. Returns
    /// the number of connections that did not end.
    pub async fn shutdown(self, deadline: Duration) -> usize {
        if let Some(advert) = self.advert
            && timeout(deadline / 4, advert.stop()).await.is_err()
        {
            warn!("cannot remove this seaport hub from the registry in time; it stays until its lease expires");
        }
        let (peers, outgoing) = tokio::join!(self.lines.shutdown(deadline), self.hubs.shutdown(deadline));
        peers + outgoing
    }
}

/// Returns the address to advertise: the configured one, or a specific listener's if other hubs may exist.
fn advertised_address(settings: &SeaportSettings, shared: bool, listens: &[SocketAddr]) -> Option<(String, u16)> {
    let port = listens.first()?.port();
    match &settings.advertise {
        Advertise::Off => None,
        Advertise::At(host, specified) => Some((host.clone(), specified.unwrap_or(port))),
        Advertise::Listening if !shared && settings.peers.is_empty() => None,
        Advertise::Listening => {
            let specific = listens.iter().find(|addr| !addr.ip().is_unspecified());
            if specific.is_none() {
                info!(
                    "not advertising this seaport hub, because it listens on every address; set its address with --seaport-advertise"
                );
            }
            specific.map(|addr| (addr.ip().to_string(), addr.port()))
        }
    }
}
