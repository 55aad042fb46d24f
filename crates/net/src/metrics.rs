//! The metrics of a process, in the formats of `OpenMetrics` and Prometheus.
//!
//! Owns: the counters of the HTTP server and of the frontends, and the text of a scrape. Does not own: the state
//! of other parts, which is read at scrape time through [`Metrics::collect`]. Nothing is counted twice, and no
//! copy has to be kept up to date.
//!
//! Names follow Prometheus: the prefix `skyhound_`, then the part, base units (`_seconds`, `_bytes`), `_total` for
//! counters. A value and its limit are two metrics. Label values have no spaces and are few: routes as the table
//! spells them, never the path of a request, and no names of services or clients.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    frontend: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    frontend: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u16,
}

/// The counters of the HTTP server and of the frontends, and the collectors of all other parts.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    /// The same counts by the first digit of the status, readable without a scrape.
    classes: [AtomicU64; 6],
    accept_failures: Counter,
    handshake_failures: Counter,
    registrations: Family<OutcomeLabels, Counter>,
    releases: Family<ReasonLabels, Counter>,
    slow_consumers: Family<ReasonLabels, Counter>,
    websocket_errors: Family<CodeLabels, Counter>,
    websockets: Gauge,
    watchers: Gauge,
}

impl Metrics {
    /// Metrics with every count at 0.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            requests: Family::default(),
            classes: Default::default(),
            accept_failures: Counter::default(),
            handshake_failures: Counter::default(),
            registrations: Family::default(),
            releases: Family::default(),
            slow_consumers: Family::default(),
            websocket_errors: Family::default(),
            websockets: Gauge::default(),
            watchers: Gauge::default(),
        };
        metrics.register(&mut metrics.registry.lock().unwrap_or_else(PoisonError::into_inner));
        metrics
    }

    /// Gives each metric its name and help text. `_total` and the full stop of a
    /// help text are added when they are encoded.
    fn register(&self, r: &mut Registry) {
        r.register("skyhound_http_requests", "HTTP requests, by route and status", self.requests.clone());
        r.register(
            "skyhound_accept_failures",
            "Connections not accepted for lack of a descriptor or of memory",
            self.accept_failures.clone(),
        );
        r.register(
            "skyhound_tls_handshake_failures",
            "Failed TLS handshakes of the HTTP server",
            self.handshake_failures.clone(),
        );
        r.register("skyhound_registrations", "Registration requests, by outcome", self.registrations.clone());
        r.register("skyhound_releases", "Released claims, by reason", self.releases.clone());
        r.register(
            "skyhound_slow_consumers",
            "Subscribers closed because they read too slowly, by reason",
            self.slow_consumers.clone(),
        );
        r.register(
            "skyhound_websocket_errors",
            "Websockets closed for a violation of the protocol, by close code",
            self.websocket_errors.clone(),
        );
        r.register("skyhound_websocket_connections", "Open websockets", self.websockets.clone());
        r.register("skyhound_watchers", "Open streams of /v1/watch", self.watchers.clone());
    }

    /// Counts an answered HTTP request. `route` is the path as the routing table spells it.
    pub fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
        if let Some(class) = self.classes.get(usize::from(status / 100)) {
            class.fetch_add(1, Relaxed);
        }
    }

    /// Requests answered so far, by the first digit of their status.
    pub fn status_classes(&self) -> [u64; 6] {
        self.classes.each_ref().map(|class| class.load(Relaxed))
    }

    /// Counts a connection that was not accepted for lack of a descriptor or of memory.
    pub fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// Counts a failed TLS handshake.
    pub fn handshake_failed(&self) {
        self.handshake_failures.inc();
    }

    /// Counts a registration request: `ok`, `invalid`, `unauthorized`, `rejected`, `full`, `unavailable`, `stopping`.
    pub fn registration(&self, frontend: &'static str, outcome: &'static str) {
        self.registrations.get_or_create(&OutcomeLabels { frontend, outcome }).inc();
    }

    /// Counts a released claim: `closed`, `connection_lost`, `deregistered`, `heartbeat_timeout`, `lagged`,
    /// `ping_timeout`, `protocol_violation`, `send_timeout`, `shutdown`, `unhealthy`.
    pub fn release(&self, frontend: &'static str, reason: &'static str) {
        self.releases.get_or_create(&ReasonLabels { frontend, reason }).inc();
    }

    /// Counts a subscriber that is closed because it received nothing for too long (`send_timeout`), or because too
    /// much was waiting for it (`lagged`).
    pub fn slow_consumer(&self, frontend: &'static str, reason: &'static str) {
        self.slow_consumers.get_or_create(&ReasonLabels { frontend, reason }).inc();
    }

    /// Counts a websocket that is closed with this code for a violation of the protocol.
    pub fn websocket_error(&self, code: u16) {
        self.websocket_errors.get_or_create(&CodeLabels { code }).inc();
    }

    /// Counts an open websocket until the guard is dropped.
    #[must_use]
    pub fn websocket(&self) -> GaugeGuard {
        self.websockets.inc();
        GaugeGuard(self.websockets.clone())
    }

    /// Counts an open stream of `/v1/watch` until the guard is dropped.
    #[must_use]
    pub fn watcher(&self) -> GaugeGuard {
        self.watchers.inc();
        GaugeGuard(self.watchers.clone())
    }

    /// Adds a collector that runs at each scrape. It must be quick, and must not scrape.
    pub fn collect(&self, collector: impl Fn(&mut Scrape<'_>) + Send + Sync + 'static) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(ScrapeCollector(Box::new(collector))));
    }

    /// All metrics in the text format of `OpenMetrics`.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail, and the output of collectors is checked in the tests.
        let _ = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }

    /// All metrics in Prometheus's own text format, version 0.0.4, which every scraper reads.
    pub fn render_prometheus(&self) -> String {
        to_prometheus_text(&self.render())
    }
}

/// Converts the text of `OpenMetrics` to Prometheus's own format. The two differ in two things: the help and the type
/// of a counter have the name of its samples, `_total` included, and the end is not marked.
fn to_prometheus_text(open: &str) -> String {
    let counters: HashSet<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len() + open.len() / 16);
    for line in open.lines().filter(|line| *line != "# EOF") {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", keyword, name, rest] if counters.contains(name) => {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "# {keyword} {name}_total {rest}");
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A guard of [`Metrics::websocket`] or [`Metrics::watcher`]: its drop decrements the gauge.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

type CollectFn = Box<dyn Fn(&mut Scrape<'_>) + Send + Sync>;

struct ScrapeCollector(CollectFn);

impl fmt::Debug for ScrapeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScrapeCollector")
    }
}

impl Collector for ScrapeCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scrape = Scrape { encoder, result: Ok(()) };
        (self.0)(&mut scrape);
        scrape.result
    }
}

/// The receiver of a collector's values. Names are complete (`skyhound_…`); the encoder adds `_total` to counters.
#[derive(Debug)]
pub struct Scrape<'a> {
    encoder: DescriptorEncoder<'a>,
    /// The first error, if any.
    result: fmt::Result,
}

impl Scrape<'_> {
    /// Adds a counter: a number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.one(name, help, &ConstCounter::new(value));
    }

    /// Adds a gauge: a number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.one(name, help, &ConstGauge::new(value));
    }

    /// Adds a gauge of a number of things.
    pub fn gauge_count(&mut self, name: &str, help: &str, value: usize) {
        self.one(name, help, &ConstGauge::new(value));
    }

    /// Adds counters of one name that differ in one label.
    pub fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) {
        let values = values.into_iter().map(|(of, value)| (of, ConstCounter::new(value)));
        self.family(name, help, label, values);
    }

    /// Adds gauges of one name that differ in one label.
    pub fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, usize)>,
    ) {
        let values = values.into_iter().map(|(of, value)| (of, ConstGauge::new(value)));
        self.family(name, help, label, values);
    }

    fn one(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) {
        let result = self
            .encoder
            .encode_descriptor(name, help, None, metric.metric_type())
            .and_then(|encoder| metric.encode(encoder));
        self.result = self.result.and(result);
    }

    fn family<'v, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'v str, M)>,
    ) {
        let mut values = values.peekable();
        let Some((_, first)) = values.peek() else { return };
        let kind = first.metric_type();
        let result = self.encoder.encode_descriptor(name, help, None, kind).and_then(|mut family| {
            for (of, metric) in values {
                metric.encode(family.encode_family(&[(label, of)])?)?;
            }
            Ok(())
        });
        self.result = self.result.and(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_contains_counters_and_collected_values() {
        let metrics = Metrics::new();
        metrics.request("/version", 200);
        metrics.request("/version", 200);
        metrics.registration("skyapi", "ok");
        metrics.slow_consumer("hound-dog", "lagged");
        let websocket = metrics.websocket();
        metrics.collect(|scrape| {
            scrape.gauge("skyhound_catalog_entries", "Entries in the catalog", 7.0);
            scrape.gauge_count("skyhound_http_connections", "Open TCP connections", 3);
            scrape.counter("skyhound_dns_queries", "Queries", 9);
            scrape.counters("skyhound_dns_responses", "Responses by rcode", "rcode", [("NOERROR", 8), ("REFUSED", 1)]);
        });
        let text = metrics.render();
        for line in [
            r#"skyhound_http_requests_total{route="/version",status="200"} 2"#,
            r#"skyhound_registrations_total{frontend="skyapi",outcome="ok"} 1"#,
            r#"skyhound_slow_consumers_total{frontend="hound-dog",reason="lagged"} 1"#,
            "skyhound_websocket_connections 1",
            "skyhound_catalog_entries 7.0",
            "skyhound_http_connections 3",
            "skyhound_dns_queries_total 9",
            r#"skyhound_dns_responses_total{rcode="REFUSED"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|present| present == line), "{line} is not in\n{text}");
        }
        let plain = metrics.render_prometheus();
        for line in [
            "# HELP skyhound_dns_responses_total Responses by rcode",
            "# TYPE skyhound_dns_responses_total counter",
            r#"skyhound_dns_responses_total{rcode="REFUSED"} 1"#,
            "# TYPE skyhound_catalog_entries gauge",
        ] {
            assert!(plain.lines().any(|present| present == line), "{line} is not in\n{plain}");
        }
        assert!(!plain.contains("# EOF"));
        drop(websocket);
        assert!(metrics.render().contains("skyhound_websocket_connections 0"));
        metrics.request("none", 404);
        assert_eq!(metrics.status_classes(), [0, 0, 2, 0, 1, 0]);
    }
}
