//! seaport: newline-delimited JSON over TCP. A process connects, registers its services, receives the services of all
//! others, and is in the registry exactly as long as it is connected.
//!
//! All daemons on the same store are one hub, whose peers also receive the instances of other frontends. The original
//! (npm `seaport` 2.0.9) works unmodified, as a client, and as a hub that peers with this one.
//!
//! Differences from the original:
//! - An id is held by every peer that registers it, and ends with the last of them; the original frees it with the
//!   first.
//! - Rows that a client sends back (it sends all that it ever received when it connects again) are recognized by the
//!   order of their keys, and are no registrations; see [`relay`].
//! - Services do not loop between hubs; see `peer_hub`.
//! - A rejected row is answered with `["error", id, sentence]`, which the original ignores.
//! - At a hub with keys, a client without a key may read.
//!
//! In the order of the data flow: [`link`] exchanges rows over a connection, sealed by [`sealed`] and [`keys`] if there
//! are keys; [`row`] is their encoding. `peer` is the session of a connection, with `outbox`, `echoes` and `heartbeat`.
//! `rows` decides on the rows that a peer sends, [`meta`] translates the description of a service, [`relay`] recognizes
//! services that come back. `services` holds the claims of a peer, `reconcile` is one step of a claim, `hub` is the
//! state that all peers of a node share. `dial` connects to other hubs, `peer_hub` has the rules between hubs, `advert`
//! registers this hub, and `server` joins these parts. [`client`] is the client side.

mod advert;
pub mod client;
mod dial;
mod echoes;
mod heartbeat;
mod hub;
pub mod keys;
pub mod link;
pub mod meta;
mod outbox;
mod peer;
mod peer_hub;
mod reconcile;
pub mod relay;
pub mod row;
mod rows;
pub mod sealed;
mod server;
mod services;
pub mod settings;

pub use server::{HubError, HubServer};
pub use settings::SeaportSettings;

use hub::SeaportHub;
use keys::HubKeys;
use link::Link;
use sealed::{KeyOffer, SEALED_MAX, SealedChannel};
use skyhound_net::lines::LineEvent;
use skyhound_net::metrics::Metrics;
use skyhound_net::{BindError, LineConnection, LineServer, Peer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The name of this frontend in entries and counters.
pub const FRONTEND: &str = "seaport";
/// The default of `--seaport-heartbeat`, in seconds: the original's interval.
pub const HEARTBEAT_S: u32 = 15;
/// The time for which a hub with keys waits for a peer's first line, which is a header if the peer has keys as well.
/// The original's client sends it at once.
const FIRST_LINE_TIMEOUT: Duration = Duration::from_secs(2);
/// The answer to a connection beyond the limit.
const TOO_MANY_CONNECTIONS: &str =
    "[\"error\",\"\",\"this hub has reached its limit of connections; connect again later\"]\n";

/// Binds the listeners for peers.
fn bind(addrs: &[SocketAddr], hub: &Arc<SeaportHub>, metrics: &Arc<Metrics>) -> Result<LineServer, BindError> {
    let hub = Arc::clone(hub);
    LineServer::bind(addrs, FRONTEND, metrics, TOO_MANY_CONNECTIONS, move |lines, peer| {
        tokio::spawn(accept_peer(Arc::clone(&hub), lines, peer));
    })
}

/// Serves a new connection, after the exchange of keys if the hub has keys.
async fn accept_peer(hub: Arc<SeaportHub>, mut lines: LineConnection, peer: Peer) {
    let Some(keys) = &hub.keys else {
        return peer::serve(Arc::clone(&hub), Link::plain(lines), peer, true).await;
    };
    let first = tokio::select! {
        first = timeout(FIRST_LINE_TIMEOUT, lines.next_event()) => first,
        () = peer.permit.stopping() => return,
    };
    let header = match first {
        Ok(LineEvent::Line(line)) if line.first() == Some(&b'{') => line,
        Ok(LineEvent::Line(line)) => {
            let mut plain = Link::plain(lines);
            plain.put_back(line);
            return peer::serve(Arc::clone(&hub), plain, peer, false).await;
        }
        Ok(_) => return,
        Err(_) => return peer::serve(Arc::clone(&hub), Link::plain(lines), peer, false).await,
    };
    match exchange_keys(keys, &mut lines, &header) {
        Ok(sealed) => peer::serve(Arc::clone(&hub), Link::sealed(lines, sealed), peer, true).await,
        Err(reason) => {
            hub.app.metrics.registration(FRONTEND, "unauthorized");
            tracing::info!(peer = %peer.addr, reason, "rejected a seaport peer; closing its connection");
            lines.close().await;
        }
    }
}

/// Answers a peer's header with the hub's own, and authorizes the peer's key.
fn exchange_keys(keys: &HubKeys, lines: &mut LineConnection, header: &[u8]) -> Result<SealedChannel, &'static str> {
    let offer = KeyOffer::new(Arc::clone(&keys.key_pair)).ok_or("this hub's key cannot sign")?;
    lines.send(&offer.line);
    let (sealed, pem) = offer.accept(header)?;
    if !keys.authorize(&pem) {
        return Err("the peer's key is not authorized");
    }
    lines.set_max_line(SEALED_MAX);
    Ok(sealed)
}
