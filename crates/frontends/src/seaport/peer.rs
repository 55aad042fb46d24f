//! One connection's life: what it is told, what it says, and how it ends.
//!
//! On connect each side says every service that it knows, then `synced`; after that a peer hears every change of every
//! dialect's registry once and in order. A peer that lost its place is told what differs from what it was told
//! ([`super::outbox`]), so that it never has to be cut off for our sake.
//!
//! Owns: that life, whichever side began it. Does not own: what comes of what it says ([`super::rows`]), nor the rules
//! between hubs ([`super::peer_hub`]).

use super::FRONTEND;
use super::echoes::Echoes;
use super::heartbeat::HeartbeatTimer;
use super::hub::Hub;
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

/// How long a peer waits for a daemon that has not read its store yet. Then it is better off at another hub.
const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection ends.
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
    /// In one word, for [`skyhound_net::metrics::Metrics::release`].
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

    /// Whether the other side may not know of it.
    pub(super) fn is_connection_loss(self) -> bool {
        matches!(self, Self::ConnectionLost | Self::HeartbeatTimeout | Self::SendTimeout)
    }
}

/// Serves a peer until it ends. `writes` is whether it may register and free.
pub(super) async fn serve(hub: Arc<Hub>, mut link: Link, peer: Peer, writes: bool) {
    let loaded = timeout(LOAD_TIMEOUT, hub.app.catalog.ready()).await.is_ok();
    if !loaded {
        link.send(&Row::Error(String::new(), "the registry's store was not read yet; come again".into()));
        return link.close().await;
    }
    let helo = Row::Helo(peer.addr.ip().to_canonical().to_string(), Some(hub.id.clone()));
    PeerSession::new(hub, link, peer.addr.ip(), Some(helo), writes).run(&peer).await;
}

/// Serves a connection to another hub until it ends.
pub(super) async fn serve_hub(
    hub: Arc<Hub>,
    link: Link,
    peer: Peer,
    first: Option<Row>,
    peer_hub: PeerHub,
) -> SessionEnd {
    PeerSession { peer_hub: Some(peer_hub), ..PeerSession::new(hub, link, peer.addr.ip(), first, true) }
        .run(&peer)
        .await
}

/// A connection with all that is known of it.
pub(super) struct PeerSession {
    pub(super) hub: Arc<Hub>,
    link: Link,
    pub(super) addr: IpAddr,
    writes: bool,
    pub(super) services: PeerServices,
    outbox: Outbox,
    pub(super) echoes: Echoes,
    heartbeats: HeartbeatTimer,
    /// The peer is a hub.
    pub(super) peer_hub: Option<PeerHub>,
    /// It has said all that it knew when it came.
    pub(super) synced: bool,
    /// Lines that meant nothing, since the last heartbeat.
    invalid_lines: u32,
}

impl PeerSession {
    fn new(hub: Arc<Hub>, link: Link, addr: IpAddr, first: Option<Row>, writes: bool) -> Self {
        Self {
            services: PeerServices::new(Arc::clone(&hub)),
            outbox: Outbox::new(&hub.app, first, Row::Synced),
            heartbeats: HeartbeatTimer::new(hub.heartbeat),
            hub,
            link,
            addr,
            writes,
            echoes: Echoes::default(),
            peer_hub: None,
            synced: false,
            invalid_lines: 0,
        }
    }

    async fn run(mut self, peer: &Peer) -> SessionEnd {
        let end = self.serve_until_end(&peer.permit).await;
        tracing::debug!(peer = %peer.addr, ?end, "seaport peer ended");
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
                // Rows before the clock: after a stall of this process what came in time is read before anybody is
                // found silent.
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

    /// Says what is new, as far as there is room; returns whether there is.
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
            PutDelivery::AsForeign if self.wants(source) => {
                self.send(&Row::Register(id, relay::with_order(meta, origin)))
            }
            PutDelivery::AsForeign | PutDelivery::Skip => Ok(()),
            // Not what the event says: that may be older.
            PutDelivery::AsOwn(now) => {
                let meta = meta::of(&id, &now).unwrap_or(meta);
                self.send(&Row::Register(id, meta))
            }
        }
    }

    /// Only hubs care, and who holds it.
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

    /// Whether it is to hear of what came from there.
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
            Ok(Row::Register(id, _) | Row::Free(id)) if !self.writes => {
                self.hub.app.metrics.registration(FRONTEND, "unauthorized");
                let sentence = "this hub has keys: without an authorized one you may read, and not register or free";
                self.send(&Row::Error(id, sentence.into()))
            }
            Ok(Row::Register(id, meta)) => self.register(id, meta, Deferral::Allowed),
            Ok(Row::Free(id)) => self.free(id),
            Ok(Row::Synced) => {
                self.synced = true;
                Ok(())
            }
            Ok(Row::Heartbeat) => {
                self.heartbeats.heartbeat_received();
                Ok(())
            }
            Ok(Row::Hub(_)) => {
                self.peer_hub.get_or_insert_with(PeerHub::ours);
                Ok(())
            }
            Ok(Row::Error(id, sentence)) => {
                tracing::debug!(peer = %self.addr, id, sentence, "a seaport peer takes a row for wrong");
                Ok(())
            }
            Ok(Row::Helo(..) | Row::Unknown) => Ok(()),
            Err((id, sentence)) => {
                self.hub.app.metrics.registration(FRONTEND, "invalid");
                // A hub passes on what it hears.
                if self.invalid_lines == BAD_FRAMES_MAX && self.peer_hub.is_none() {
                    return Err(SessionEnd::ProtocolViolation("too many lines that mean nothing here"));
                }
                self.invalid_lines = self.invalid_lines.saturating_add(1);
                self.send(&Row::Error(id, sentence))
            }
        }
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
