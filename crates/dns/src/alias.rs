//! From a name to its addresses or texts: entries whose host is a name, followed within the zones.
//!
//! Owns: A, AAAA and TXT, chains of aliases, their bounds. Does not own: names outside the zones; a chain ends
//! there with the CNAME that leads out, noted as a question for other servers ([`super::upstream`]). Where none
//! may be asked, the resolver goes on by itself (RFC 1034 section 4.3.2 step 3a).

use super::rrset::{SectionRecords, priority, rotate};
use super::search::{Found, Hit, Search};
use super::settings::AddressSelection;
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
pub(super) enum LookupType {
    A,
    Aaaa,
    Txt,
}

/// The record of an address.
pub(super) fn address(addr: IpAddr) -> RData {
    match addr {
        IpAddr::V4(addr) => RData::A(A(addr)),
        IpAddr::V6(addr) => RData::AAAA(AAAA(addr)),
    }
}

/// What an entry gives.
enum Contribution<'s> {
    Data(RData),
    Alias(&'s Name),
    Nothing,
}

impl LookupType {
    /// The type to ask for.
    fn rtype(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Txt => RecordType::TXT,
        }
    }

    fn of(self, entry: &Entry) -> Contribution<'_> {
        match (&entry.host, self) {
            // Also beside a host, where CoreDNS drops it: external-dns writes such entries.
            (_, Self::Txt) if !entry.text.is_empty() => Contribution::Data(text(&entry.text)),
            (Some(Host::Addr(addr @ IpAddr::V4(_))), Self::A)
            | (Some(Host::Addr(addr @ IpAddr::V6(_))), Self::Aaaa) => Contribution::Data(address(*addr)),
            (Some(Host::Name(host)), _) => Contribution::Alias(host),
            _ => Contribution::Nothing,
        }
    }
}

/// No empty string behind a text whose length is a multiple of 255, which both originals add.
fn text(text: &str) -> RData {
    RData::TXT(TXT::from_bytes(text.as_bytes().chunks(TXT_STRING_MAX).collect()))
}

/// Where a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChainEnd {
    Found,
    /// At a name in none of the zones.
    OutOfZones,
    NotFound,
}

/// The answer to A, AAAA or TXT at a name with these entries.
pub(super) fn answers<'s>(
    search: &Search<'s>,
    owner: &WireName,
    name: &'s Name,
    hits: &[Hit<'s>],
    lookup: LookupType,
) -> SectionRecords {
    let mut set = SectionRecords::default();
    follow(search, owner, hits, lookup, &mut vec![name], &mut set);
    set
}

/// The addresses of both families behind an SRV, MX or NS target that is a name. `CoreDNS` adds no AAAA here;
/// a client with IPv6 then has to ask once more for each target.
pub(super) fn add_target_addresses<'s>(search: &Search<'s>, target: &'s Name, additional: &mut SectionRecords) {
    let owner = wire::from_labels(target.labels().iter());
    if search.settings.zone_of(target).is_none() {
        for lookup in [LookupType::A, LookupType::Aaaa] {
            additional.need_upstream(&owner, lookup.rtype());
        }
        return;
    }
    let Found::Entries(hits) = search.find(target) else { return };
    for lookup in [LookupType::A, LookupType::Aaaa] {
        let mut set = SectionRecords::default();
        let end = follow(search, &owner, &hits, lookup, &mut vec![target], &mut set);
        // A chain that leaves the zones is of use here only with what is behind it.
        if end == ChainEnd::Found || (end == ChainEnd::OutOfZones && search.settings.forward.is_enabled()) {
            additional.append(set);
        }
    }
}

/// Adds what `hits` give under `owner`: all of them, or those of the best priority that gives any.
fn follow<'s>(
    search: &Search<'s>,
    owner: &WireName,
    hits: &[Hit<'s>],
    lookup: LookupType,
    visited: &mut Vec<&'s Name>,
    set: &mut SectionRecords,
) -> ChainEnd {
    if search.settings.addresses == AddressSelection::All || lookup == LookupType::Txt {
        return follow_all(search, owner, hits, lookup, visited, set);
    }
    let of = |hit: &Hit<'s>| priority(&hit.stored.entry);
    let mut hits = hits.to_vec();
    hits.sort_by_key(of);
    let mut tiers =
        hits.chunk_by(|a, b| of(a) == of(b)).map(|tier| follow_all(search, owner, tier, lookup, visited, set));
    // A tier that leads nowhere adds nothing.
    tiers.find(|end| *end != ChainEnd::NotFound).unwrap_or(ChainEnd::NotFound)
}

/// Adds what `hits` give under `owner`, or the alias that leads to some. `visited` is the names on the way here:
/// an alias back to one of them is a loop and is passed over, as is one beyond [`CHAIN_MAX`].
fn follow_all<'s>(
    search: &Search<'s>,
    owner: &WireName,
    hits: &[Hit<'s>],
    lookup: LookupType,
    visited: &mut Vec<&'s Name>,
    set: &mut SectionRecords,
) -> ChainEnd {
    let mut own = Vec::new();
    let mut aliases = Vec::new();
    for hit in hits {
        let ttl = search.settings.ttl_of(hit.stored);
        match lookup.of(&hit.stored.entry) {
            Contribution::Data(data) => own.push((data, ttl)),
            Contribution::Alias(host) => aliases.push((host, ttl)),
            Contribution::Nothing => {}
        }
    }
    rotate(&mut own, search.rotation);
    rotate(&mut aliases, search.rotation);
    let has_own = !own.is_empty();
    for (data, ttl) in own {
        set.push(owner, ttl, data);
    }
    let mut out_of_zones = None;
    let mut has_cname = false;
    for (alias, ttl) in aliases {
        let (end, found) = follow_alias(search, alias, lookup, visited);
        match end {
            // No CNAME may stand beside other data (RFC 1034 section 3.6.2), and resolvers that see one
            // drop the rest: what the alias leads to is given as the owner's own.
            ChainEnd::Found if has_own => flatten(owner, &found, set),
            // Nor beside another CNAME: the first alias of this rotation is named, the addresses of the
            // others come along (SkyDNS).
            ChainEnd::Found => {
                if !has_cname {
                    set.push(owner, ttl, cname(alias));
                    has_cname = true;
                }
                set.append(found);
            }
            ChainEnd::OutOfZones => out_of_zones = out_of_zones.or(Some((alias, ttl, found))),
            ChainEnd::NotFound => {}
        }
    }
    match out_of_zones {
        _ if has_cname || has_own => ChainEnd::Found,
        Some((alias, ttl, found)) => {
            set.push(owner, ttl, cname(alias));
            set.append(found);
            ChainEnd::OutOfZones
        }
        None => ChainEnd::NotFound,
    }
}

/// What is behind one alias.
fn follow_alias<'s>(
    search: &Search<'s>,
    alias: &'s Name,
    lookup: LookupType,
    visited: &mut Vec<&'s Name>,
) -> (ChainEnd, SectionRecords) {
    let mut found = SectionRecords::default();
    if search.settings.zone_of(alias).is_none() {
        // The root as a host says "not available" (RFC 2782); as an alias it leads nowhere.
        if alias.labels().is_empty() {
            return (ChainEnd::NotFound, found);
        }
        found.need_upstream(&wire::from_labels(alias.labels().iter()), lookup.rtype());
        return (ChainEnd::OutOfZones, found);
    }
    if visited.len() > CHAIN_MAX || visited.contains(&alias) {
        return (ChainEnd::NotFound, found);
    }
    let Found::Entries(hits) = search.find(alias) else { return (ChainEnd::NotFound, found) };
    visited.push(alias);
    let end = follow(search, &wire::from_labels(alias.labels().iter()), &hits, lookup, visited, &mut found);
    visited.pop();
    (end, found)
}

fn cname(alias: &Name) -> RData {
    RData::CNAME(CNAME(wire::from_labels(alias.labels().iter())))
}

/// What is at the end of the chain `found`, as the owner's own.
fn flatten(owner: &WireName, found: &SectionRecords, set: &mut SectionRecords) {
    for record in found.records() {
        if !matches!(record.data, RData::CNAME(_)) {
            set.push(owner, record.ttl, record.data.clone());
        }
    }
}
