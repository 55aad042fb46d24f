//! The limit on responses per second to a network of clients (`--dns-rate`).
//!
//! The source address of a datagram may be forged, and then the response hits a host that did not query. This module
//! bounds the responses that a network can be made to receive. A network is an IPv4 /24 or an IPv6 /56, because a
//! victim owns all of it.
//!
//! A cell is a token bucket in one word: the time at which it will be full again (the generic cell rate algorithm), and
//! a tag that identifies its network. A full bucket holds no information, and its cell is therefore free without an
//! explicit release: the table has a fixed size, no lists and no clean-up, and under pressure it evicts the network
//! that has used least. One cache line contains the eight cells that a network may use; threads contend only over the
//! same network, by compare-and-swap.
//!
//! Owns: the table and its arithmetic. Does not own: the response to a limited client (`super::gate`).

use super::super::network::Network;
use skyhound_base::hash::GOLDEN;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The number of networks that are counted separately at the same time: 512 KiB. A network uses a cell only until its
/// bucket is full again, which after one response is a `--dns-rate`-th of a second: a million responses a second at 100
/// for each network use 10,000 cells.
const CELLS: usize = 1 << 16;
/// The number of cells in a cache line.
const WAYS: usize = 8;
/// The number of bits of a cell's time in nanoseconds, which wraps after 3 days. The upper bits are the tag.
const TIME_BITS: u32 = 48;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// The capacity of a bucket: after a pause, a network gets the responses of this time at once. Clients query in bursts,
/// after a deployment all at the same moment.
const BURST: Duration = Duration::from_secs(1);
/// The maximum of `--dns-rate`: one response a nanosecond.
pub const RATE_MAX: u32 = 1_000_000_000;
/// The prefix lengths of an IPv4 and of an IPv6 network.
const V4_BITS: u32 = 24;
const V6_BITS: u32 = 56;

/// The settings of the rate limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateSettings {
    /// Responses per second for each network. 0, the default, is unlimited: a resolver of a busy cluster and a thousand
    /// clients behind one address look the same as an attack, and a server of such clients only has no victim to
    /// protect.
    pub per_second: u32,
    /// The networks without a limit. By default those that cannot be the victim of a stranger:
    /// [`Network::private_ranges`].
    pub exempt: Vec<Network>,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self { per_second: 0, exempt: Network::private_ranges() }
    }
}

/// Eight cells in one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct CacheLine([AtomicU64; WAYS]);

/// The table of token buckets. All threads share it.
#[derive(Debug)]
pub struct RateLimiter {
    lines: Box<[CacheLine]>,
    /// The tokens that one response uses and the capacity of a bucket, in nanoseconds.
    cost: u64,
    burst: u64,
    exempt: Vec<Network>,
    /// Secret, so that a client cannot determine which networks share a line.
    seed: u64,
    began: Instant,
}

impl RateLimiter {
    /// Creates a table in which every network has a full bucket; `None` if the rate is unlimited.
    pub fn new(settings: &RateSettings) -> Option<Self> {
        let burst = u64::try_from(BURST.as_nanos()).unwrap_or(TIME);
        let per_second = settings.per_second.min(RATE_MAX);
        Some(Self {
            lines: (0..CELLS / WAYS).map(|_| CacheLine::default()).collect(),
            cost: burst.checked_div(per_second.into())?,
            burst,
            exempt: settings.exempt.clone(),
            seed: RandomState::new().hash_one(0),
            began: Instant::now(),
        })
    }

    /// The current time for [`Self::admits`], read once for a batch of questions.
    pub fn now(&self) -> u64 {
        // Never 0, which is the time of an unused cell.
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(TIME).wrapping_add(1)
    }

    /// Returns whether this client's network gets one more response, and counts it.
    pub fn admits(&self, client: IpAddr, now: u64) -> bool {
        if self.exempt.iter().any(|network| network.contains(client)) {
            return true;
        }
        let hash = self.hash(client);
        let at = usize::try_from(hash).unwrap_or(0) & (self.lines.len() - 1);
        let tag = hash >> TIME_BITS;
        let cells = &self.lines[at].0;
        // A few attempts: each one fails if another thread answered the same network meanwhile.
        for _ in 0..WAYS {
            let (cell, seen, deficit) = self.find(cells, tag, now);
            if deficit + self.cost > self.burst {
                return false;
            }
            let next = tag << TIME_BITS | (now + deficit + self.cost) & TIME;
            if cell.compare_exchange_weak(seen, next, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
        // Threads that contend this much for a network answer it often enough.
        false
    }

    /// Returns the cell of a network, its value, and its bucket's deficit. A network without a cell gets the one with
    /// the smallest deficit.
    fn find<'c>(&self, cells: &'c [AtomicU64; WAYS], tag: u64, now: u64) -> (&'c AtomicU64, u64, u64) {
        let mut emptiest = (&cells[0], 0, u64::MAX);
        for cell in cells {
            let seen = cell.load(Relaxed);
            let deficit = self.deficit(seen, now);
            if seen >> TIME_BITS == tag {
                return (cell, seen, deficit);
            }
            if deficit < emptiest.2 {
                emptiest = (cell, seen, deficit);
            }
        }
        (emptiest.0, emptiest.1, 0)
    }

    /// The deficit of a bucket. A time further ahead than the capacity of a bucket has passed before the clock wrapped.
    fn deficit(&self, cell: u64, now: u64) -> u64 {
        let ahead = (cell & TIME).wrapping_sub(now) & TIME;
        if ahead <= self.burst { ahead } else { 0 }
    }

    /// Hashes the network's address with the seed: the halves of one product, as in wyhash.
    fn hash(&self, client: IpAddr) -> u64 {
        let network = match client.to_canonical() {
            // No IPv6 network has this number: addresses with a first byte of 0 are not assigned.
            IpAddr::V4(v4) => u64::from(u32::from(v4) >> (32 - V4_BITS)),
            IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> (128 - V6_BITS)).unwrap_or(0) | 1 << V6_BITS,
        };
        let once = fold(network ^ self.seed, GOLDEN);
        fold(once ^ self.seed.rotate_left(32), GOLDEN)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(product >> 64).unwrap_or(0);
    low ^ high
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::thread;

    const SECOND: u64 = 1_000_000_000;

    fn rate(per_second: u32) -> RateLimiter {
        RateLimiter::new(&RateSettings { per_second, exempt: Vec::new() }).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The number of questions that are admitted at the same moment.
    fn admitted(rate: &RateLimiter, client: IpAddr, questions: usize, now: u64) -> usize {
        (0..questions).filter(|_| rate.admits(client, now)).count()
    }

    #[test]
    fn bucket_admits_one_second_and_refills() {
        let rate = rate(100);
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 1000, 1), 100);
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 1000, 1 + SECOND / 10), 10);
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 1000, 1 + 10 * SECOND), 100, "at most the capacity");
        // A rejected question uses no tokens: a client that goes on sending is answered as often as one that pauses.
        let steps = (1..=1000).map(|ms| admitted(&rate, ip("198.51.100.1"), 5, 20 * SECOND + ms * SECOND / 1000));
        assert!((199..=201).contains(&steps.sum::<usize>()), "a full bucket, and its refill of a second");
    }

    #[test]
    fn networks_share_one_bucket_each() {
        let rate = rate(10);
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 10, 1), 10);
        assert!(!rate.admits(ip("192.0.2.255"), 1) && !rate.admits(ip("::ffff:192.0.2.7"), 1));
        assert!(rate.admits(ip("192.0.3.1"), 1) && rate.admits(ip("192.1.2.1"), 1));
        assert_eq!(admitted(&rate, ip("2001:db8:0:aa00::1"), 99, 1), 10);
        assert!(!rate.admits(ip("2001:db8:0:aaff::9"), 1) && rate.admits(ip("2001:db8:0:ab00::1"), 1));
    }

    #[test]
    fn exempt_networks_are_not_limited() {
        assert!(RateLimiter::new(&RateSettings::default()).is_none());
        let rate = RateLimiter::new(&RateSettings { per_second: 1, ..RateSettings::default() }).unwrap();
        for near in ["127.0.0.1", "10.1.1.1", "::1", "fd00::1"] {
            assert_eq!(admitted(&rate, ip(near), 50, 1), 50, "{near}");
        }
        assert_eq!(admitted(&rate, ip("8.8.8.8"), 50, 1), 1);
    }

    #[test]
    fn cell_clock_wraps_correctly() {
        let rate = rate(10);
        let late = TIME - SECOND / 2;
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 50, late), 10);
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 50, late + SECOND), 10);
        assert_eq!(admitted(&rate, ip("192.0.2.1"), 50, late + 2 * SECOND), 10);
        assert!(rate.now() < rate.now() + 1 && rate.now() > 0);
    }

    #[test]
    fn flood_does_not_evict_limited_networks() {
        let rate = rate(100);
        let hot = ip("192.0.2.1");
        let mut admitted_total = admitted(&rate, hot, 1000, 1);
        for n in 0..400_000u32 {
            let now = 1 + u64::from(n) * SECOND / 1_000_000;
            assert!(rate.admits(Ipv4Addr::from(n << 8 | 1 << 31).into(), now) || n > 1000);
            admitted_total += usize::from(rate.admits(hot, now));
        }
        assert!((130..=180).contains(&admitted_total), "{admitted_total}: 100 at once and 40 in 0.4 s");
        assert!(rate.admits(Ipv6Addr::LOCALHOST.into(), 1));
    }

    #[test]
    fn threads_share_one_bucket() {
        let rate = rate(1000);
        let admitted_total: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| admitted(&rate, ip("192.0.2.1"), 20_000, 1))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted_total, 1000);
    }

    #[test]
    fn highest_rate_admits() {
        assert_eq!(admitted(&rate(u32::MAX), ip("192.0.2.1"), 5000, 1), 5000);
    }
}
