//! `/stats`: the load of this daemon in windows of 5 seconds, and the page that shows it.
//!
//! A request with `Content-Type: application/json` gets the original's JSON, with the DNS queries added to each window.
//! The original counts every response as a 200 by mistake; here each response counts under its own status.
//!
//! Owns: the windows. They are differences of counters that exist anyway, so nothing is counted for this page alone.
//! Does not own: the other data of the page (`view`), nor its files (`page`).

mod page;
mod view;

use crate::ops::gauges::resident_bytes;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use skyhound_dns::DnsStats;
use skyhound_frontends::app::App;
use skyhound_frontends::micro::allow_all_origins;
use skyhound_frontends::micro::rpc::is_json;
use skyhound_net::{Reply, Request, Route, route};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{MissedTickBehavior, interval};

/// The length of a window: the original's own.
pub const WINDOW: Duration = Duration::from_secs(5);
/// The number of windows, the current one included: the original's own.
pub const WINDOWS: usize = 24;

/// The counters at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    /// Seconds since 1970.
    at: u64,
    /// HTTP responses by the first digit of their status.
    classes: [u64; 6],
    /// DNS queries.
    dns: u64,
}

/// The counters at the begin of each window, the oldest first; never empty.
#[derive(Debug)]
struct Windows(VecDeque<Totals>);

impl Windows {
    fn roll(&mut self, now: Totals) {
        self.0.push_back(now);
        while self.0.len() > WINDOWS {
            self.0.pop_front();
        }
    }

    /// Returns each window as the original's JSON. The last window is the current one.
    fn counters(&self, now: Totals) -> Vec<Value> {
        let ends = self.0.iter().skip(1).chain([&now]);
        let windows = self.0.iter().zip(ends).map(|(begin, end)| {
            let mut codes = Map::new();
            let mut total = 0;
            for (digit, (before, after)) in begin.classes.iter().zip(end.classes).enumerate() {
                let responses = after.saturating_sub(*before);
                total += responses;
                if responses > 0 {
                    codes.insert(format!("{digit}0x"), responses.into());
                }
            }
            let dns = end.dns.saturating_sub(begin.dns);
            json!({ "timestamp": begin.at, "status_codes": codes, "total_reqs": total, "dns": dns })
        });
        windows.collect()
    }
}

/// The state that the routes share.
#[derive(Debug)]
pub(super) struct Stats {
    pub(super) app: Arc<App>,
    pub(super) started: u64,
    pub(super) views: tokio::sync::Semaphore,
    dns: Option<Arc<DnsStats>>,
    windows: Mutex<Windows>,
}

impl Stats {
    fn totals(&self) -> Totals {
        let dns = self.dns.as_ref().map_or(0, |dns| dns.transports().map(|(_, count)| count).sum());
        Totals { at: unix_seconds(), classes: self.app.metrics.status_classes(), dns }
    }

    /// Begins a window.
    fn roll(&self) {
        let now = self.totals();
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).roll(now);
    }

    pub(super) fn counters(&self) -> Vec<Value> {
        let now = self.totals();
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).counters(now)
    }

    fn json(&self) -> Value {
        json!({
            "started": self.started,
            "memory": format!("{:.2}mb", resident_megabytes()),
            "threads": thread_count(),
            // This program has no garbage collector.
            "gc_pause": "0.000ms",
            "counters": self.counters(),
        })
    }
}

/// Returns `/stats` and the routes of its page. Call it within a tokio runtime.
pub fn routes(app: &Arc<App>, dns: Option<Arc<DnsStats>>) -> Vec<Route> {
    let stats = Arc::new(Stats {
        app: Arc::clone(app),
        started: unix_seconds(),
        views: tokio::sync::Semaphore::new(view::CONCURRENT_MAX),
        dns,
        windows: Mutex::new(Windows(VecDeque::new())),
    });
    stats.roll();
    tokio::spawn(roll_periodically(Arc::downgrade(&stats)));
    let viewed = Arc::clone(&stats);
    let preflight = |_, _| async { Ok(allow_all_origins(route::text(StatusCode::OK, ""))) };
    let mut routes = vec![
        Route::get("/stats", move |request, _| {
            let reply = get(&stats, &request);
            async move { Ok(reply) }
        }),
        Route::new(Method::OPTIONS, "/stats", preflight),
        Route::get("/stats/view", move |request, peer| view::get(Arc::clone(&viewed), request, peer)),
    ];
    routes.extend(page::routes());
    routes
}

/// Begins a window every [`WINDOW`], until the routes are dropped.
async fn roll_periodically(stats: Weak<Stats>) {
    let mut ticks = interval(WINDOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(stats) = stats.upgrade() else { return };
        stats.roll();
    }
}

fn get(stats: &Stats, request: &Request) -> Reply {
    if is_json(request.headers()) {
        allow_all_origins(route::json(StatusCode::OK, &stats.json()))
    } else {
        allow_all_origins(page::page())
    }
}

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Returns the resident memory; 0 where the system does not report it.
// Exact up to 2^52 bytes.
#[allow(clippy::cast_precision_loss)]
pub(super) fn resident_megabytes() -> f64 {
    resident_bytes().unwrap_or_default() as f64 / 1024.0 / 1024.0
}

/// Returns the number of threads, `Threads` of proc(5); 0 outside Linux.
pub(super) fn thread_count() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|line| line.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_differences_of_counters() {
        let at = |at, ok, bad, dns| Totals { at, classes: [0, 0, ok, 0, bad, 0], dns };
        let mut windows = Windows(VecDeque::from([at(100, 5, 0, 0)]));
        windows.roll(at(105, 7, 1, 10));
        let counters = windows.counters(at(107, 7, 1, 11));
        assert_eq!(
            counters,
            [
                json!({"timestamp": 100, "status_codes": {"20x": 2, "40x": 1}, "total_reqs": 3, "dns": 10}),
                json!({"timestamp": 105, "status_codes": {}, "total_reqs": 0, "dns": 1}),
            ]
        );
        for more in 0..100 {
            windows.roll(at(110 + more, 7, 1, 11));
        }
        assert_eq!(windows.counters(at(300, 7, 1, 11)).len(), WINDOWS);
    }
}
