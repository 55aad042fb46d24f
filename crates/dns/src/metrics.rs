//! The metrics of the DNS server.
//!
//! Owns: names, help texts and labels. Does not own: the counters ([`super::stats`]).

use super::DnsServer;
use skyhound_net::metrics::Metrics;

impl DnsServer {
    /// Adds the counters of this server to each scrape.
    pub fn collect(&self, metrics: &Metrics) {
        let (stats, most) = (self.stats(), self.streams_max());
        metrics.collect(move |scrape| {
            scrape.counters("skyhound_dns_questions", "Questions asked, by type", "type", stats.types());
            scrape.counters("skyhound_dns_answers", "Answers given, by rcode", "rcode", stats.rcodes());
            scrape.counters("skyhound_dns_requests", "Requests, by transport", "transport", stats.transports());
            scrape.counter(
                "skyhound_dns_truncated",
                "Answers over UDP that ask to come again over TCP",
                stats.truncated(),
            );
            scrape.counter(
                "skyhound_dns_subset",
                "Answers over TCP that hold only a part of the entries",
                stats.subset(),
            );
            scrape.counter("skyhound_dns_denied", "Requests of clients that may not ask", stats.denied());
            let limited = [("slipped", stats.slipped()), ("dropped", stats.dropped())];
            scrape.counters("skyhound_dns_rate_limited", "Requests of networks over --dns-rate", "outcome", limited);
            scrape.counter(
                "skyhound_dns_signatures",
                "DNSSEC signatures made, not kept from before",
                stats.signatures(),
            );
            scrape.counter("skyhound_dns_stale", "Answers given while the store was away", stats.stale());
            let streams = stats.streams();
            scrape.counters(
                "skyhound_dns_streams_ended",
                "TCP and TLS connections, by their end",
                "end",
                streams.ended(),
            );
            let paused = "How often a TCP or TLS connection was not read because it had too much open";
            scrape.counter("skyhound_dns_streams_paused", paused, streams.paused());
            let open = [("taken", usize::try_from(streams.open()).unwrap_or(usize::MAX)), ("most", most)];
            scrape.gauges("skyhound_dns_streams", "TCP and TLS connections of DNS, and their limit", "of", open);
        });
    }
}
