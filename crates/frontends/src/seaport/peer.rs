//! The session of one connection: the rows sent and received, and the end.
//!
//! On connect each side sends every service that it knows, then `synced`; after that a peer receives every change of
//! the registry, from all frontends, once and in order. A peer that lagged receives the difference to the state that it
//! was sent ([`super::outbox`]), so that the hub never closes a connection because its own history is too short.
//!
//! Owns: the session, with either side as the caller. Does not own: the decisions on received rows ([`super::rows`]),
//! nor the rules between hubs ([`super::peer_hub`]).

use super::FRONTEND;
use super::echoes::ExpectedEchoes;
use super::heartbeat::HeartbeatTimer;
use super::hub::SeaportHub;
use super::link::{Link, LinkEvent};
use super::meta;
use super::outbox::{Outbox, OutboxItem};
use super::peer_hub::PeerHub;
use super::relay::{self, RelayOrigin};
use super::row::Row;
use super::rows::Deferral;
use super::services::{PeerServices, PutDelivery};
use skyhound_core::catalog::StoredEntry;
use skyhound_core::registry::OnStop;
use skyhound_model::RemovalReason;
use skyhound_net::limits::BAD_FRAMES_MAX;
use skyhound_net::{ConnectionPermit, Peer};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// The time for which a peer waits for a daemon that has not read its store yet. After it another hub serves better.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The reason for which a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    Closed,
    ConnectionLost,
    HeartbeatTimeout,
    SendTimeout,
    Shutdown,
    ProtocolViolation(&'static str),
}

impl SessionEnd {
    /// The label for [`skyhound_net::metrics::Metrics::release`].
    fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ConnectionLost => "connection_lost",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::SendTimeout => "send_timeout",
            Self::Shutdown => "shutdown",
            Self::ProtocolViolation(_) => "protocol_violation",
        }
    }

    /// Reports that the other side may not have noticed the end.
    pub(super) fn is_connection_loss(self) -> bool {
        matches!(self, Self::ConnectionLost | Self::HeartbeatTimeout | Self::SendTimeout)
    }
}

/// Serves a peer until its session ends. `writes` permits it to register and free.
pub(super) async fn serve(hub: Arc<SeaportHub>, mut link: Link, peer: Peer, writes: bool) {
    let loaded = timeout(LOAD_TIMEOUT, hub.app.catalog.ready()).await.is_ok();
    if !loaded {
        link.send(&Row::Error(String::new(), "the hub has not loaded its store yet; connect again later".into()));
        return link.close().await;
    }
    let helo = Row::Helo(peer.addr.ip().to_canonical().to_string(), Some(hub.id.clone()));
    PeerSession::new(hub, link, peer.addr.ip(), Some(helo), writes).run(&peer).await;
}

/// Serves a connection to another hub until its session ends.
pub(super) async fn serve_hub(
    hub: Arc<SeaportHub>,
    link: Link,
    peer: Peer,
    first: Option<Row>,
    peer_hub: PeerHub,
) -> SessionEnd {
    PeerSession { peer_hub: Some(peer_hub), ..PeerSession::new(hub, link, peer.addr.ip(), first, true) }
        .run(&peer)
        .await
}

/// A connection with its state.
pub(super) struct PeerSession {
    pub(super) hub: Arc<SeaportHub>,
    link: Link,
    pub(super) addr: IpAddr,
    writes: bool,
    pub(super) services: PeerServices,
    outbox: Outbox,
    pub(super) echoes: ExpectedEchoes,
    heartbeats: HeartbeatTimer,
    /// The peer is a hub.
    pub(super) peer_hub: Option<PeerHub>,
    /// The peer has sent its complete state.
    pub(super) synced: bool,
    /// Invalid lines since the last heartbeat.
    invalid_lines: u32,
}

impl PeerSession {
    fn new(hub: Arc<SeaportHub>, link: Link, addr: IpAddr, first: Option<Row>, writes: bool) -> Self {
        Self {
            services: PeerServices::new(Arc::clone(&hub)),
            outbox: Outbox::new(&hub.app, first, Row::Synced),
            heartbeats: HeartbeatTimer::new(hub.heartbeat),
            hub,
            link,
            addr,
            writes,
            echoes: ExpectedEchoes::default(),
            peer_hub: None,
            synced: false,
            invalid_lines: 0,
        }
    }

    async fn run(mut self, peer: &Peer) -> SessionEnd {
        let end = self.serve_until_end(&peer.permit).await;
        tracing::debug!(peer = %peer.addr, ?end, "seaport session ended");
        self.finish(end).await;
        end
    }

    async fn serve_until_end(&mut self, permit: &ConnectionPermit) -> SessionEnd {
        let mut stopping = pin!(permit.stopping());
        loop {
            let has_capacity = match self.send_pending() {
                Ok(has_capacity) => has_capacity,
                Err(end) => return end,
            };
            let due = [self.services.due(), self.peer_hub.as_ref().and_then(PeerHub::due)].into_iter().flatten();
            let due = due.fold(self.heartbeats.due(), Instant::min);
            let (freed, read) = (self.services.freed(), !self.services.are_busy());
            let step = tokio::select! {
                // Rows before the timers: after a stall of this process, rows that arrived in time are read before a
                // peer can expire.
                biased;
                () = &mut stopping => return SessionEnd::Shutdown,
                reconciled = self.services.next_reconciled() => match self.services.on_reconciled(reconciled) {
                    Some((id, sentence)) => self.send(&Row::Error(id, sentence)),
                    None => Ok(()),
                },
                event = self.link.next_event(), if read => self.on_event(event),
                () = self.outbox.wait(), if has_capacity => Ok(()),
                () = freed => self.give_up_freed(),
                () = sleep_until(due) => self.tick(),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn finish(mut self, end: SessionEnd) {
        if let SessionEnd::ProtocolViolation(sentence) = end {
            self.link.send(&Row::Error(String::new(), sentence.into()));
        }
        let Self { hub, link, services, outbox, .. } = self;
        drop(outbox);
        let reason =
            if end == SessionEnd::HeartbeatTimeout { RemovalReason::Expired } else { RemovalReason::Deregistered };
        let released = async {
            let count = match (end, hub.app.on_stop) {
                (SessionEnd::Shutdown, OnStop::Keep) => services.leave().await,
                _ => services.release_all(reason).await,
            };
            for _ in 0..count {
                hub.app.metrics.release(FRONTEND, end.as_str());
            }
        };
        match end {
            SessionEnd::ConnectionLost | SessionEnd::SendTimeout => {
                drop(link);
                released.await;
            }
            _ => drop(tokio::join!(released, link.close())),
        }
    }

    pub(super) fn send(&mut self, row: &Row) -> Result<(), SessionEnd> {
        if self.link.send(row) { Ok(()) } else { Err(SessionEnd::SendTimeout) }
    }

    /// Sends pending items up to the capacity of the connection. Returns whether capacity is left.
    fn send_pending(&mut self) -> Result<bool, SessionEnd> {
        while self.link.has_capacity() {
            match self.outbox.pop() {
                Some(OutboxItem::Row(row)) => self.send(&row)?,
                Some(OutboxItem::Put(stored)) => self.send_put(&stored)?,
                Some(OutboxItem::SourceChanged(stored)) => self.send_source_change(&stored)?,
                Some(OutboxItem::Removed(stored)) => self.send_removal(&stored)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    pub(super) fn send_put(&mut self, stored: &StoredEntry) -> Result<(), SessionEnd> {
        let Some(id) = meta::id(stored, &self.hub.app.naming) else { return Ok(()) };
        let Some(meta) = meta::of(&id, stored) else { return Ok(()) };
        let source = meta::source_hub(&stored.entry);
        let origin = if source.is_some() { RelayOrigin::Relayed } else { RelayOrigin::Registered };
        match self.services.on_put(&id) {
            PutDelivery::AsOther if self.wants(source) => {
                self.send(&Row::Register(id, relay::with_order(meta, origin)))
            }
            PutDelivery::AsOther | PutDelivery::Skip => Ok(()),
            // The current entry instead of the event's, which may be older.
            PutDelivery::AsOwn(current) => {
                let meta = meta::of(&id, &current).unwrap_or(meta);
                self.send(&Row::Register(id, meta))
            }
        }
    }

    /// Sends a change of the source hub: only to hubs, and to the services of this peer, which adopt it.
    fn send_source_change(&mut self, stored: &StoredEntry) -> Result<(), SessionEnd> {
        if self.peer_hub.is_some() {
            return self.send_put(stored);
        }
        if let Some(id) = meta::id(stored, &self.hub.app.naming) {
            self.services.on_put(&id);
        }
        Ok(())
    }

    fn send_removal(&mut self, stored: &StoredEntry) -> Result<(), SessionEnd> {
        let Some(id) = meta::id(stored, &self.hub.app.naming) else { return Ok(()) };
        if stored.entry.host.is_none() || !self.services.on_removed(&id) || !self.wants(meta::source_hub(&stored.entry))
        {
            return Ok(());
        }
        self.send_free(id)
    }

    /// Reports that the peer receives services with this source hub.
    fn wants(&self, source: Option<&str>) -> bool {
        self.peer_hub.as_ref().is_none_or(|peer_hub| peer_hub.forwards(source))
    }

    pub(super) fn send_free(&mut self, id: String) -> Result<(), SessionEnd> {
        self.echoes.free_sent(&id);
        self.send(&Row::Free(id))
    }

    fn give_up_freed(&mut self) -> Result<(), SessionEnd> {
        for id in self.services.give_up_freed() {
            self.send_free(id)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: LinkEvent) -> Result<(), SessionEnd> {
        let row = match event {
            LinkEvent::Row(row) => row,
            LinkEvent::Writable => return Ok(()),
            LinkEvent::Closed => return Err(SessionEnd::Closed),
            LinkEvent::Disconnected => return Err(SessionEnd::ConnectionLost),
            LinkEvent::SendTimeout => return Err(SessionEnd::SendTimeout),
            LinkEvent::ProtocolViolation(sentence) => return Err(SessionEnd::ProtocolViolation(sentence)),
        };
        self.heartbeats.row_received();
        match row {
            Ok(row) => self.on_row(row),
            Err((id, sentence)) => self.on_invalid_line(id, sentence),
        }
    }

    fn on_row(&mut self, row: Row) -> Result<(), SessionEnd> {
        match row {
            Row::Register(id, _) | Row::Free(id) if !self.writes => {
                self.hub.app.metrics.registration(FRONTEND, "unauthorized");
                let sentence =
                    "this hub has keys; without an authorized key a client can read, but not register or free";
                return self.send(&Row::Error(id, sentence.into()));
            }
            Row::Register(id, meta) => return self.register(id, meta, Deferral::Allowed),
            Row::Free(id) => return self.free(id),
            Row::Synced => self.synced = true,
            Row::Heartbeat => self.heartbeats.heartbeat_received(),
            Row::Hub(_) => {
                self.peer_hub.get_or_insert_with(PeerHub::skyhound);
            }
            Row::Error(id, sentence) => {
                tracing::debug!(peer = %self.addr, id, sentence, "a seaport peer rejected a row");
            }
            Row::Helo(..) | Row::Unknown => {}
        }
        Ok(())
    }

    /// Answers an invalid line with an error. Too many of them end the session, unless the peer is a hub, which only
    /// forwards the lines of its clients.
    fn on_invalid_line(&mut self, id: String, sentence: String) -> Result<(), SessionEnd> {
        self.hub.app.metrics.registration(FRONTEND, "invalid");
        if self.invalid_lines == BAD_FRAMES_MAX && self.peer_hub.is_none() {
            return Err(SessionEnd::ProtocolViolation("too many lines are invalid"));
        }
        self.invalid_lines = self.invalid_lines.saturating_add(1);
        self.send(&Row::Error(id, sentence))
    }

    fn tick(&mut self) -> Result<(), SessionEnd> {
        if self.heartbeats.timed_out() {
            return Err(SessionEnd::HeartbeatTimeout);
        }
        let now = Instant::now();
        self.services.tick(now);
        for (id, meta) in self.peer_hub.as_mut().map(|peer_hub| peer_hub.take_due(now)).unwrap_or_default() {
            self.register(id, meta, Deferral::Elapsed)?;
        }
        if self.heartbeats.take_due() {
            self.invalid_lines = 0;
            self.send(&Row::Heartbeat)?;
        }
        Ok(())
    }
}
