//! Strict readers of our answers: a resolver that takes nothing on trust, and an auditor of zones.
//!
//! They are programs that `tests/run` installs. Each asks a daemon over etcd, as a resolver in front of it would.

mod dnsviz;
mod site;
mod unbound;
