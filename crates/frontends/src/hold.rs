//! The life of one websocket, from its 101 to its close, for every dialect that holds some.
//!
//! Owns: pings and the verdict on silence, the verdict on a peer that does not read, and that whatever ends the
//! socket ends the claim that hangs on it in the right way. What a text means and what there is to say is the
//! dialect's ([`Talk`]). 10,000 to 100,000 of these tasks are held at a time, so that they are kept small (what is
//! rare is boxed) and quiet: one wake-up each half of the timeout, spread over that time, from tokio's timer wheel.

use crate::app::App;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use skyhound_core::registry::Claim;
use skyhound_core::registry::OnStop;
use skyhound_model::departure::Departure;
use skyhound_net::Seat;
use skyhound_net::limits::{BAD_FRAMES_MAX, SEND_PATIENCE};
use skyhound_net::websocket::{CloseCode, Heard, Socket, Upgrade, Utf8Bytes};
use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a peer that closed waits for our answer to its close while its entry is being removed. With it
/// the answer says, nearly always, that the entry is gone.
const GONE_WAIT: Duration = Duration::from_secs(1);
/// How much is said after each message of a peer's before the next one is read: who talks without a pause hears what
/// others say meanwhile, and what he said himself.
const NEWS_PER_MESSAGE: u8 = 32;

/// What a dialect makes of a held socket.
pub trait Talk: Send + 'static {
    /// The name that counters say the dialect by.
    const DIALECT: &'static str;

    /// Does what a text says. `Ok` is what is answered, if anything; `Err` is answered as well, and counts as a
    /// frame that means nothing here.
    fn told(&mut self, text: Utf8Bytes) -> impl Future<Output = Result<Option<Bytes>, Bytes>> + Send;

    /// The same for a message that need not be text; `None` where those mean nothing.
    fn told_bytes(&mut self, _: Bytes) -> impl Future<Output = Option<Result<Option<Bytes>, Bytes>>> + Send {
        std::future::ready(None)
    }

    /// What there is to say unasked. Safe to cancel.
    fn news(&mut self) -> impl Future<Output = News> + Send {
        std::future::pending()
    }

    /// The claim that lives as long as the socket does, if there is one.
    fn claim(self) -> Option<Claim>;
}

/// See [`Talk::news`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Something to say, in UTF-8.
    Text(Bytes),
    /// There was more to say than could be kept for this peer.
    Behind,
}

/// Why a socket ends.
#[derive(Debug)]
enum End {
    /// The peer closed it in order.
    Closed,
    /// The connection is gone.
    Gone,
    /// No frame came from ping to ping.
    Silent,
    /// The daemon stops.
    Stopping,
    /// The peer did what it may not.
    Broke(CloseCode, Cow<'static, str>),
    /// It took nothing of what it was sent.
    Stalled,
    /// It takes less than there is to say.
    Behind,
}

impl End {
    /// In one word, for [`skyhound_net::metrics::Metrics::release`].
    fn word(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Gone => "gone",
            Self::Silent => "pong missed",
            Self::Stopping => "stopped",
            Self::Broke(..) => "refused",
            Self::Stalled => "stalled",
            Self::Behind => "behind",
        }
    }
}

/// Holds a socket, and the claim that the talk has, until either ends. The talk is boxed because a future keeps
/// room for its arguments twice.
pub async fn hold<T: Talk>(app: Arc<App>, mut talk: Box<T>, upgrade: Upgrade, seat: Arc<Seat>) {
    let Some(mut socket) = Box::pin(upgrade.socket(app.limits.frame_bytes)).await else {
        // The client left while its 101 was on the way. Dropping the claim would do the same unseen.
        return give_up::<T>(&app, talk.claim()).await;
    };
    let _held = app.metrics.websocket();
    let end = live(&app, &mut *talk, &mut socket, &seat).await;
    over(&app, *talk, socket, end).await;
    drop(seat);
}

/// What becomes of all that the socket held.
fn over<T: Talk>(app: &App, talk: T, socket: Socket, end: End) -> BoxFuture<'_, ()> {
    let claim = talk.claim();
    let name = claim.as_ref().map(|claim| claim.instance().name.to_string());
    tracing::debug!(dialect = T::DIALECT, name, ?end, "socket ended");
    match end {
        End::Stalled | End::Behind => app.metrics.cut_off(T::DIALECT, end.word()),
        End::Broke(code, _) => app.metrics.websocket_error(code.into()),
        _ => {}
    }
    if claim.is_some() {
        app.metrics.release(T::DIALECT, end.word());
    }
    finish(app, claim, socket, end)
}

fn give_up<T: Talk>(app: &App, claim: Option<Claim>) -> BoxFuture<'static, ()> {
    if claim.is_some() {
        app.metrics.release(T::DIALECT, "gone");
    }
    Box::pin(release(claim, Departure::Left))
}

/// Listens, talks and pings until there is a reason to end.
async fn live<T: Talk>(app: &App, talk: &mut T, socket: &mut Socket, seat: &Seat) -> End {
    let half = app.timeout / 2;
    // The first one at a random point, and so all that follow: 10,000 peers that came back together are not
    // pinged together.
    let mut ping_at = Instant::now() + half.mul_f64(fastrand::f64());
    let mut due = pin!(sleep(ping_at - Instant::now()));
    let mut stopping = pin!(seat.stopping());
    let (mut waiting, mut bad, mut ours) = (false, 0, 0);
    let patience = SEND_PATIENCE.min(half);
    loop {
        if ours > 0 && socket.stalled().is_none() {
            ours -= 1;
            match talk.news().now_or_never() {
                Some(News::Behind) => return End::Behind,
                Some(News::Text(text)) => {
                    if !socket.say(text) {
                        due.as_mut().reset(Instant::now() + patience);
                    }
                    continue;
                }
                None => ours = 0,
            }
        }
        let say = tokio::select! {
            // Frames before the clock: after a stall of this process (or its machine) the pongs that came in
            // time are read before anybody is found silent.
            biased;
            () = &mut stopping => return End::Stopping,
            heard = socket.hear() => match heard {
                Heard::Alive => {
                    waiting = false;
                    continue;
                }
                message @ (Heard::Text(_) | Heard::Bytes(_)) => {
                    (waiting, ours) = (false, NEWS_PER_MESSAGE);
                    match Box::pin(tell(talk, message, &mut bad)).await {
                        Ok(Some(answer)) => answer,
                        Ok(None) => continue,
                        Err(end) => return end,
                    }
                }
                Heard::Taken => {
                    due.as_mut().reset(ping_at);
                    continue;
                }
                Heard::Closed => return End::Closed,
                Heard::Gone => return End::Gone,
                Heard::Broke(code, sentence) => return End::Broke(code, sentence),
            },
            () = due.as_mut() => {
                match socket.stalled() {
                    Some(time) if time >= patience => return End::Stalled,
                    // Nothing is read meanwhile, so that no pong is missed.
                    Some(time) => due.as_mut().reset(Instant::now() + patience.saturating_sub(time)),
                    None if waiting => return End::Silent,
                    None => {
                        (waiting, bad) = (true, 0);
                        socket.ping();
                        ping_at = Instant::now() + half;
                        due.as_mut().reset(ping_at);
                    }
                }
                continue;
            }
            news = talk.news(), if socket.stalled().is_none() => match news {
                News::Text(text) => text,
                News::Behind => return End::Behind,
            },
        };
        if !socket.say(say) {
            due.as_mut().reset(Instant::now() + patience);
        }
    }
}

/// Passes a message on. Says what is answered, and counts those that mean nothing.
async fn tell<T: Talk>(talk: &mut T, message: Heard, bad: &mut u32) -> Result<Option<Bytes>, End> {
    let told = match message {
        Heard::Text(text) => Some(talk.told(text).await),
        Heard::Bytes(bytes) => talk.told_bytes(bytes).await,
        _ => return Ok(None),
    };
    match told {
        None => {
            let sentence = "binary frames mean nothing here; send JSON as text";
            Err(End::Broke(CloseCode::Unsupported, sentence.into()))
        }
        Some(Err(_)) if *bad == BAD_FRAMES_MAX => {
            Err(End::Broke(CloseCode::Policy, "too many frames that mean nothing here".into()))
        }
        Some(Err(sentence)) => {
            *bad += 1;
            Ok(Some(sentence))
        }
        Some(Ok(answer)) => Ok(answer),
    }
}

/// Ends the claim and the socket. The claim is given up first, whatever the socket still takes.
///
/// Each way of ending is boxed by itself, with no more than it needs: when a machine dies, thousands of sockets
/// are gone at one moment, and what they take then is what the daemon keeps.
fn finish(app: &App, claim: Option<Claim>, socket: Socket, end: End) -> BoxFuture<'_, ()> {
    match end {
        End::Gone => {
            drop(socket);
            Box::pin(release(claim, Departure::Left))
        }
        End::Closed => Box::pin(async {
            // Past the wait the registry goes on with it alone.
            let _ = timeout(GONE_WAIT, release(claim, Departure::Left)).await;
            socket.close(None).await;
        }),
        End::Silent => Box::pin(async {
            let sentence = format!("no pong within {:?}", app.timeout / 2);
            let _ = tokio::join!(release(claim, Departure::Expired), socket.close(Some((CloseCode::Error, &sentence))));
        }),
        End::Broke(code, sentence) => Box::pin(async move {
            let _ = tokio::join!(release(claim, Departure::Left), socket.close(Some((code, &sentence))));
        }),
        End::Stalled => Box::pin(async {
            let sentence = "what this socket is sent is not read; read faster, and ask anew for what is known";
            let _ = tokio::join!(release(claim, Departure::Expired), socket.close(Some((CloseCode::Again, sentence))));
        }),
        End::Behind => Box::pin(async {
            let sentence =
                "too much has happened since what was read last; connect again, and ask anew for what is known";
            let _ = tokio::join!(release(claim, Departure::Expired), socket.close(Some((CloseCode::Again, sentence))));
        }),
        End::Stopping => Box::pin(async {
            let close = socket.close(Some((CloseCode::Away, "going away: this daemon is stopping")));
            match (app.on_stop, claim) {
                (OnStop::Keep, Some(claim)) => {
                    claim.leave();
                    close.await;
                }
                (_, claim) => drop(tokio::join!(release(claim, Departure::Left), close)),
            }
        }),
    }
}

async fn release(claim: Option<Claim>, why: Departure) {
    if let Some(claim) = claim {
        // Nobody is left to hear that it failed; the registry goes on with it.
        drop(claim.release(why).await);
    }
}
