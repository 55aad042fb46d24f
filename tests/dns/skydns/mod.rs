//! The daemon in the place of a SkyDNS: forwarding, explanations, its answers to odd
//! questions. The answers as such are in `tests/dns/conformance`.

mod explain;
mod forwarding;
mod limits;
mod odd;
mod saved;
mod settings;
mod zones;
