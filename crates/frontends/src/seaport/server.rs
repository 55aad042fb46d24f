//! The hub as a part of the daemon: its listener, its calls to other hubs, and its own registration.
//!
//! Owns: the order in which they start and stop. Does not own: what any of them does.

use super::advert::{self, Advert};
use super::dial::HubConnections;
use super::hub::Hub;
use super::keys::{KeyError, Keys};
use super::settings::{Advertise, SeaportSettings};
use crate::app::App;
use skyhound_model::instance::InvalidParameter;
use skyhound_net::{BindError, LineServer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// Why there is no hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A key cannot be had.
    #[error("--seaport-key: {0}")]
    Key(#[from] KeyError),
    /// An address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It cannot be registered.
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
    /// Starts it. `shared` is whether the registry's store may have other daemons.
    pub fn start(settings: &SeaportSettings, app: &Arc<App>, shared: bool) -> Result<Self, HubError> {
        let hub = Hub::new(Arc::clone(app), settings.heartbeat, Keys::read(&settings.keys)?, shared);
        let lines = super::bind(&settings.listen, &hub, &app.metrics)?;
        let advertised = advertised_address(settings, shared, lines.local_addrs());
        let instance =
            advertised.as_ref().map(|(host, port)| advert::instance(app, &hub.id, host, *port)).transpose()?;
        // With a place of its own it is told of as any other service is.
        let seen = advertised.is_none() && settings.advertise != Advertise::Off;
        let port = lines.local_addrs().first().map(SocketAddr::port).filter(|_| seen);
        let hubs = HubConnections::start(&hub, &settings.peers, port, &app.metrics);
        let advert = instance.map(|instance| Advert::start(Arc::clone(app), instance));
        Ok(Self { lines, hubs, advert })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.lines.local_addrs()
    }

    /// Serves for ever. Returns only if a part failed, which is a bug.
    pub async fn run_until_done(&mut self) {
        self.lines.run_until_done().await;
    }

    /// Ends within `deadline`: nobody is sent here any more, then everybody is told to go. Returns how many
    /// connections did not end.
    pub async fn shutdown(self, deadline: Duration) -> usize {
        if let Some(advert) = self.advert
            && timeout(deadline / 4, advert.stop()).await.is_err()
        {
            warn!("this seaport hub could not be removed from the registry in time; its lease removes it");
        }
        let (peers, outgoing) = tokio::join!(self.lines.shutdown(deadline), self.hubs.shutdown(deadline));
        peers + outgoing
    }
}

/// Where others find this hub, if they are to: when somebody says so, or there may be others whose clients come here.
fn advertised_address(settings: &SeaportSettings, shared: bool, listens: &[SocketAddr]) -> Option<(String, u16)> {
    let port = listens.first()?.port();
    match &settings.advertise {
        Advertise::Off => None,
        Advertise::At(host, given) => Some((host.clone(), given.unwrap_or(port))),
        Advertise::Listening if !shared && settings.peers.is_empty() => None,
        Advertise::Listening => {
            let specific = listens.iter().find(|addr| !addr.ip().is_unspecified());
            if specific.is_none() {
                info!(
                    "this seaport hub is not registered, because it listens on every address; --seaport-advertise says where it is"
                );
            }
            specific.map(|addr| (addr.ip().to_string(), addr.port()))
        }
    }
}
