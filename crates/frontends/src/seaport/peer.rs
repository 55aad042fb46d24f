//! One connection's life: what it is told, what it says, and how it ends.
//!
//! On connect each side says every service that it knows, then `synced`; after that a peer hears every change of every
//! dialect's registry once and in order. A peer that lost its place is told what differs from what it was told
//! ([`super::news`]), so that it never has to be cut off for our sake.
//!
//! Owns: that life, whichever side began it. Does not own: what comes of what it says ([`super::rows`]), nor the rules
//! between hubs ([`super::other`]).

use super::DIALECT;
use super::echoes::Echoes;
use super::hub::Hub;
use super::link::{Heard, Link};
use super::meta;
use super::news::{New, News};
use super::other::Other;
use super::pulse::Pulse;
use super::relay::{self, Hand};
use super::row::Row;
use super::rows::Wait;
use super::services::{Services, Told};
use skyhound_core::catalog::Stored;
use skyhound_core::registry::OnStop;
use skyhound_model::Departure;
use skyhound_net::limits::BAD_FRAMES_MAX;
use skyhound_net::{Peer, Seat};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a peer waits for a daemon that has not read its store yet. Then it is better off at another hub.
const KNOW_WITHIN: Duration = Duration::from_secs(5);

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Gone,
    Silent,
    Stalled,
    Stopping,
    Broke(&'static str),
}

impl End {
    /// In one word, for [`skyhound_net::metrics::Metrics::release`].
    fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
            Self::Stopping => "stopped",
            Self::Broke(_) => "refused",
        }
    }

    /// Whether the other side may not know of it.
    pub(super) fn is_a_loss(self) -> bool {
        matches!(self, Self::Gone | Self::Silent | Self::Stalled)
    }
}

/// Serves a peer until it ends. `writes` is whether it may register and free.
pub(super) async fn serve(hub: Arc<Hub>, mut link: Link, peer: Peer, writes: bool) {
    let known = timeout(KNOW_WITHIN, hub.app.catalog.ready()).await.is_ok();
    if !known {
        link.say(&Row::Error(String::new(), "the registry's store was not read yet; come again".into()));
        return link.close().await;
    }
    let helo = Row::Helo(peer.addr.ip().to_canonical().to_string(), Some(hub.id.clone()));
    Talk::new(hub, link, peer.addr.ip(), Some(helo), writes).run(&peer).await;
}

/// Serves a connection to another hub until it ends.
pub(super) async fn serve_hub(hub: Arc<Hub>, link: Link, peer: Peer, first: Option<Row>, other: Other) -> End {
    Talk { other: Some(other), ..Talk::new(hub, link, peer.addr.ip(), first, true) }.run(&peer).await
}

/// A connection with all that is known of it.
pub(super) struct Talk {
    pub(super) hub: Arc<Hub>,
    link: Link,
    pub(super) addr: IpAddr,
    writes: bool,
    pub(super) services: Services,
    news: News,
    pub(super) echoes: Echoes,
    pulse: Pulse,
    /// The peer is a hub.
    pub(super) other: Option<Other>,
    /// It has said all that it knew when it came.
    pub(super) synced: bool,
    /// Lines that meant nothing, since the last heartbeat.
    bad: u32,
}

impl Talk {
    fn new(hub: Arc<Hub>, link: Link, addr: IpAddr, first: Option<Row>, writes: bool) -> Self {
        Self {
            services: Services::new(Arc::clone(&hub)),
            news: News::new(&hub.app, first, Row::Synced),
            pulse: Pulse::new(hub.heartbeat),
            hub,
            link,
            addr,
            writes,
            echoes: Echoes::default(),
            other: None,
            synced: false,
            bad: 0,
        }
    }

    async fn run(mut self, peer: &Peer) -> End {
        let end = self.live(&peer.seat).await;
        tracing::debug!(peer = %peer.addr, ?end, "seaport peer ended");
        self.finish(end).await;
        end
    }

    async fn live(&mut self, seat: &Seat) -> End {
        let mut stopping = pin!(seat.stopping());
        loop {
            let room = match self.say_news() {
                Ok(room) => room,
                Err(end) => return end,
            };
            let due = [self.services.due(), self.other.as_ref().and_then(Other::due)].into_iter().flatten();
            let due = due.fold(self.pulse.due(), Instant::min);
            let (freed, read) = (self.services.freed(), !self.services.are_busy());
            let step = tokio::select! {
                // Rows before the clock: after a stall of this process what came in time is read before anybody is
                // found silent.
                biased;
                () = &mut stopping => return End::Stopping,
                done = self.services.done() => match self.services.settled(done) {
                    Some((id, sentence)) => self.say(&Row::Error(id, sentence)),
                    None => Ok(()),
                },
                heard = self.link.hear(), if read => self.hear(heard),
                () = self.news.come(), if room => Ok(()),
                () = freed => self.give_up_freed(),
                () = sleep_until(due) => self.tick(),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn finish(mut self, end: End) {
        if let End::Broke(sentence) = end {
            self.link.say(&Row::Error(String::new(), sentence.into()));
        }
        let Self { hub, link, services, news, .. } = self;
        drop(news);
        let why = if end == End::Silent { Departure::Expired } else { Departure::Left };
        let released = async {
            let count = match (end, hub.app.on_stop) {
                (End::Stopping, OnStop::Keep) => services.leave().await,
                _ => services.end(why).await,
            };
            for _ in 0..count {
                hub.app.metrics.release(DIALECT, end.word());
            }
        };
        match end {
            End::Gone | End::Stalled => {
                drop(link);
                released.await;
            }
            _ => drop(tokio::join!(released, link.close())),
        }
    }

    pub(super) fn say(&mut self, row: &Row) -> Result<(), End> {
        if self.link.say(row) { Ok(()) } else { Err(End::Stalled) }
    }

    /// Says what is new, as far as there is room; returns whether there is.
    fn say_news(&mut self) -> Result<bool, End> {
        while self.link.has_room() {
            match self.news.pop() {
                Some(New::Row(row)) => self.say(&row)?,
                Some(New::Put(stored)) => self.say_put(&stored)?,
                Some(New::Noted(stored)) => self.say_noted(&stored)?,
                Some(New::Gone(stored)) => self.say_gone(&stored)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    pub(super) fn say_put(&mut self, stored: &Stored) -> Result<(), End> {
        let Some(id) = meta::id(stored, &self.hub.app.naming) else { return Ok(()) };
        let Some(said) = meta::tell(&id, stored) else { return Ok(()) };
        let from = meta::from(&stored.entry);
        let hand = if from.is_some() { Hand::Second } else { Hand::First };
        match self.services.put(&id) {
            Told::AsAnothers if self.hears(from) => self.say(&Row::Register(id, relay::tell(said, hand))),
            Told::AsAnothers | Told::Nothing => Ok(()),
            // Not what the event says: that may be older.
            Told::AsItsOwn(now) => {
                let said = meta::tell(&id, &now).unwrap_or(said);
                self.say(&Row::Register(id, said))
            }
        }
    }

    /// Only hubs care, and who holds it.
    fn say_noted(&mut self, stored: &Stored) -> Result<(), End> {
        if self.other.is_some() {
            return self.say_put(stored);
        }
        if let Some(id) = meta::id(stored, &self.hub.app.naming) {
            self.services.put(&id);
        }
        Ok(())
    }

    fn say_gone(&mut self, stored: &Stored) -> Result<(), End> {
        let Some(id) = meta::id(stored, &self.hub.app.naming) else { return Ok(()) };
        if stored.entry.host.is_none() || !self.services.gone(&id) || !self.hears(meta::from(&stored.entry)) {
            return Ok(());
        }
        self.say_free(id)
    }

    /// Whether it is to hear of what came from there.
    fn hears(&self, from: Option<&str>) -> bool {
        self.other.as_ref().is_none_or(|other| other.hears(from))
    }

    pub(super) fn say_free(&mut self, id: String) -> Result<(), End> {
        self.echoes.told(&id);
        self.say(&Row::Free(id))
    }

    fn give_up_freed(&mut self) -> Result<(), End> {
        for id in self.services.give_up_freed() {
            self.say_free(id)?;
        }
        Ok(())
    }

    fn hear(&mut self, heard: Heard) -> Result<(), End> {
        let row = match heard {
            Heard::Row(row) => row,
            Heard::Room => return Ok(()),
            Heard::Closed => return Err(End::Closed),
            Heard::Gone => return Err(End::Gone),
            Heard::Stalled => return Err(End::Stalled),
            Heard::Broke(sentence) => return Err(End::Broke(sentence)),
        };
        self.pulse.heard();
        match row {
            Ok(Row::Register(id, _) | Row::Free(id)) if !self.writes => {
                self.hub.app.metrics.registration(DIALECT, "unauthorized");
                let sentence = "this hub has keys: without an authorized one you may read, and not register or free";
                self.say(&Row::Error(id, sentence.into()))
            }
            Ok(Row::Register(id, said)) => self.register(id, said, Wait::Begins),
            Ok(Row::Free(id)) => self.free(id),
            Ok(Row::Synced) => {
                self.synced = true;
                Ok(())
            }
            Ok(Row::Heartbeat) => {
                self.pulse.beats();
                Ok(())
            }
            Ok(Row::Hub(_)) => {
                self.other.get_or_insert_with(Other::ours);
                Ok(())
            }
            Ok(Row::Error(id, sentence)) => {
                tracing::debug!(peer = %self.addr, id, sentence, "a seaport peer takes a row for wrong");
                Ok(())
            }
            Ok(Row::Helo(..) | Row::Unknown) => Ok(()),
            Err((id, sentence)) => {
                self.hub.app.metrics.registration(DIALECT, "invalid");
                // A hub passes on what it hears.
                if self.bad == BAD_FRAMES_MAX && self.other.is_none() {
                    return Err(End::Broke("too many lines that mean nothing here"));
                }
                self.bad = self.bad.saturating_add(1);
                self.say(&Row::Error(id, sentence))
            }
        }
    }

    fn tick(&mut self) -> Result<(), End> {
        if self.pulse.is_silent() {
            return Err(End::Silent);
        }
        let now = Instant::now();
        self.services.tick(now);
        for (id, said) in self.other.as_mut().map(|other| other.ripe(now)).unwrap_or_default() {
            self.register(id, said, Wait::IsOver)?;
        }
        if self.pulse.is_to_beat() {
            self.bad = 0;
            self.say(&Row::Heartbeat)?;
        }
        Ok(())
    }
}
