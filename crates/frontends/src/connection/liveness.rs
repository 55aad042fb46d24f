//! Liveness and fairness of one websocket, without the websocket: events and the time go in, [`Action`]s come out.
//!
//! Owns: the ping schedule, the ping timeout, the send timeout of a slow consumer, the limit of bad messages, and the
//! turns between messages from the peer and messages to it. Does not own: the socket, its timer and the handler
//! (`super::run`), nor the consequences of an end ([`super::close`]).
//!
//! | event | precondition | effect | action |
//! |---|---|---|---|
//! | [`on_stop`](Liveness::on_stop) | | | close: shutdown |
//! | [`on_frame`](Liveness::on_frame), ping or pong | | the peer is alive | wait |
//! | [`on_message`](Liveness::on_message) | | the peer is alive; the outgoing turns are renewed | (the handler's) |
//! | [`on_bad_message`](Liveness::on_bad_message) | fewer than the limit since the last ping | counted | (its reply is sent) |
//! | | the limit is reached | | close: protocol violation |
//! | [`on_send`](Liveness::on_send) | the peer took all | | wait |
//! | | the peer did not take all | | wake after the send timeout |
//! | [`on_text_sent`](Liveness::on_text_sent) | | | wake at the next ping |
//! | [`on_tick`](Liveness::on_tick) | blocked for the send timeout | | close: send timeout |
//! | | blocked for less | | wake when the send timeout ends |
//! | | a pong is awaited | | close: ping timeout |
//! | | otherwise | a pong is awaited; bad messages are forgotten | ping, and wake at the next ping |
//!
//! While a text is blocked, nothing is read from the socket, so that a pong that cannot be read is not missed either:
//! the blocked rows of `on_tick` precede the awaited pong.

use super::close::CloseCause;
use skyhound_net::limits::{BAD_FRAMES_MAX, SEND_TIMEOUT};
use skyhound_net::websocket::CloseCode;
use std::time::Duration;
use tokio::time::Instant;

/// Limit of the messages that are sent after each message of the peer before the next one is read: a peer that sends
/// without a pause still receives the messages of others, and its own.
pub(super) const OUTGOING_PER_MESSAGE: u8 = 32;

/// The next step of the connection handler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Wait for the next event; the timer stays as it is.
    Wait,
    /// Set the timer to this time.
    WakeAt(Instant),
    /// Send a ping, and set the timer to this time.
    Ping(Instant),
    /// End the connection.
    Close(CloseCause),
}

/// The state of one connection's liveness. It is part of every held socket's future.
#[derive(Debug)]
pub(super) struct Liveness {
    ping_interval: Duration,
    ping_at: Instant,
    /// A ping was sent, and no frame came since.
    awaiting_pong: bool,
    /// Messages without a meaning since the last ping.
    bad_messages: u8,
    /// Outgoing messages that precede the next read.
    outgoing_turns: u8,
}

impl Liveness {
    /// Liveness of a connection that starts now. A dead peer is noticed within `timeout`: there are two pings in that
    /// time, and the second one meets the missing pong of the first.
    ///
    /// `phase`, from 0 to 1, is the part of an interval before the first ping, and so of all that follow: 10,000 peers
    /// that reconnect together are not pinged together.
    pub(super) fn new(now: Instant, timeout: Duration, phase: f64) -> Self {
        let ping_interval = timeout / 2;
        let ping_at = now + ping_interval.mul_f64(phase);
        Self { ping_interval, ping_at, awaiting_pong: false, bad_messages: 0, outgoing_turns: 0 }
    }

    /// The time of the next ping.
    pub(super) fn ping_at(&self) -> Instant {
        self.ping_at
    }

    /// The time that a peer has to take some of a text.
    fn send_timeout(&self) -> Duration {
        SEND_TIMEOUT.min(self.ping_interval)
    }

    /// The daemon stops.
    #[expect(clippy::unused_self, reason = "the stop ends a connection in every state")]
    pub(super) fn on_stop(&self) -> Action {
        Action::Close(CloseCause::Shutdown)
    }

    /// A ping or a pong came. Any frame is a sign of life.
    pub(super) fn on_frame(&mut self) -> Action {
        self.awaiting_pong = false;
        Action::Wait
    }

    /// A message came, which the handler gets now.
    pub(super) fn on_message(&mut self) {
        self.awaiting_pong = false;
        self.outgoing_turns = OUTGOING_PER_MESSAGE;
    }

    /// The handler rejected a message. `Ok` when its reply is to be sent.
    pub(super) fn on_bad_message(&mut self) -> Result<(), CloseCause> {
        if u32::from(self.bad_messages) >= BAD_FRAMES_MAX {
            return Err(CloseCause::ProtocolViolation(CloseCode::Policy, "too many invalid messages".into()));
        }
        self.bad_messages += 1;
        Ok(())
    }

    /// A text was given to the socket; `complete` when the peer took all of it at once.
    pub(super) fn on_send(&self, now: Instant, complete: bool) -> Action {
        if complete { Action::Wait } else { Action::WakeAt(now + self.send_timeout()) }
    }

    /// The peer took the rest of a blocked text.
    pub(super) fn on_text_sent(&self) -> Action {
        Action::WakeAt(self.ping_at)
    }

    /// The timer fired. `blocked_for` is the time for which the peer took nothing of a text, if one is not sent.
    pub(super) fn on_tick(&mut self, now: Instant, blocked_for: Option<Duration>) -> Action {
        match blocked_for {
            Some(blocked) if blocked >= self.send_timeout() => Action::Close(CloseCause::SendTimeout),
            Some(blocked) => Action::WakeAt(now + self.send_timeout().saturating_sub(blocked)),
            None if self.awaiting_pong => Action::Close(CloseCause::PingTimeout),
            None => {
                self.awaiting_pong = true;
                self.bad_messages = 0;
                self.ping_at = now + self.ping_interval;
                Action::Ping(self.ping_at)
            }
        }
    }

    /// Takes one of the outgoing turns that precede the next read; false when the socket is to be read. While a text
    /// is blocked there is no turn, and none is lost.
    pub(super) fn take_outgoing_turn(&mut self, blocked_for: Option<Duration>) -> bool {
        let turn = self.outgoing_turns > 0 && blocked_for.is_none();
        self.outgoing_turns -= u8::from(turn);
        turn
    }

    /// No outgoing message was ready in its turn; the socket is read next.
    pub(super) fn on_nothing_ready(&mut self) {
        self.outgoing_turns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const INTERVAL: Duration = Duration::from_secs(5);
    const MS: Duration = Duration::from_millis(1);

    fn start(phase: f64) -> (Instant, Liveness) {
        let now = Instant::now();
        (now, Liveness::new(now, TIMEOUT, phase))
    }

    #[test]
    fn the_first_ping_has_a_phase_and_the_rest_have_an_interval() {
        let (now, mut liveness) = start(0.25);
        let first = now + INTERVAL.mul_f64(0.25);
        assert_eq!(liveness.ping_at(), first);
        assert_eq!(liveness.on_tick(first, None), Action::Ping(first + INTERVAL));
        assert_eq!(liveness.on_frame(), Action::Wait);
        // A late wake-up delays the next ping: an interval is the time that a peer has.
        let late = first + INTERVAL + 300 * MS;
        assert_eq!(liveness.on_tick(late, None), Action::Ping(late + INTERVAL));
        assert_eq!(liveness.ping_at(), late + INTERVAL);
    }

    #[test]
    fn a_missed_pong_closes_at_the_next_ping() {
        let (now, mut liveness) = start(0.0);
        assert_eq!(liveness.on_tick(now, None), Action::Ping(now + INTERVAL));
        assert_eq!(liveness.on_tick(now + INTERVAL, None), Action::Close(CloseCause::PingTimeout));
    }

    #[test]
    fn any_frame_is_a_sign_of_life() {
        let (now, mut liveness) = start(0.0);
        let signs: [fn(&mut Liveness); 2] = [|liveness| drop(liveness.on_frame()), Liveness::on_message];
        let mut at = now;
        for sign in signs.into_iter().cycle().take(10) {
            assert_eq!(liveness.on_tick(at, None), Action::Ping(at + INTERVAL));
            sign(&mut liveness);
            at += INTERVAL;
        }
        // One frame answers one ping.
        liveness.on_frame();
        assert_eq!(liveness.on_tick(at, None), Action::Ping(at + INTERVAL));
        assert_eq!(liveness.on_tick(at + INTERVAL, None), Action::Close(CloseCause::PingTimeout));
    }

    #[test]
    fn a_slow_consumer_has_the_send_timeout_to_take_something() {
        let (now, mut liveness) = start(0.5);
        assert_eq!(liveness.on_send(now, true), Action::Wait, "it took all at once");
        // Half the timeout is less than the send timeout's 10 seconds.
        assert_eq!(liveness.on_send(now, false), Action::WakeAt(now + INTERVAL));
        // It took some two seconds ago.
        let tick = now + INTERVAL;
        assert_eq!(liveness.on_tick(tick, Some(2000 * MS)), Action::WakeAt(tick + 3000 * MS));
        assert_eq!(liveness.on_tick(tick, Some(INTERVAL.saturating_sub(MS))), Action::WakeAt(tick + MS));
        assert_eq!(liveness.on_tick(tick, Some(INTERVAL)), Action::Close(CloseCause::SendTimeout));
    }

    #[test]
    fn the_send_timeout_has_an_upper_limit() {
        let now = Instant::now();
        let liveness = Liveness::new(now, 60 * SEND_TIMEOUT, 0.0);
        assert_eq!(liveness.on_send(now, false), Action::WakeAt(now + SEND_TIMEOUT));
    }

    #[test]
    fn no_pong_is_missed_while_a_text_is_blocked() {
        let (now, mut liveness) = start(0.0);
        assert_eq!(liveness.on_tick(now, None), Action::Ping(now + INTERVAL));
        let later = now + INTERVAL;
        assert_eq!(liveness.on_tick(later, Some(MS)), Action::WakeAt(later + INTERVAL - MS), "nothing is read");
        // The ping schedule resumes where it was; the pong is read before the timer, which is due.
        assert_eq!(liveness.on_text_sent(), Action::WakeAt(now + INTERVAL));
        liveness.on_frame();
        assert_eq!(liveness.on_tick(later + MS, None), Action::Ping(later + MS + INTERVAL));
    }

    #[test]
    fn a_stop_closes_in_every_state() {
        let (now, mut liveness) = start(0.0);
        assert_eq!(liveness.on_stop(), Action::Close(CloseCause::Shutdown));
        liveness.on_tick(now, None);
        liveness.on_message();
        assert_eq!(liveness.on_stop(), Action::Close(CloseCause::Shutdown), "with a ping and turns open");
    }

    #[test]
    fn bad_messages_have_a_limit_between_two_pings() {
        let (now, mut liveness) = start(0.0);
        for round in 0..3 {
            for _ in 0..BAD_FRAMES_MAX {
                liveness.on_message();
                assert_eq!(liveness.on_bad_message(), Ok(()));
            }
            let tick = now + round * INTERVAL;
            assert_eq!(liveness.on_tick(tick, None), Action::Ping(tick + INTERVAL), "the count starts over");
        }
        for _ in 0..BAD_FRAMES_MAX {
            liveness.on_bad_message().unwrap();
        }
        let Err(CloseCause::ProtocolViolation(code, reason)) = liveness.on_bad_message() else { panic!("a close") };
        assert_eq!((code, &*reason), (CloseCode::Policy, "too many invalid messages"));
    }

    #[test]
    fn each_message_in_gives_turns_to_messages_out() {
        let (_, mut liveness) = start(0.0);
        assert!(!liveness.take_outgoing_turn(None), "without a message the socket is read");
        // Both sides always have something: a read after every 32 messages out.
        for _ in 0..3 {
            liveness.on_message();
            let turns = std::iter::from_fn(|| liveness.take_outgoing_turn(None).then_some(())).count();
            assert_eq!(turns, usize::from(OUTGOING_PER_MESSAGE));
        }
        liveness.on_message();
        liveness.on_message();
        let turns = std::iter::from_fn(|| liveness.take_outgoing_turn(None).then_some(())).count();
        assert_eq!(turns, usize::from(OUTGOING_PER_MESSAGE), "turns do not add up");
    }

    #[test]
    fn a_turn_without_a_message_ends_the_turns() {
        let (_, mut liveness) = start(0.0);
        liveness.on_message();
        assert!(liveness.take_outgoing_turn(None));
        liveness.on_nothing_ready();
        assert!(!liveness.take_outgoing_turn(None));
    }

    #[test]
    fn a_blocked_text_suspends_the_turns() {
        let (_, mut liveness) = start(0.0);
        liveness.on_message();
        assert!(liveness.take_outgoing_turn(None));
        assert!(!liveness.take_outgoing_turn(Some(MS)), "one text at a time");
        let turns = std::iter::from_fn(|| liveness.take_outgoing_turn(None).then_some(())).count();
        assert_eq!(turns, usize::from(OUTGOING_PER_MESSAGE) - 1, "none is lost");
    }

    #[test]
    fn the_state_is_small() {
        assert!(size_of::<Liveness>() <= 40, "{} bytes", size_of::<Liveness>());
    }
}
