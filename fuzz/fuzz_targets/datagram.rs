//! The law of `tests/laws/law/datagram.rs`.
#![no_main]
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

#[path = "../../tests/laws/law/mod.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::datagram::holds(bytes));
