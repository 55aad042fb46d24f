//! Calls to other hubs (`--seaport-peer`): a connection to each, for as long as this daemon runs.
//!
//! Owns: calling, and coming back after a loss. Does not own: what is said then ([`super::peer`], [`super::peer_hub`]), nor
//! which hubs there are.

use super::advert;
use super::client;
use super::hub::Hub;
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

/// The first pause before a hub is called again: the original's.
const RETRY: Duration = Duration::from_secs(1);
/// The longest one. A connection that lasted longer was a good one.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a hub may take to say who it is.
const HELO_TIMEOUT: Duration = Duration::from_secs(5);

/// The calls.
#[derive(Debug)]
pub(super) struct HubConnections {
    drain: Arc<Drain>,
}

impl HubConnections {
    /// Starts them. `port` is where this hub listens, as the others are told where nobody says it otherwise.
    pub(super) fn start(hub: &Arc<Hub>, hubs: &[String], port: Option<u16>, metrics: &Metrics) -> Self {
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

    /// Ends them within `deadline`. Returns how many did not end.
    pub(super) async fn shutdown(&self, deadline: Duration) -> usize {
        self.drain.stop();
        self.drain.wait_until_idle(deadline).await
    }
}

/// The line to one hub.
struct HubConnection {
    hub: Arc<Hub>,
    address: String,
    port: Option<u16>,
    connected: Arc<AtomicUsize>,
}

/// A hub that has answered.
struct ConnectedHub {
    link: Link,
    addr: SocketAddr,
    /// Where this hub is, as it is seen from there.
    first: Option<Row>,
    peer_hub: PeerHub,
}

impl HubConnection {
    async fn run(self, permit: Arc<ConnectionPermit>) {
        let (mut backoff, mut uncertain_until, mut reported) = (Backoff::new(RETRY, RETRY_MAX), None, String::new());
        tokio::select! {
            () = self.hub.app.catalog.ready() => {}
            () = permit.stopping() => return,
        }
        loop {
            let connected = tokio::select! {
                connected = self.connect(uncertain_until) => connected,
                () = permit.stopping() => return,
            };
            let problem = match connected {
                Ok(connected) => {
                    reported.clear();
                    let began = Instant::now();
                    let end = self.serve(connected, &permit).await;
                    if end == SessionEnd::Shutdown {
                        return;
                    }
                    if end.is_connection_loss() {
                        uncertain_until = Some(Instant::now() + LOSS_DETECTION);
                    }
                    if began.elapsed() > RETRY_MAX {
                        backoff.reset();
                    }
                    format!("the connection ended: {end:?}")
                }
                Err(problem) => problem,
            };
            // Once for each new problem: a hub may be away for days.
            if problem != reported {
                warn!(
                    hub = self.address,
                    problem, "no connection to another seaport hub; it is called again and again"
                );
                reported = problem;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = permit.stopping() => return,
            }
        }
    }

    async fn serve(&self, connected: ConnectedHub, permit: &Arc<ConnectionPermit>) -> SessionEnd {
        let ConnectedHub { link, addr, first, peer_hub } = connected;
        info!(hub = self.address, "connected to another seaport hub");
        self.connected.fetch_add(1, Ordering::Relaxed);
        let peer = Peer { addr, permit: Arc::clone(permit) };
        let end = peer::serve_hub(Arc::clone(&self.hub), link, peer, first, peer_hub).await;
        self.connected.fetch_sub(1, Ordering::Relaxed);
        end
    }

    /// Connects, and hears who is there.
    async fn connect(&self, uncertain_until: Option<Instant>) -> Result<ConnectedHub, String> {
        let keys = self.hub.keys.as_ref();
        let own = keys.map(|keys| Arc::clone(&keys.own));
        let opened = client::open(&self.address, own, &Row::Hub(self.hub.id.clone())).await?;
        if let (Some(keys), Some(pem)) = (keys, &opened.key)
            && !keys.authorize(pem)
        {
            return Err("its key is not among those that are authorized here".into());
        }
        let (mut link, addr) = (opened.link, opened.addr);
        let helo = timeout(HELO_TIMEOUT, read_helo(&mut link));
        let (seen, id) = helo.await.map_err(|_| format!("it does not say helo within {HELO_TIMEOUT:?}"))??;
        if id.as_deref().is_some_and(|id| id == self.hub.id || advert::is_of_this_store(&self.hub.app, id)) {
            return Err("it is this hub itself: all daemons on one store are one".into());
        }
        let first = self.port.map(|port| advert::row(&self.hub.id, &seen, port));
        let peer_hub = match id {
            Some(_) => PeerHub::ours(),
            None => PeerHub::original(&self.address, self.hub.shared, uncertain_until),
        };
        Ok(ConnectedHub { link, addr, first, peer_hub })
    }
}

/// What a hub says first: how it sees this side, and which one it is if it is one of ours.
async fn read_helo(link: &mut Link) -> Result<(String, Option<String>), String> {
    loop {
        return match link.next_event().await {
            LinkEvent::Row(Ok(Row::Helo(seen, id))) => Ok((seen, id)),
            LinkEvent::Row(Ok(Row::Error(_, sentence))) => Err(format!("it says: {sentence}")),
            LinkEvent::Row(Ok(Row::Heartbeat)) | LinkEvent::Writable => continue,
            LinkEvent::Row(_) | LinkEvent::ProtocolViolation(_) => Err("what answers there is no hub".into()),
            LinkEvent::Closed | LinkEvent::Disconnected | LinkEvent::SendTimeout => {
                Err("it closed the connection".into())
            }
        };
    }
}
