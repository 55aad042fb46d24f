//! Loopback addresses, one for each program that a test starts.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The addresses of one test process. The largest test target starts about half as many programs.
const PER_PROCESS: u32 = 1024;
/// The processes that have addresses of their own: 127.1.0.0 to 127.254.255.255, without 127.0.0.x, which every other
/// program uses.
const PROCESSES: u32 = (254 << 16) / PER_PROCESS;

/// Returns a loopback address that no other call returns, in this process or in another that runs at the same time.
pub fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    assert!(count < PER_PROCESS, "too many daemons and the like in one test process");
    let number = std::process::id() % PROCESSES * PER_PROCESS + count;
    Ipv4Addr::from((127 << 24) + (1 << 16) + number)
}
