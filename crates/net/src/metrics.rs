//! Metrics for Prometheus.
//!
//! Owns: the counters of HTTP and of the frontends, and the text of a scrape. Does not own: the state of other parts.
//! They are read at scrape time through [`Metrics::collect`], so that nothing is counted twice and no copy can diverge.
//!
//! Labels have few values: the paths of the route table, never the path of a request, and no names of services or
//! peers.

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
struct DialectLabels {
    dialect: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u16,
}

/// The registry of metrics, with the counters of HTTP and the frontends.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    /// Requests by the first digit of the status, readable without a scrape.
    classes: [AtomicU64; 6],
    accept_failures: Counter,
    handshake_failures: Counter,
    registrations: Family<DialectLabels, Counter>,
    releases: Family<DialectLabels, Counter>,
    websocket_errors: Family<CodeLabels, Counter>,
    slow_consumer: Family<DialectLabels, Counter>,
    websockets: Gauge,
    watchers: Gauge,
    slow_watchers: Counter,
}

impl Metrics {
    /// Metrics with all counters at 0.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::default()),
            requests: Family::default(),
            classes: Default::default(),
            accept_failures: Counter::default(),
            handshake_failures: Counter::default(),
            registrations: Family::default(),
            releases: Family::default(),
            websocket_errors: Family::default(),
            slow_consumer: Family::default(),
            websockets: Gauge::default(),
            watchers: Gauge::default(),
            slow_watchers: Counter::default(),
        };
        {
            let mut registry = metrics.registry.lock().unwrap_or_else(PoisonError::into_inner);
            let r = &mut *registry;
            r.register("skyhound_http_requests", "HTTP requests answered", metrics.requests.clone());
            r.register(
                "skyhound_accept_failures",
                "Connections that the system gave no descriptor or memory for",
                metrics.accept_failures.clone(),
            );
            r.register(
                "skyhound_tls_failures",
                "Connections of the HTTP side with which there was no TLS",
                metrics.handshake_failures.clone(),
            );
            r.register("skyhound_registrations", "Registrations asked for", metrics.registrations.clone());
            r.register("skyhound_releases", "Claims that ended, by reason", metrics.releases.clone());
            r.register(
                "skyhound_websocket_errors",
                "Websockets closed because of what their peer sent",
                metrics.websocket_errors.clone(),
            );
            r.register(
                "skyhound_cut_off",
                "Listeners closed because they read too slowly",
                metrics.slow_consumer.clone(),
            );
            r.register("skyhound_websockets", "Websockets held", metrics.websockets.clone());
            r.register("skyhound_watchers", "Readers of /v1/watch", metrics.watchers.clone());
            r.register(
                "skyhound_watchers_cut",
                "Readers of /v1/watch cut off because they did not read",
                metrics.slow_watchers.clone(),
            );
        }
        metrics
    }

    /// Counts a handled HTTP request. `route` is the path of the route table.
    pub fn request(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
        if let Some(class) = self.classes.get(usize::from(status / 100)) {
            class.fetch_add(1, Relaxed);
        }
    }

    /// The number of handled requests, by the first digit of their status.
    pub fn status_classes(&self) -> [u64; 6] {
        self.classes.each_ref().map(|class| class.load(Relaxed))
    }

    /// Counts a connection that could not be accepted for lack of a descriptor or memory.
    pub fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// Counts a failed TLS handshake.
    pub fn handshake_failed(&self) {
        self.handshake_failures.inc();
    }

    /// Counts a registration request by its outcome: `ok`, `invalid`, `unavailable`, `rejected`, `stopping`.
    pub fn registration(&self, dialect: &'static str, outcome: &'static str) {
        self.registrations.get_or_create(&DialectLabels { dialect, outcome }).inc();
    }

    /// Counts the end of a claim by its reason.
    pub fn release(&self, dialect: &'static str, reason: &'static str) {
        self.releases.get_or_create(&DialectLabels { dialect, outcome: reason }).inc();
    }

    /// Counts a WebSocket that is closed with this code because of a peer's message.
    pub fn websocket_error(&self, code: u16) {
        self.websocket_errors.get_or_create(&CodeLabels { code }).inc();
    }

    /// A listener is closed because it took nothing for too long (`stalled`), or fell too far behind (`behind`).
    pub fn slow_consumer(&self, dialect: &'static str, outcome: &'static str) {
        self.slow_consumer.get_or_create(&DialectLabels { dialect, outcome }).inc();
    }

    /// Counts an open WebSocket until the guard is dropped.
    #[must_use]
    pub fn websocket(&self) -> GaugeGuard {
        self.websockets.inc();
        GaugeGuard(self.websockets.clone())
    }

    /// Counts a reader of `/v1/watch` until the guard is dropped.
    #[must_use]
    pub fn watcher(&self) -> GaugeGuard {
        self.watchers.inc();
        GaugeGuard(self.watchers.clone())
    }

    /// Counts a reader of `/v1/watch` that was disconnected because it did not read.
    pub fn slow_watcher(&self) {
        self.slow_watchers.inc();
    }

    /// Adds a collector that runs at each scrape. It must be quick, and must not scrape.
    pub fn collect(&self, collector: impl Fn(&mut Scrape<'_>) + Send + Sync + 'static) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(ScrapeCollector(Box::new(collector))));
    }

    /// The text of a scrape in the format of `OpenMetrics`.
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail, and tests check the output of collectors.
        let _ = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        text
    }

    /// The text of a scrape in Prometheus's own format, version 0.0.4, which all scrapers read.
    pub fn render_prometheus(&self) -> String {
        to_prometheus_text(&self.render())
    }
}

/// Converts `OpenMetrics` to Prometheus's own format, which differs in two things: a counter's help and type use the
/// name of its samples, `_total` included, and the end is not marked.
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

/// A guard of a gauge; see [`Metrics::websocket`] and [`Metrics::watcher`].
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
        let mut scrape = Scrape { encoder, failed: Ok(()) };
        (self.0)(&mut scrape);
        scrape.failed
    }
}

/// The output of a collector. Names are complete (`skyhound_…`); a counter's `_total` is added.
#[derive(Debug)]
pub struct Scrape<'a> {
    encoder: DescriptorEncoder<'a>,
    failed: fmt::Result,
}

impl Scrape<'_> {
    /// Adds a counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.one(name, help, &ConstCounter::new(value));
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.one(name, help, &ConstGauge::new(value));
    }

    /// Adds counters of one name that differ by a label.
    pub fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) {
        self.many(name, help, label, values.into_iter().map(|(of, value)| (of, ConstCounter::new(value))));
    }

    /// Adds gauges of one name that differ by a label.
    pub fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, usize)>,
    ) {
        self.many(name, help, label, values.into_iter().map(|(of, value)| (of, ConstGauge::new(value))));
    }

    fn one(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) {
        let done = self
            .encoder
            .encode_descriptor(name, help, None, metric.metric_type())
            .and_then(|encoder| metric.encode(encoder));
        self.failed = self.failed.and(done);
    }

    fn many<'v, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'v str, M)>,
    ) {
        let mut values = values.peekable();
        let Some((_, first)) = values.peek() else { return };
        let kind = first.metric_type();
        let done = self.encoder.encode_descriptor(name, help, None, kind).and_then(|mut family| {
            for (of, metric) in values {
                metric.encode(family.encode_family(&[(label, of)])?)?;
            }
            Ok(())
        });
        self.failed = self.failed.and(done);
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
        let held = metrics.websocket();
        metrics.collect(|scrape| {
            scrape.gauge("skyhound_entries", "Entries known", 7.0);
            scrape.counter("skyhound_dns_queries", "Questions", 9);
            scrape.counters("skyhound_dns_answers", "Answers by rcode", "rcode", [("NOERROR", 8), ("REFUSED", 1)]);
        });
        let text = metrics.render();
        for line in [
            r#"skyhound_http_requests_total{route="/version",status="200"} 2"#,
            r#"skyhound_registrations_total{dialect="skyapi",outcome="ok"} 1"#,
            "skyhound_websockets 1",
            "skyhound_entries 7.0",
            "skyhound_dns_queries_total 9",
            r#"skyhound_dns_answers_total{rcode="REFUSED"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|present| present == line), "{line} is not in\n{text}");
        }
        let plain = metrics.render_prometheus();
        for line in [
            "# HELP skyhound_dns_answers_total Answers by rcode",
            "# TYPE skyhound_dns_answers_total counter",
            r#"skyhound_dns_answers_total{rcode="REFUSED"} 1"#,
            "# TYPE skyhound_entries gauge",
        ] {
            assert!(plain.lines().any(|present| present == line), "{line} is not in\n{plain}");
        }
        assert!(!plain.contains("# EOF"));
        drop(held);
        assert!(metrics.render().contains("skyhound_websockets 0"));
        metrics.request("none", 404);
        assert_eq!(metrics.status_classes(), [0, 0, 2, 0, 1, 0]);
    }
}
