//! Injected faults: daemons and etcd that are killed, stopped, frozen, wiped; sockets that close at
//! the worst moment. The real binary, a real etcd, and a client that asks DNS all the while.

// The modules of a test are its own affair.
#![allow(unreachable_pub)]

mod compare;
mod descriptors;
mod disk;
mod frozen;
mod full;
mod heartbeats;
mod hold;
mod keys;
mod lease;
mod process;
mod race;
mod restart;
mod restored;
mod rights;
mod stop;
mod unavailable;

/// The tolerated delay of a daemon or an etcd on a busy machine.
const LATE: std::time::Duration = std::time::Duration::from_millis(1500);
