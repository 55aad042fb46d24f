//! Waiting for a level: the one place in the tests that sleeps.
//!
//! A test that waits for an *edge* ("the record has just gone") misses it on a busy machine; one that asks
//! again until a *level* holds ("the record is not there") is only slower. Time is the wall's: a test that pauses
//! tokio's clock has no need to poll.

use std::fmt::Display;
use std::panic::Location;
use std::time::{Duration, Instant};

/// The time limit for a local program to do what it should do at once, on two cores that others load. A guard: nothing
/// that is as it should be takes nearly as long.
pub const SOON: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);
/// The pause between two checks of a condition that has to go on: often for heartbeats, and little load for a minute.
const HOLD_PAUSE: Duration = Duration::from_millis(250);

/// Asks until the answer is `Ok`, and returns what it holds.
///
/// Panics at `deadline` with the last `Err`, so let that say what was seen instead:
///
/// ```ignore
/// wait_until(SOON, async || {
///     let answer = dig.query("web.services.skydns.local", "SRV").await.map_err(|e| e.to_string())?;
///     if answer.status == "NXDOMAIN" { Ok(()) } else { Err(format!("{answer:?}")) }
/// })
/// .await;
/// ```
#[track_caller]
pub fn wait_until<T, E: Display>(
    deadline: Duration,
    ask: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move { try_until(deadline, ask).await.unwrap_or_else(|late| panic!("{caller}: {late}")) }
}

/// Asks until the answer is `Ok`, which it has to be from `due` on.
///
/// A clock that is read when the answer is there includes the time of the test's own programs. Here a question that was
/// asked in time may be answered late; only what is asked about must not be.
#[track_caller]
pub fn wait_until_due<T, E: Display>(
    due: Instant,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        loop {
            let asked = Instant::now();
            let seen = match tokio::time::timeout(SOON, ask()).await {
                Ok(Ok(value)) => return value,
                Ok(Err(seen)) => seen.to_string(),
                Err(_) => "no answer at all".to_owned(),
            };
            let late = asked.checked_duration_since(due);
            assert!(late.is_none(), "{caller}: still not so {late:?} after it was due; seen: {seen}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Checks for all of `duration` that a condition holds, and panics as soon as it does not, with the `Err`.
///
/// For tests whose subject is the time that passes: an entry that outlives three terms of its lease, a store that is
/// written nothing. `check` may also do what keeps the condition true, such as a heartbeat: it runs four times a second.
#[track_caller]
pub fn holds_for<E: Display>(
    duration: Duration,
    mut check: impl AsyncFnMut() -> Result<(), E>,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let began = Instant::now();
        loop {
            // Before the check: the last one is at the end of the time or after it.
            let after = began.elapsed();
            match tokio::time::timeout(SOON, check()).await {
                Ok(Ok(())) => {}
                Ok(Err(seen)) => panic!("{caller}: no longer so after {after:?} of {duration:?}: {seen}"),
                Err(elapsed) => panic!("{caller}: no answer at all after {after:?} of {duration:?}: {elapsed}"),
            }
            if after >= duration {
                return;
            }
            tokio::time::sleep(HOLD_PAUSE.min(duration.saturating_sub(after))).await;
        }
    }
}

/// The same as [`wait_until`] for a caller with its own message: the error holds the time and the last `Err`.
pub async fn try_until<T, E: Display>(
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, String> {
    let began = Instant::now();
    let mut last = None;
    let asking = async {
        loop {
            match ask().await {
                Ok(value) => break value,
                Err(seen) => last = Some(seen.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    // Around the whole, because one answer may never come.
    let asked = tokio::time::timeout(deadline, asking).await;
    asked.map_err(|_| {
        let seen = last.unwrap_or_else(|| "no answer at all".to_owned());
        format!("still not so after {:?}; last seen: {seen}", began.elapsed())
    })
}
