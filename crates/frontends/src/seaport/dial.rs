//! Outgoing connections to other hubs (`--seaport-peer`): one per hub, for as long as this daemon runs.
//!
//! Owns: connecting, and reconnecting after a loss. Does not own: the session on the connection ([`super::peer`]), the
//! rules between hubs ([`super::peer_hub`]), nor the list of hubs (the settings).

use super::advert;
use super::client;
use super::hub::SeaportHub;
use super::link::{Link, LinkEvent};
use super::peer::{self, SessionEnd};
use super::peer_hub::{LOSS_DETECTION, PeerHub};
use super::row::Row;
use skyhound_base::Backoff;
use skyhound_net::Peer;
use skyhound_net::drain::{ConnectionPermit, Drain};
use skyhound_net::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// The first pause before a reconnection: the original's.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause. A connection that lasted longer resets the backoff.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The time within which a hub has to send `helo`.
const HELO_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections to all configured hubs.
#[derive(Debug)]
pub(super) struct HubConnections {
    drain: Arc<Drain>,
}

impl HubConnections {
    /// Starts to connect. `port` is this hub's port, which the other hubs receive when no advertised address replaces
    /// it.
    pub(super) fn start(hub: &Arc<SeaportHub>, hubs: &[String], port: Option<u16>, metrics: &Metrics) -> Self {
        let (drain, connected, all) = (Drain::new(hubs.len()), Arc::<AtomicUsize>::default(), hubs.len());
        for address in hubs {
            let Some(permit) = drain.try_acquire() else { break };
            let connection = HubConnection {
                hub: Arc::clone(hub),
                address: address.clone(),
                port,
                connected: Arc::clone(&connected),
            };
            tokio::spawn(connection.run(permit));
        }
        metrics.collect(move |scrape| {
            scrape.gauge_count("skyhound_seaport_hubs", "Hubs given with --seaport-peer", all);
            let connected = connected.load(Ordering::Relaxed);
            scrape.gauge_count(
                "skyhound_seaport_hubs_connected",
                "Hubs of --seaport-peer that are connected",
                connected,
            );
        });
        Self { drain }
    }

    /// Closes them within `deadline`. Returns the number of connections that did not end.
    pub(super) async fn shutdown(&self, deadline: Duration) -> usize {
        self.drain.stop();
        self.drain.wait_until_idle(deadline).await
    }
}

/// The connection to one hub, through all reconnections.
struct HubConnection {
    hub: Arc<SeaportHub>,
    address: String,
    port: Option<u16>,
    connected: Arc<AtomicUsize>,
}

/// A hub that has sent `helo`.
struct ConnectedHub {
    link: Link,
    addr: SocketAddr,
    /// The row that advertises this hub, with the address that the other hub has for it.
    first: Option<Row>,
    peer_hub: PeerHub,
}

/// The state that a connection to a hub leaves to the next one.
struct RetryState {
    backoff: Backoff,
    uncertain_until: Option<Instant>,
    /// The problem that was logged last.
    reported: String,
}

impl HubConnection {
    async fn run(self, permit: Arc<ConnectionPermit>) {
        let backoff = Backoff::new(RETRY, RETRY_MAX);
        let mut retry = RetryState { backoff, uncertain_until: None, reported: String::new() };
        tokio::select! {
            () = self.hub.app.catalog.ready() => {}
            () = permit.stopping() => return,
        }
        loop {
            let connected = tokio::select! {
                connected = self.connect(retry.uncertain_until) => connected,
                () = permit.stopping() => return,
            };
            let problem = match connected {
                Ok(connected) => match self.serve(connected, &permit, &mut retry).await {
                    SessionEnd::Shutdown => return,
                    end => format!("the connection ended: {end:?}"),
                },
                Err(problem) => problem,
            };
            self.report(problem, &mut retry);
            tokio::select! {
                () = tokio::time::sleep(retry.backoff.next_delay()) => {}
                () = permit.stopping() => return,
            }
        }
    }

    /// Logs each new problem once: a hub may be unreachable for days.
    fn report(&self, problem: String, retry: &mut RetryState) {
        if problem != retry.reported {
            warn!(hub = self.address, problem, "no connection to another seaport hub; retrying");
            retry.reported = problem;
        }
    }

    async fn serve(
        &self,
        connected: ConnectedHub,
        permit: &Arc<ConnectionPermit>,
        retry: &mut RetryState,
    ) -> SessionEnd {
        let ConnectedHub { link, addr, first, peer_hub } = connected;
        info!(hub = self.address, "connected to another seaport hub");
        retry.reported.clear();
        let started = Instant::now();
        self.connected.fetch_add(1, Ordering::Relaxed);
        let peer = Peer { addr, permit: Arc::clone(permit) };
        let end = peer::serve_hub(Arc::clone(&self.hub), link, peer, first, peer_hub).await;
        self.connected.fetch_sub(1, Ordering::Relaxed);
        if end.is_connection_loss() {
            retry.uncertain_until = Some(Instant::now() + LOSS_DETECTION);
        }
        if started.elapsed() > RETRY_MAX {
            retry.backoff.reset();
        }
        end
    }

    /// Connects and identifies the hub.
    async fn connect(&self, uncertain_until: Option<Instant>) -> Result<ConnectedHub, String> {
        let keys = self.hub.keys.as_ref();
        let key_pair = keys.map(|keys| Arc::clone(&keys.key_pair));
        let opened = client::open(&self.address, key_pair, &Row::Hub(self.hub.id.clone())).await?;
        if let (Some(keys), Some(pem)) = (keys, &opened.key)
            && !keys.authorize(pem)
        {
            return Err("the other hub's key is not authorized here; add it to a file of --seaport-key".into());
        }
        let (mut link, addr) = (opened.link, opened.addr);
        let helo = timeout(HELO_TIMEOUT, read_helo(&mut link));
        let (seen, id) = helo.await.map_err(|_| format!("no helo within {HELO_TIMEOUT:?}"))??;
        if id.as_deref().is_some_and(|id| id == self.hub.id || advert::is_of_this_store(&self.hub.app, id)) {
            return Err("it is this hub itself: all daemons on one store are one hub".into());
        }
        let first = self.port.map(|port| advert::row(&self.hub.id, &seen, port));
        let peer_hub = match id {
            Some(_) => PeerHub::skyhound(),
            None => PeerHub::original(&self.address, self.hub.shared, uncertain_until),
        };
        Ok(ConnectedHub { link, addr, first, peer_hub })
    }
}

/// Reads a hub's first rows. Returns the address that it has for this side, and its id if it is a hub of skyhound.
async fn read_helo(link: &mut Link) -> Result<(String, Option<String>), String> {
    loop {
        return match link.next_event().await {
            LinkEvent::Row(Ok(Row::Helo(seen, id))) => Ok((seen, id)),
            LinkEvent::Row(Ok(Row::Error(_, sentence))) => Err(format!("the hub returned an error: {sentence}")),
            LinkEvent::Row(Ok(Row::Heartbeat)) | LinkEvent::Writable => continue,
            LinkEvent::Row(_) | LinkEvent::ProtocolViolation(_) => Err("the server is not a seaport hub".into()),
            LinkEvent::Closed | LinkEvent::Disconnected | LinkEvent::SendTimeout => {
                Err("the hub closed the connection".into())
            }
        };
    }
}
