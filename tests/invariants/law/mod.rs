//! The invariants for any input. Each module is one kind of input and one function, `holds`, which panics where
//! the law is broken. `tests/invariants` calls them with a corpus and its mutations on any compiler, `fuzz/` with what
//! libFuzzer finds.

pub mod datagram;
pub mod message;
pub mod name;
pub mod query;
pub mod stream;
pub mod value;
pub mod world;
