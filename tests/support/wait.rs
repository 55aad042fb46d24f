//! Waiting for a level: the one place in the tests that sleeps.
//!
//! A test that waits for an *edge* ("the record has just gone") misses it on a busy machine; one that asks
//! again until a *level* holds ("the record is not there") is only slower. Time is the wall's: whoever pauses
//! tokio's clock has no need to poll.

use std::fmt::Display;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How long a local program gets to do what it should do at once, on two cores that others load.
pub const SOON: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(10);

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

/// The same for who has more to say: the error tells the time and the last `Err`.
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
