//! The life of one socket, from its 101 to its close: the claim lives exactly as long.
//!
//! Owns: pings and the verdict on silence, what a frame leads to, and that whatever ends the socket ends the
//! claim in the right way. 10,000 to 100,000 of these tasks are held at a time, so that they are kept small
//! (what is rare is boxed) and quiet: one wake-up each half of the timeout, spread over that time, from
//! tokio's timer wheel.

use super::DIALECT;
use super::op::Op;
use crate::app::App;
use crate::config::OnStop;
use crate::model::departure::Departure;
use crate::net::Seat;
use crate::net::limits::BAD_FRAMES_MAX;
use crate::net::websocket::{CloseCode, Heard, Socket, Upgrade};
use crate::registry::{Claim, RegisterError};
use futures_util::future::BoxFuture;
use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a peer that closed waits for our answer to its close while its entry is being removed. With it
/// the answer says, nearly always, that the entry is gone.
const GONE_WAIT: Duration = Duration::from_secs(1);

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
}

impl End {
    /// In one word, for [`crate::metrics::Metrics::release`].
    fn word(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Gone => "gone",
            Self::Silent => "pong missed",
            Self::Stopping => "stopped",
            Self::Broke(..) => "refused",
        }
    }
}

/// Holds a claim for as long as its socket lives.
pub(super) async fn hold(app: Arc<App>, mut claim: Claim, upgrade: Upgrade, seat: Arc<Seat>) {
    let Some(mut socket) = Box::pin(upgrade.socket(app.limits.frame_bytes)).await else {
        app.metrics.release(DIALECT, "gone");
        // The client left while its 101 was on the way. Dropping the claim would do the same unseen.
        return drop(Box::pin(claim.release(Departure::Left)).await);
    };
    let _held = app.metrics.websocket();
    let end = live(&app, &mut claim, &mut socket, &seat).await;
    tracing::debug!(name = %claim.instance().name, ?end, "socket ended");
    app.metrics.release(DIALECT, end.word());
    finish(&app, claim, socket, end).await;
    drop(seat);
}

/// Listens and pings until there is a reason to end.
async fn live(app: &App, claim: &mut Claim, socket: &mut Socket, seat: &Seat) -> End {
    let half = app.timeout / 2;
    // The first one at a random point, and so all that follow: 10,000 peers that came back together are not
    // pinged together.
    let mut due = pin!(sleep(half.mul_f64(fastrand::f64())));
    let mut stopping = pin!(seat.stopping());
    let (mut waiting, mut bad) = (false, 0);
    loop {
        tokio::select! {
            // Frames before the clock: after a stall of this process (or its machine) the pongs that came in
            // time are read before anybody is found silent.
            biased;
            () = &mut stopping => return End::Stopping,
            heard = socket.hear() => {
                waiting = false;
                match heard {
                    Heard::Alive => {}
                    Heard::Text(text) => match Box::pin(told(claim, &text)).await {
                        Ok(()) => {}
                        Err(_) if bad == BAD_FRAMES_MAX => {
                            return End::Broke(CloseCode::Policy, "too many frames that mean nothing here".into());
                        }
                        Err(sentence) => {
                            bad += 1;
                            socket.say(format!("ERROR: {sentence}"));
                        }
                    },
                    Heard::Closed => return End::Closed,
                    Heard::Gone => return End::Gone,
                    Heard::Broke(code, sentence) => return End::Broke(code, sentence),
                }
            }
            () = due.as_mut() => {
                if waiting {
                    return End::Silent;
                }
                (waiting, bad) = (true, 0);
                socket.ping();
                due.as_mut().reset(Instant::now() + half);
            }
        }
    }
}

/// Does what a text frame says. While the store is slow the socket is not read: its peer waits, and a close
/// behind the update could not be acted on sooner anyway, as it needs the same store.
async fn told(claim: &mut Claim, text: &str) -> Result<(), String> {
    let entry = Op::read(text)?.apply(&claim.instance().entry);
    if entry == claim.instance().entry {
        return Ok(());
    }
    claim.update(entry).await.map_err(|error| match error {
        RegisterError::Unavailable(_) | RegisterError::Stopping | RegisterError::Rejected(_) => {
            format!("nothing was changed: {error}")
        }
    })
}

/// Ends the claim and the socket. The claim is given up first, whatever the socket still takes.
///
/// Each way of ending is boxed by itself, with no more than it needs: when a machine dies, thousands of sockets
/// are gone at one moment, and what they take then is what the daemon keeps.
fn finish(app: &App, claim: Claim, socket: Socket, end: End) -> BoxFuture<'_, ()> {
    match end {
        End::Gone => {
            drop(socket);
            Box::pin(async { drop(claim.release(Departure::Left).await) })
        }
        End::Closed => Box::pin(async {
            // Past the wait the registry goes on with it alone.
            let _ = timeout(GONE_WAIT, claim.release(Departure::Left)).await;
            socket.close(None).await;
        }),
        End::Silent => Box::pin(async {
            let sentence = format!("no pong within {:?}", app.timeout / 2);
            let _ = tokio::join!(claim.release(Departure::Expired), socket.close(Some((CloseCode::Error, &sentence))));
        }),
        End::Broke(code, sentence) => Box::pin(async move {
            app.metrics.websocket_error(code.into());
            let _ = tokio::join!(claim.release(Departure::Left), socket.close(Some((code, &sentence))));
        }),
        End::Stopping => Box::pin(async {
            let close = socket.close(Some((CloseCode::Away, "going away: this daemon is stopping")));
            match app.on_stop {
                OnStop::Keep => {
                    claim.leave();
                    close.await;
                }
                OnStop::Remove => drop(tokio::join!(claim.release(Departure::Left), close)),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are 100,000 of them.
    #[test]
    fn a_held_socket_is_a_small_task() {
        fn size_of_future<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(hold);
        assert!(size <= 1024, "{size} bytes");
    }
}
