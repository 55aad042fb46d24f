//! A client that asks all the time whether a service is there, and records every wrong answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use tokio::task::JoinHandle;

use super::ask::Ask;
use super::dig::Dig;

/// The pause between two questions over a socket.
const PAUSE: Duration = Duration::from_millis(2);
/// The pause between two runs of dig: each is a process, and the machine is small.
const DIG_PAUSE: Duration = Duration::from_millis(100);

/// The answers that were seen.
#[derive(Debug, Default)]
pub struct WatchEvent {
    /// Answers with the instance in them.
    pub right: usize,
    /// Questions without an answer, each with when and why.
    pub unanswered: Vec<String>,
    /// Answers without the instance, each with when and what.
    pub wrong: Vec<String>,
    /// The times of the first and the last of them.
    span: Option<(Duration, Duration)>,
}

enum Verdict {
    Right,
    Unanswered(String),
    Wrong(String),
}

impl WatchEvent {
    fn note(&mut self, began: Instant, verdict: Verdict) {
        let at = began.elapsed();
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::Unanswered(why) => self.unanswered.push(format!("{at:.2?}: {why}")),
            Verdict::Wrong(what) => {
                self.wrong.push(format!("{at:.2?}: {what}"));
                self.span = Some((self.span.map_or(at, |(first, _)| first), at));
            }
        }
    }

    /// The time from the first wrong answer to the last.
    pub fn gap(&self) -> Duration {
        self.span.map_or(Duration::ZERO, |(first, last)| last.saturating_sub(first))
    }

    /// Panics if there was a wrong answer or a missing one.
    #[track_caller]
    pub fn assert_no_gap(&self) {
        self.assert_never_wrong();
        assert!(
            self.unanswered.is_empty(),
            "{} questions without an answer, {} right: {:#?}",
            self.unanswered.len(),
            self.right,
            self.few(&self.unanswered)
        );
    }

    /// Panics if there was a wrong answer; a missing one is not wrong.
    #[track_caller]
    pub fn assert_never_wrong(&self) {
        assert!(
            self.wrong.is_empty(),
            "{} wrong answers, {} right: {:#?}",
            self.wrong.len(),
            self.right,
            self.few(&self.wrong)
        );
        assert!(self.right > 0, "nothing was asked");
    }

    #[expect(clippy::unused_self, reason = "reads better where it is used")]
    fn few<'a>(&self, all: &'a [String]) -> Vec<&'a String> {
        all.iter().take(5).chain(all.iter().skip(5).last()).collect()
    }
}

/// A task that asks until it is stopped.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    task: JoinHandle<WatchEvent>,
}

impl Watch {
    /// Asks over UDP, hundreds of times a second, for an instance with this port below the name.
    pub fn udp(server: SocketAddr, name: &str, port: u16) -> Self {
        let name = name.to_owned();
        Self::start(async move |over| {
            let (began, mut seen, mut ask) = (Instant::now(), WatchEvent::default(), Ask::at(server).await);
            while !over.load(Ordering::Relaxed) {
                let verdict = match ask.srv(&name).await {
                    Ok(response) if response.status == ResponseCode::NoError && response.ports.contains(&port) => {
                        Verdict::Right
                    }
                    Ok(response) => Verdict::Wrong(format!("{response:?}")),
                    Err(why) => Verdict::Unanswered(why),
                };
                seen.note(began, verdict);
                tokio::time::sleep(PAUSE).await;
            }
            seen
        })
    }

    /// The same with dig.
    pub fn dig(dig: Dig, name: &str, port: u16) -> Self {
        let name = name.to_owned();
        Self::start(async move |over| {
            let (began, mut seen) = (Instant::now(), WatchEvent::default());
            while !over.load(Ordering::Relaxed) {
                let verdict = match dig.query(&name, "SRV").await {
                    Ok(answer) if answer.status == "NOERROR" && answer.ports().contains(&port) => Verdict::Right,
                    Ok(answer) => Verdict::Wrong(format!("{answer:?}")),
                    Err(why) => Verdict::Unanswered(why.to_string()),
                };
                seen.note(began, verdict);
                tokio::time::sleep(DIG_PAUSE).await;
            }
            seen
        })
    }

    fn start<W: Future<Output = WatchEvent> + Send + 'static>(watch: impl FnOnce(Arc<AtomicBool>) -> W) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(watch(Arc::clone(&over)));
        Self { over, task }
    }

    /// Stops, and returns the answers that were seen.
    pub async fn stop(self) -> WatchEvent {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.expect("no panic")
    }
}
