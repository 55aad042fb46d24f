//! seaport: newline-delimited JSON over TCP. A process connects, says what it offers, hears what all others offer, and
//! is in the registry exactly as long as it is connected.
//!
//! Every daemon on the same store is the same hub, and what came in through other dialects is among what peers hear. The
//! original (npm `seaport` 2.0.9) works unmodified, as a client, and as a hub that peers with this one.
//!
//! Where this is not the original:
//! - An id is held by everybody who registers it, and gone with the last of them; the original frees it with the first.
//! - Rows that a client passes back (it tells all that it ever heard when it connects again) are known by the order of
//!   their keys, and are nobody's registration; see [`relay`].
//! - Between hubs nothing goes round; see `peer_hub`.
//! - A row that comes to nothing is answered with `["error", id, sentence]`, which the original passes over.
//! - With keys, who has none may read.
//!
//! [`row`] is the spelling, [`meta`] what is said of a service, [`relay`] how it is known again, [`link`] rows over a
//! connection, [`sealed`] and [`keys`] the same with keys. `peer` is the life of a connection, `rows` what comes of what
//! is said there, `services` what it holds, `outbox`, `echoes` and `heartbeat` parts of it, `hub` what all peers of a node
//! share. `dial` calls other hubs, `peer_hub` has the rules between them, `advert` says where this one is, `server` joins
//! all that. [`client`] is the other end.

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

use hub::Hub;
use link::Link;
use sealed::{KeyOffer, SEALED_MAX};
use skyhound_net::lines::LineEvent;
use skyhound_net::metrics::Metrics;
use skyhound_net::{BindError, LineConnection, LineServer, Peer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The name that entries and counters say this dialect by.
pub const FRONTEND: &str = "seaport";
/// `--seaport-heartbeat`, in seconds: the original's.
pub const HEARTBEAT_S: u32 = 15;
/// How long a hub with keys waits for a peer's first line, which says whether it has keys as well. The original's
/// client sends it at once.
const GREETING: Duration = Duration::from_secs(2);
/// What a peer hears that is one too many.
const FULL: &str = "[\"error\",\"\",\"this hub has as many connections as it takes; come again\"]\n";

/// Listens for peers.
fn bind(addrs: &[SocketAddr], hub: &Arc<Hub>, metrics: &Arc<Metrics>) -> Result<LineServer, BindError> {
    let hub = Arc::clone(hub);
    LineServer::bind(addrs, FRONTEND, metrics, FULL, move |lines, peer| {
        tokio::spawn(begin(Arc::clone(&hub), lines, peer));
    })
}

async fn begin(hub: Arc<Hub>, mut lines: LineConnection, peer: Peer) {
    let Some(keys) = &hub.keys else {
        return peer::serve(Arc::clone(&hub), Link::plain(lines), peer, true).await;
    };
    let first = tokio::select! {
        first = timeout(GREETING, lines.next_event()) => first,
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
    let met = KeyOffer::new(Arc::clone(&keys.own)).ok_or("this hub's key signs nothing").and_then(|offer| {
        lines.send(&offer.line);
        offer.accept(&header)
    });
    let refused = match met {
        Ok((sealed, pem)) if keys.authorize(&pem) => {
            lines.set_max_line(SEALED_MAX);
            return peer::serve(Arc::clone(&hub), Link::sealed(lines, sealed), peer, true).await;
        }
        Ok(_) => "this hub does not know your key",
        Err(sentence) => sentence,
    };
    hub.app.metrics.registration(FRONTEND, "unauthorized");
    tracing::info!(peer = %peer.addr, refused, "seaport peer refused");
    lines.close().await;
}
