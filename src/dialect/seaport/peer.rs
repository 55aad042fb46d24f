//! One connection's life: what it is told, what it says, and how it ends.
//!
//! On connect each side says every service that it knows, then `synced`; after that a peer hears every change of every
//! dialect's registry once and in order. A peer that lost its place is told what differs from what it was told
//! ([`super::news`]), so that it never has to be cut off for our sake.

use super::DIALECT;
use super::echoes::Echoes;
use super::hub::Hub;
use super::link::{Heard, Link};
use super::meta::{self, Said};
use super::news::{New, News};
use super::pulse::Pulse;
use super::row::Row;
use super::services::{Services, Told};
use crate::catalog::Stored;
use crate::config::OnStop;
use crate::model::{Departure, Instance};
use crate::net::limits::BAD_FRAMES_MAX;
use crate::net::{Peer, Seat};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a peer waits for a daemon that has not read its store yet. Then it is better off at another hub.
const KNOW_WITHIN: Duration = Duration::from_secs(5);

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Gone,
    Silent,
    Stalled,
    Stopping,
    Broke(&'static str),
}

impl End {
    /// In one word, for [`crate::metrics::Metrics::release`].
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
}

/// Serves a peer until it ends. `writes` is whether it may register and free.
pub(super) async fn serve(hub: Arc<Hub>, mut link: Link, peer: Peer, writes: bool) {
    let known = timeout(KNOW_WITHIN, hub.app.catalog.ready()).await.is_ok();
    if !known {
        link.say(&Row::Error(String::new(), "the registry's store was not read yet; come again".into()));
        return link.close().await;
    }
    let mut talk = Talk::new(hub, link, peer.addr.ip(), writes);
    let end = talk.live(&peer.seat).await;
    tracing::debug!(peer = %peer.addr, ?end, "seaport peer ended");
    talk.finish(end).await;
}

/// A connection with all that is known of it.
struct Talk {
    hub: Arc<Hub>,
    link: Link,
    addr: IpAddr,
    writes: bool,
    services: Services,
    news: News,
    echoes: Echoes,
    pulse: Pulse,
    /// It has said all that it knew when it came.
    synced: bool,
    /// Lines that meant nothing, since the last heartbeat.
    bad: u32,
}

impl Talk {
    fn new(hub: Arc<Hub>, link: Link, addr: IpAddr, writes: bool) -> Self {
        let helo = Row::Helo(addr.to_canonical().to_string());
        Self {
            services: Services::new(Arc::clone(&hub)),
            news: News::new(&hub.app, helo, Row::Synced),
            pulse: Pulse::new(hub.heartbeat),
            hub,
            link,
            addr,
            writes,
            echoes: Echoes::default(),
            synced: false,
            bad: 0,
        }
    }

    async fn live(&mut self, seat: &Seat) -> End {
        let mut stopping = pin!(seat.stopping());
        loop {
            let room = match self.say_news() {
                Ok(room) => room,
                Err(end) => return end,
            };
            let due = self.services.due().map_or(self.pulse.due(), |due| due.min(self.pulse.due()));
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

    fn say(&mut self, row: &Row) -> Result<(), End> {
        if self.link.say(row) { Ok(()) } else { Err(End::Stalled) }
    }

    /// Says what is new, as far as there is room; returns whether there is.
    fn say_news(&mut self) -> Result<bool, End> {
        while self.link.has_room() {
            match self.news.pop() {
                Some(New::Row(row)) => self.say(&row)?,
                Some(New::Put(stored)) => self.say_put(&stored)?,
                Some(New::Gone(stored)) => self.say_gone(&stored)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn say_put(&mut self, stored: &Stored) -> Result<(), End> {
        let Some(id) = meta::id(stored, &self.hub.app.naming) else { return Ok(()) };
        let Some(said) = meta::tell(&id, stored) else { return Ok(()) };
        match self.services.put(&id) {
            Told::Nothing => Ok(()),
            Told::AsAnothers => self.say(&Row::Register(id, meta::relayed(said))),
            Told::AsItsOwn => self.say(&Row::Register(id, said)),
        }
    }

    fn say_gone(&mut self, stored: &Stored) -> Result<(), End> {
        let Some(id) = meta::id(stored, &self.hub.app.naming) else { return Ok(()) };
        if stored.entry.host.is_none() || !self.services.gone(&id) {
            return Ok(());
        }
        self.say_free(id)
    }

    fn say_free(&mut self, id: String) -> Result<(), End> {
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
            Ok(Row::Register(id, said)) => self.register(id, said),
            Ok(Row::Free(id)) => self.free(id),
            Ok(Row::Synced) => {
                self.synced = true;
                Ok(())
            }
            Ok(Row::Heartbeat) => {
                self.pulse.beats();
                Ok(())
            }
            Ok(Row::Helo(_) | Row::Error(..) | Row::Unknown) => Ok(()),
            Err((id, sentence)) => {
                self.hub.app.metrics.registration(DIALECT, "invalid");
                if self.bad == BAD_FRAMES_MAX {
                    return Err(End::Broke("too many lines that mean nothing here"));
                }
                self.bad += 1;
                self.say(&Row::Error(id, sentence))
            }
        }
    }

    fn register(&mut self, id: String, said: Said) -> Result<(), End> {
        if self.services.holds(&id) {
            return match meta::accept(&id, said, &self.hub.app.naming, self.addr) {
                Ok(instance) => self.want(&id, instance, false),
                Err(invalid) => self.refuse(id, invalid.to_string()),
            };
        }
        if self.is_a_name(&id) {
            // It was told of what came in through another dialect, and says it again.
            return if self.stands(&id) { Ok(()) } else { self.say_free(id) };
        }
        let relayed = meta::is_relayed(&said);
        let app = Arc::clone(&self.hub.app);
        let instance = match meta::accept(&id, said, &app.naming, self.addr) {
            Ok(_) if self.services.are_full() => return self.refuse(id, FULL.into()),
            Ok(instance) => instance,
            Err(invalid) => return self.refuse(id, invalid.to_string()),
        };
        let snapshot = app.catalog.snapshot();
        let there = snapshot.entry(&instance.key).filter(|stored| meta::registered_id(stored) == Some(id.as_str()));
        if !relayed {
            // Its own; or what it says of another's, once it has said what it knew when it came.
            let guest = self.synced && there.is_some_and(|known| known.entry != instance.entry);
            return self.want(&id, instance, guest);
        }
        match there.cloned().or_else(|| meta::find(&snapshot, &app.naming, &id)) {
            // It has missed the end of that.
            None => self.say_free(id),
            // Old news, or none.
            Some(known) if !self.synced || known.entry == instance.entry => Ok(()),
            Some(_) => self.want(&id, instance, true),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several ways that a row can go")]
    fn want(&mut self, id: &str, instance: Instance, guest: bool) -> Result<(), End> {
        self.services.register(id, instance, guest);
        Ok(())
    }

    /// Whether an id that is a name stands for something.
    fn stands(&self, id: &str) -> bool {
        id.parse().is_ok_and(|name| meta::stands(&name, &self.hub.app.catalog.snapshot()))
    }

    fn is_a_name(&self, id: &str) -> bool {
        meta::is_a_name(id, &self.hub.app.catalog.snapshot(), &self.hub.app.naming)
    }

    fn refuse(&mut self, id: String, sentence: String) -> Result<(), End> {
        self.hub.app.metrics.registration(DIALECT, "invalid");
        self.say(&Row::Error(id, sentence))
    }

    fn free(&mut self, id: String) -> Result<(), End> {
        if self.services.free(&id) {
            if self.hub.holders(&id) > 1 {
                self.hub.free(&id, None);
            }
            return Ok(());
        }
        let app = Arc::clone(&self.hub.app);
        if self.is_a_name(&id) {
            let stands = self.stands(&id);
            let echo = self.echoes.is_one(&id, stands);
            return if stands && !echo { self.refuse(id, NOT_A_PEERS.into()) } else { Ok(()) };
        }
        let stored = meta::find(&app.catalog.snapshot(), &app.naming, &id);
        if self.echoes.is_one(&id, stored.is_some()) {
            return Ok(());
        }
        if stored.is_some() {
            self.services.freed_by_peer(&id);
        }
        self.hub.free(&id, stored);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), End> {
        if self.pulse.is_silent() {
            return Err(End::Silent);
        }
        self.services.tick(Instant::now());
        if self.pulse.is_to_beat() {
            self.bad = 0;
            self.say(&Row::Heartbeat)?;
        }
        Ok(())
    }
}

const FULL: &str = "you have registered 8192 services, and that is the most over one connection";
const _: () = assert!(super::services::SERVICES_MAX == 8192, "the sentence says so");
const NOT_A_PEERS: &str = "that instance came in through another protocol, and lives as long as its own peer does";
