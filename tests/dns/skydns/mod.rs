//! The daemon in the place of a SkyDNS: what it asks of others, how it explains itself, what it says to odd
//! questions. The answers as such are in `tests/dns/conformance`.

mod explain;
mod limits;
mod odd;
mod outside;
mod saved;
mod settings;
mod zones;
