//! The law of `tests/invariants/law/value.rs`.
#![no_main]
#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

#[path = "../../tests/invariants/law/mod.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::value::holds(bytes));
