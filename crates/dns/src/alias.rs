//! From a name to its addresses or texts: entries whose host is a name, followed within the zones.
//!
//! Owns: A, AAAA and TXT, chains of aliases, their bounds. Does not own: names outside the zones; a chain ends
//! there with the CNAME that leads out, noted as a question for other servers ([`super::outside`]). Where none
//! may be asked, the resolver goes on by itself (RFC 1034 section 4.3.2 step 3a).

use super::rrset::{Set, priority, rotate};
use super::search::{Found, Hit, Search};
use super::settings::Addresses;
use super::wire;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name as WireName, RData, RecordType};
use skyhound_model::{Entry, Host, Name};
use std::net::IpAddr;

/// The longest chain of aliases (`CoreDNS` since 1.12.1; `SkyDNS` stops at 8, resolvers give up near 11).
const CHAIN_MAX: usize = 11;
/// The longest string of a TXT record (RFC 1035 section 3.3).
const TXT_STRING_MAX: usize = 255;

/// What is to be found at the end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    V4,
    V6,
    Text,
}

/// The record of an address.
pub(super) fn address(addr: IpAddr) -> RData {
    match addr {
        IpAddr::V4(addr) => RData::A(A(addr)),
        IpAddr::V6(addr) => RData::AAAA(AAAA(addr)),
    }
}

/// What an entry gives.
enum Given<'s> {
    Data(RData),
    Alias(&'s Name),
    Nothing,
}

impl Want {
    /// The type to ask for.
    fn rtype(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
            Self::Text => RecordType::TXT,
        }
    }

    fn of(self, entry: &Entry) -> Given<'_> {
        match (&entry.host, self) {
            // Also beside a host, where CoreDNS drops it: external-dns writes such entries.
            (_, Self::Text) if !entry.text.is_empty() => Given::Data(text(&entry.text)),
            (Some(Host::Addr(addr @ IpAddr::V4(_))), Self::V4) | (Some(Host::Addr(addr @ IpAddr::V6(_))), Self::V6) => {
                Given::Data(address(*addr))
            }
            (Some(Host::Name(host)), _) => Given::Alias(host),
            _ => Given::Nothing,
        }
    }
}

/// No empty string behind a text whose length is a multiple of 255, which both originals add.
fn text(text: &str) -> RData {
    RData::TXT(TXT::from_bytes(text.as_bytes().chunks(TXT_STRING_MAX).collect()))
}

/// Where a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Found,
    /// At a name in none of the zones.
    Outside,
    Nowhere,
}

/// The answer to A, AAAA or TXT at a name with these entries.
pub(super) fn answers<'s>(search: &Search<'s>, owner: &WireName, name: &'s Name, hits: &[Hit<'s>], want: Want) -> Set {
    let mut set = Set::default();
    follow(search, owner, hits, want, &mut vec![name], &mut set);
    set
}

/// The addresses of both families behind an SRV, MX or NS target that is a name. `CoreDNS` adds no AAAA here;
/// a client with IPv6 then has to ask once more for each target.
pub(super) fn of_target<'s>(search: &Search<'s>, target: &'s Name, additional: &mut Set) {
    let owner = wire::name(target.labels().iter());
    if search.settings.zone_of(target).is_none() {
        for want in [Want::V4, Want::V6] {
            additional.ask(&owner, want.rtype());
        }
        return;
    }
    let Found::Entries(hits) = search.find(target) else { return };
    for want in [Want::V4, Want::V6] {
        let mut set = Set::default();
        let end = follow(search, &owner, &hits, want, &mut vec![target], &mut set);
        // A chain that leaves the zones is of use here only with what is behind it.
        if end == End::Found || (end == End::Outside && search.settings.forward.asks()) {
            additional.append(set);
        }
    }
}

/// Adds what `hits` give under `owner`: all of them, or those of the best priority that gives any.
fn follow<'s>(
    search: &Search<'s>,
    owner: &WireName,
    hits: &[Hit<'s>],
    want: Want,
    trail: &mut Vec<&'s Name>,
    set: &mut Set,
) -> End {
    if search.settings.addresses == Addresses::All || want == Want::Text {
        return follow_all(search, owner, hits, want, trail, set);
    }
    let of = |hit: &Hit<'s>| priority(&hit.stored.entry);
    let mut hits = hits.to_vec();
    hits.sort_by_key(of);
    let mut tiers = hits.chunk_by(|a, b| of(a) == of(b)).map(|tier| follow_all(search, owner, tier, want, trail, set));
    // A tier that leads nowhere adds nothing.
    tiers.find(|end| *end != End::Nowhere).unwrap_or(End::Nowhere)
}

/// Adds what `hits` give under `owner`, or the alias that leads to some. `trail` is the names on the way here:
/// an alias back to one of them is a loop and is passed over, as is one beyond [`CHAIN_MAX`].
fn follow_all<'s>(
    search: &Search<'s>,
    owner: &WireName,
    hits: &[Hit<'s>],
    want: Want,
    trail: &mut Vec<&'s Name>,
    set: &mut Set,
) -> End {
    let mut own = Vec::new();
    let mut aliases = Vec::new();
    for hit in hits {
        let ttl = search.settings.ttl_of(hit.stored);
        match want.of(&hit.stored.entry) {
            Given::Data(data) => own.push((data, ttl)),
            Given::Alias(host) => aliases.push((host, ttl)),
            Given::Nothing => {}
        }
    }
    rotate(&mut own, search.rotation);
    rotate(&mut aliases, search.rotation);
    let has_own = !own.is_empty();
    for (data, ttl) in own {
        set.push(owner, ttl, data);
    }
    let mut outside = None;
    let mut named = false;
    for (alias, ttl) in aliases {
        let (end, found) = step(search, alias, want, trail);
        match end {
            // No CNAME may stand beside other data (RFC 1034 section 3.6.2), and resolvers that see one
            // drop the rest: what the alias leads to is given as the owner's own.
            End::Found if has_own => flatten(owner, &found, set),
            // Nor beside another CNAME: the first alias of this rotation is named, the addresses of the
            // others come along (SkyDNS).
            End::Found => {
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
        _ if named || has_own => End::Found,
        Some((alias, ttl, found)) => {
            set.push(owner, ttl, cname(alias));
            set.append(found);
            End::Outside
        }
        None => End::Nowhere,
    }
}

/// What is behind one alias.
fn step<'s>(search: &Search<'s>, alias: &'s Name, want: Want, trail: &mut Vec<&'s Name>) -> (End, Set) {
    let mut found = Set::default();
    if search.settings.zone_of(alias).is_none() {
        // The root as a host says "not available" (RFC 2782); as an alias it leads nowhere.
        if alias.labels().is_empty() {
            return (End::Nowhere, found);
        }
        found.ask(&wire::name(alias.labels().iter()), want.rtype());
        return (End::Outside, found);
    }
    if trail.len() > CHAIN_MAX || trail.contains(&alias) {
        return (End::Nowhere, found);
    }
    let Found::Entries(hits) = search.find(alias) else { return (End::Nowhere, found) };
    trail.push(alias);
    let end = follow(search, &wire::name(alias.labels().iter()), &hits, want, trail, &mut found);
    trail.pop();
    (end, found)
}

fn cname(alias: &Name) -> RData {
    RData::CNAME(CNAME(wire::name(alias.labels().iter())))
}

/// What is at the end of the chain `found`, as the owner's own.
fn flatten(owner: &WireName, found: &Set, set: &mut Set) {
    for record in found.records() {
        if !matches!(record.data, RData::CNAME(_)) {
            set.push(owner, record.ttl, record.data.clone());
        }
    }
}
