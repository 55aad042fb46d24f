//! The metrics of the DNS server.
//!
//! Owns: names, help texts and labels, by the conventions of Prometheus: a counter is a plural noun, to which the scrape
//! adds `_total`; a label value is one word in lower case, except types and rcodes in their standard spelling. Does not
//! own: the counters ([`super::stats`]).

use super::DnsServer;
use super::stats::{DnsStats, StreamStats};
use skyhound_net::metrics::{Metrics, Scrape};

impl DnsServer {
    /// Adds the counters of this server to each scrape.
    pub fn collect(&self, metrics: &Metrics) {
        let (stats, connections_limit) = (self.stats(), self.streams_max());
        metrics.collect(move |scrape| {
            queries(scrape, &stats);
            connections(scrape, stats.streams(), connections_limit);
        });
    }
}

fn queries(scrape: &mut Scrape<'_>, stats: &DnsStats) {
    scrape.counters("skyhound_dns_questions", "Questions, by type", "type", stats.types());
    scrape.counters("skyhound_dns_responses", "Responses, by rcode", "rcode", stats.rcodes());
    scrape.counters("skyhound_dns_requests", "Requests, by transport", "transport", stats.transports());
    let truncated = "Responses over UDP with TC set, which the client repeats over TCP";
    scrape.counter("skyhound_dns_truncated_responses", truncated, stats.truncated());
    let partial = "Responses over TCP, TLS and HTTPS that hold a part of the records";
    scrape.counter("skyhound_dns_partial_responses", partial, stats.subset());
    let stale = "Responses sent while the store was unavailable";
    scrape.counter("skyhound_dns_stale_responses", stale, stats.stale());
    let denied = "Requests of clients without permission to query";
    scrape.counter("skyhound_dns_denied_requests", denied, stats.denied());
    let limited = [("slipped", stats.slipped()), ("dropped", stats.dropped())];
    let help = "Requests of networks beyond --dns-rate, by outcome";
    scrape.counters("skyhound_dns_rate_limited_requests", help, "outcome", limited);
    let signatures = "DNSSEC signatures made; reused ones do not count";
    scrape.counter("skyhound_dns_signatures", signatures, stats.signatures());
}

// A gauge is a float in Prometheus; counts stay below 2^52.
#[allow(clippy::cast_precision_loss)]
fn connections(scrape: &mut Scrape<'_>, streams: &StreamStats, limit: usize) {
    let closed = "TCP and TLS connections of DNS that were closed or refused, by reason";
    scrape.counters("skyhound_dns_closed_connections", closed, "reason", streams.ended());
    let pauses = "Pauses in reading a TCP or TLS connection with too many open questions or unsent bytes";
    scrape.counter("skyhound_dns_read_pauses", pauses, streams.paused());
    scrape.gauge("skyhound_dns_connections", "Open TCP and TLS connections of DNS", streams.open() as f64);
    scrape.gauge("skyhound_dns_connections_limit", "Limit of TCP and TLS connections of DNS", limit as f64);
}
