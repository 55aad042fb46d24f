//! Calls to other hubs (`--seaport-peer`): a connection to each, for as long as this daemon runs.
//!
//! Owns: calling, and coming back after a loss. Does not own: what is said then ([`super::peer`], [`super::other`]), nor
//! which hubs there are.

use super::advert;
use super::client;
use super::hub::Hub;
use super::link::{Heard, Link};
use super::other::{DOUBT, Other};
use super::peer::{self, End};
use super::row::Row;
use skyhound_base::Backoff;
use skyhound_net::Peer;
use skyhound_net::drain::{Drain, Seat};
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
const HELO: Duration = Duration::from_secs(5);

/// The calls.
#[derive(Debug)]
pub(super) struct Calls {
    drain: Arc<Drain>,
}

impl Calls {
    /// Starts them. `port` is where this hub listens, as the others are told where nobody says it otherwise.
    pub(super) fn start(hub: &Arc<Hub>, hubs: &[String], port: Option<u16>, metrics: &Metrics) -> Self {
        let (drain, connected, all) = (Drain::new(hubs.len()), Arc::<AtomicUsize>::default(), hubs.len());
        for at in hubs {
            let Some(seat) = drain.seat() else { break };
            let line = Line { hub: Arc::clone(hub), at: at.clone(), port, connected: Arc::clone(&connected) };
            tokio::spawn(line.keep(seat));
        }
        metrics.collect(move |scrape| {
            let of = [("connected", connected.load(Ordering::Relaxed)), ("all", all)];
            scrape.gauges("skyhound_seaport_hubs", "Other hubs that this one keeps a connection to", "of", of);
        });
        Self { drain }
    }

    /// Ends them within `deadline`. Returns how many did not end.
    pub(super) async fn shutdown(&self, deadline: Duration) -> usize {
        self.drain.stop();
        self.drain.empty(deadline).await
    }
}

/// The line to one hub.
struct Line {
    hub: Arc<Hub>,
    at: String,
    port: Option<u16>,
    connected: Arc<AtomicUsize>,
}

/// A hub that has answered.
struct Answered {
    link: Link,
    addr: SocketAddr,
    /// Where this hub is, as it is seen from there.
    first: Option<Row>,
    other: Other,
}

impl Line {
    async fn keep(self, seat: Arc<Seat>) {
        let (mut backoff, mut doubt, mut told) = (Backoff::new(RETRY, RETRY_MAX), None, String::new());
        tokio::select! {
            () = self.hub.app.catalog.ready() => {}
            () = seat.stopping() => return,
        }
        loop {
            let answered = tokio::select! {
                answered = self.call(doubt) => answered,
                () = seat.stopping() => return,
            };
            let problem = match answered {
                Ok(answered) => {
                    told.clear();
                    let began = Instant::now();
                    let end = self.talk(answered, &seat).await;
                    if end == End::Stopping {
                        return;
                    }
                    if end.is_a_loss() {
                        doubt = Some(Instant::now() + DOUBT);
                    }
                    if began.elapsed() > RETRY_MAX {
                        backoff.reset();
                    }
                    format!("the connection ended: {end:?}")
                }
                Err(problem) => problem,
            };
            // Once for each new problem: a hub may be away for days.
            if problem != told {
                warn!(hub = self.at, problem, "no connection to another seaport hub; it is called again and again");
                told = problem;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_delay()) => {}
                () = seat.stopping() => return,
            }
        }
    }

    async fn talk(&self, answered: Answered, seat: &Arc<Seat>) -> End {
        let Answered { link, addr, first, other } = answered;
        info!(hub = self.at, "connected to another seaport hub");
        self.connected.fetch_add(1, Ordering::Relaxed);
        let peer = Peer { addr, seat: Arc::clone(seat) };
        let end = peer::serve_hub(Arc::clone(&self.hub), link, peer, first, other).await;
        self.connected.fetch_sub(1, Ordering::Relaxed);
        end
    }

    /// Connects, and hears who is there.
    async fn call(&self, doubt: Option<Instant>) -> Result<Answered, String> {
        let keys = self.hub.keys.as_ref();
        let own = keys.map(|keys| Arc::clone(&keys.own));
        let opened = client::open(&self.at, own, &Row::Hub(self.hub.id.clone())).await?;
        if let (Some(keys), Some(pem)) = (keys, &opened.key)
            && !keys.authorize(pem)
        {
            return Err("its key is not among those that are authorized here".into());
        }
        let (mut link, addr) = (opened.link, opened.addr);
        let helo = timeout(HELO, helo(&mut link));
        let (seen, id) = helo.await.map_err(|_| format!("it does not say helo within {HELO:?}"))??;
        if id.as_deref().is_some_and(|id| id == self.hub.id || advert::is_of_this_store(&self.hub.app, id)) {
            return Err("it is this hub itself: all daemons on one store are one".into());
        }
        let first = self.port.map(|port| advert::row(&self.hub.id, &seen, port));
        let other = match id {
            Some(_) => Other::ours(),
            None => Other::original(&self.at, self.hub.shared, doubt),
        };
        Ok(Answered { link, addr, first, other })
    }
}

/// What a hub says first: how it sees this side, and which one it is if it is one of ours.
async fn helo(link: &mut Link) -> Result<(String, Option<String>), String> {
    loop {
        return match link.hear().await {
            Heard::Row(Ok(Row::Helo(seen, id))) => Ok((seen, id)),
            Heard::Row(Ok(Row::Error(_, sentence))) => Err(format!("it says: {sentence}")),
            Heard::Row(Ok(Row::Heartbeat)) | Heard::Room => continue,
            Heard::Row(_) | Heard::Broke(_) => Err("what answers there is no hub".into()),
            Heard::Closed | Heard::Gone | Heard::Stalled => Err("it closed the connection".into()),
        };
    }
}
