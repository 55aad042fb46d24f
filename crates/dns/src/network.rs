//! Networks of clients, in the settings that allow or deny them something.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An address prefix. IPv4 is stored within `::ffff:0:0/96`, so that a client of a dual-stack socket matches in either
/// form of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    bits: u32,
}

/// The length that the mapping to IPv6 adds to an IPv4 prefix.
const MAPPED: u32 = 96;

impl Network {
    /// Loopback, private (RFC 1918, RFC 6598), link-local and unique local networks: their clients are within the
    /// operator's own network.
    pub fn private_ranges() -> Vec<Self> {
        const PRIVATE_RANGES: [&str; 8] = [
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ];
        PRIVATE_RANGES.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Returns whether an address is in the network.
    pub fn contains(self, addr: IpAddr) -> bool {
        to_bits(addr) & mask(self.bits) == self.base
    }
}

fn to_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self { base: 0, bits: 0 });
        }
        let invalid = || format!("{text:?} is neither a network such as 10.0.0.0/8, nor an address, nor \"any\"");
        let (addr, bits) = text.split_once('/').map_or((text, None), |(addr, bits)| (addr, Some(bits)));
        let addr: IpAddr = addr.parse().map_err(|_| invalid())?;
        let (bits_max, offset) = if addr.is_ipv4() { (32, MAPPED) } else { (128, 0) };
        let bits: u32 = bits.map_or(Ok(bits_max), str::parse).map_err(|_| invalid())?;
        if bits > bits_max {
            return Err(invalid());
        }
        let bits = bits + offset;
        Ok(Self { base: to_bits(addr) & mask(bits), bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Ipv6Addr::from_bits(self.base).to_canonical() {
            IpAddr::V4(addr) if self.bits >= MAPPED => write!(f, "{addr}/{}", self.bits - MAPPED),
            _ => write!(f, "{}/{}", Ipv6Addr::from_bits(self.base), self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_mapped_addresses() {
        let contains = |net: &str, addr: &str| net.parse::<Network>().unwrap().contains(addr.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1") && contains("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!contains("10.0.0.0/8", "11.0.0.1") && !contains("10.0.0.0/8", "::a00:1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        assert!(
            contains("any", "192.0.2.7") && contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "2001:db8::1")
        );
        assert!(contains("fc00::/7", "fd00::1") && !contains("fc00::/7", "2001:db8::1"));
        assert_eq!(Network::private_ranges().len(), 8);
    }

    #[test]
    fn networks_round_trip_as_text() {
        for text in ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1/32", "::/0"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in ["10.0.0.0/33", "10/8", "all", "10.0.0.0/", "::1/129"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
