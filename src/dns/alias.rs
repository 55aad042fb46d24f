//! From a name to its addresses: entries whose host is a name, followed within the zones.
//!
//! Owns: A and AAAA, chains of aliases, their bounds. Does not own: names outside the zones; a chain ends
//! there with the CNAME that leads out, and the resolver goes on by itself (RFC 1034 section 4.3.2 step 3a).

use super::rrset::{Set, rotate};
use super::search::{Found, Hit, Search};
use super::wire;
use crate::model::{Host, Name};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name as WireName, RData};
use std::net::IpAddr;

/// The longest chain of aliases (`SkyDNS`; `CoreDNS` since 1.12.1 goes to 11, resolvers give up near that).
const CHAIN_MAX: usize = 8;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The record of an address.
    pub(super) fn record(addr: IpAddr) -> RData {
        match addr {
            IpAddr::V4(addr) => RData::A(A(addr)),
            IpAddr::V6(addr) => RData::AAAA(AAAA(addr)),
        }
    }

    fn has(self, addr: IpAddr) -> bool {
        addr.is_ipv4() == (self == Self::V4)
    }
}

/// Where a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Addresses,
    /// At a name in none of the zones.
    Outside,
    Nowhere,
}

/// The answer to A or AAAA at a name with these entries.
pub(super) fn addresses<'s>(
    search: &Search<'s>,
    owner: &WireName,
    name: &'s Name,
    hits: &[Hit<'s>],
    family: Family,
) -> Set {
    let mut set = Set::default();
    follow(search, owner, hits, family, &mut vec![name], &mut set);
    set
}

/// The addresses of both families behind an SRV or NS target that is a name. `CoreDNS` adds no AAAA here; a
/// client with IPv6 then has to ask once more for each target.
pub(super) fn of_target<'s>(search: &Search<'s>, target: &'s Name, additional: &mut Set) {
    if search.settings.zone_of(target).is_none() {
        return;
    }
    let Found::Entries(hits) = search.find(target) else { return };
    let owner = wire::name(target.labels().iter());
    for family in [Family::V4, Family::V6] {
        let mut set = Set::default();
        if follow(search, &owner, &hits, family, &mut vec![target], &mut set) == End::Addresses {
            additional.append(set);
        }
    }
}

/// Adds the addresses of `hits` under `owner`, or the alias that leads to some. `trail` is the names on the
/// way here: an alias back to one of them is a loop and is passed over, as is one beyond [`CHAIN_MAX`].
fn follow<'s>(
    search: &Search<'s>,
    owner: &WireName,
    hits: &[Hit<'s>],
    family: Family,
    trail: &mut Vec<&'s Name>,
    set: &mut Set,
) -> End {
    let mut addresses = Vec::new();
    let mut aliases = Vec::new();
    for hit in hits {
        let ttl = search.settings.ttl_of(hit.stored);
        match &hit.stored.entry.host {
            Some(Host::Addr(addr)) if family.has(*addr) => addresses.push((*addr, ttl)),
            Some(Host::Name(host)) => aliases.push((host, ttl)),
            _ => {}
        }
    }
    rotate(&mut addresses, search.rotation);
    rotate(&mut aliases, search.rotation);
    for (addr, ttl) in &addresses {
        set.push(owner, *ttl, Family::record(*addr));
    }
    let mut outside = None;
    let mut named = false;
    for (alias, ttl) in aliases {
        let (end, found) = step(search, alias, family, trail);
        match end {
            // No CNAME may stand beside an address (RFC 1034 section 3.6.2), and resolvers that see one
            // drop the rest: the alias's addresses are given as the owner's own.
            End::Addresses if !addresses.is_empty() => flatten(owner, &found, set),
            // Nor beside another CNAME: the first alias of this rotation is named, the addresses of the
            // others come along (SkyDNS).
            End::Addresses => {
                if !named {
                    set.push(owner, ttl, cname(alias));
                    named = true;
                }
                set.append(found);
            }
            End::Outside => outside = outside.or(Some((alias, ttl, found))),
            End::Nowhere => {}
        }
    }
    match outside {
        _ if named || !addresses.is_empty() => End::Addresses,
        Some((alias, ttl, found)) => {
            set.push(owner, ttl, cname(alias));
            set.append(found);
            End::Outside
        }
        None => End::Nowhere,
    }
}

/// What is behind one alias.
fn step<'s>(search: &Search<'s>, alias: &'s Name, family: Family, trail: &mut Vec<&'s Name>) -> (End, Set) {
    let mut found = Set::default();
    if search.settings.zone_of(alias).is_none() {
        // The root as a host says "not available" (RFC 2782); as an alias it leads nowhere.
        let end = if alias.labels().is_empty() { End::Nowhere } else { End::Outside };
        return (end, found);
    }
    if trail.len() > CHAIN_MAX || trail.contains(&alias) {
        return (End::Nowhere, found);
    }
    let Found::Entries(hits) = search.find(alias) else { return (End::Nowhere, found) };
    trail.push(alias);
    let end = follow(search, &wire::name(alias.labels().iter()), &hits, family, trail, &mut found);
    trail.pop();
    (end, found)
}

fn cname(alias: &Name) -> RData {
    RData::CNAME(CNAME(wire::name(alias.labels().iter())))
}

/// The addresses among `found`, as the owner's own.
fn flatten(owner: &WireName, found: &Set, set: &mut Set) {
    for record in found.records() {
        if matches!(record.data, RData::A(_) | RData::AAAA(_)) {
            set.push(owner, record.ttl, record.data.clone());
        }
    }
}
