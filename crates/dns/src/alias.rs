//! A, AAAA and TXT of a name: the data of its entries, and aliases (entries whose host is a name) followed within the
//! zones.
//!
//! Owns: chains of aliases, their limits, and the choice between data, alias and nothing. Does not own: names outside
//! the zones. A chain ends there with the CNAME that leads out, noted as a query for other servers
//! ([`super::upstream`]). Where no server may be queried, the resolver continues (RFC 1034 section 4.3.2 step 3a).
//!
//! The entries of one name resolve as follows. An alias leads to a [`Resolution`] of its own:
//!
//! | data at the name | aliases that lead to records | aliases out of the zones | result under the owner |
//! |---|---|---|---|
//! | some | any | any | `Found`: the data, and the data behind the aliases as the owner's own |
//! | none | some | any | `Found`: a CNAME to the first, then the records behind all of them |
//! | none | none | some | `OutOfZones`: a CNAME to the first |
//! | none | none | none | `NotFound` |

use super::search::{Found, Hit, Search};
use super::sections::{SectionRecords, rotate};
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

/// The type of the records at the end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupType {
    A,
    Aaaa,
    Txt,
}

/// The contribution of an entry to a lookup.
enum Contribution<'s> {
    Data(RData),
    Alias(&'s Name),
    Nothing,
}

impl LookupType {
    fn rtype(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Txt => RecordType::TXT,
        }
    }

    fn contribution(self, entry: &Entry) -> Contribution<'_> {
        match (&entry.host, self) {
            // Also of an entry with a host, whose text CoreDNS drops: external-dns writes such entries.
            (_, Self::Txt) if !entry.text.is_empty() => Contribution::Data(text(&entry.text)),
            (Some(Host::Addr(addr @ IpAddr::V4(_))), Self::A)
            | (Some(Host::Addr(addr @ IpAddr::V6(_))), Self::Aaaa) => Contribution::Data(address(*addr)),
            (Some(Host::Name(host)), _) => Contribution::Alias(host),
            _ => Contribution::Nothing,
        }
    }
}

/// The record data of an address.
pub(super) fn address(addr: IpAddr) -> RData {
    match addr {
        IpAddr::V4(addr) => RData::A(A(addr)),
        IpAddr::V6(addr) => RData::AAAA(AAAA(addr)),
    }
}

/// The record data of a text. A length that is a multiple of 255 gets no empty string at the end, unlike in both
/// originals.
fn text(text: &str) -> RData {
    RData::TXT(TXT::from_bytes(text.as_bytes().chunks(TXT_STRING_MAX).collect()))
}

fn cname(alias: &Name) -> RData {
    RData::CNAME(CNAME(wire_name(alias)))
}

fn wire_name(name: &Name) -> WireName {
    wire::from_labels(name.labels().iter())
}

/// The answer to A, AAAA or TXT at a name with these entries.
pub(super) fn answers<'s>(
    search: &Search<'s>,
    owner: &WireName,
    name: &'s Name,
    hits: &[Hit<'s>],
    lookup: LookupType,
) -> SectionRecords {
    match AliasWalk::new(search, lookup, name).resolve(owner, hits) {
        Resolution::Found(records) | Resolution::OutOfZones(records) => records,
        Resolution::NotFound => SectionRecords::default(),
    }
}

/// Adds the addresses of both families of an SRV, MX or NS target that is a name. `CoreDNS` adds no AAAA here; a client
/// with IPv6 then needs one more query for each target.
pub(super) fn add_target_addresses<'s>(search: &Search<'s>, target: &'s Name, additional: &mut SectionRecords) {
    let owner = wire_name(target);
    if search.settings.zone_of(target).is_none() {
        for lookup in [LookupType::A, LookupType::Aaaa] {
            additional.need_upstream(&owner, lookup.rtype());
        }
        return;
    }
    let Found::Entries(hits) = search.find(target) else { return };
    for lookup in [LookupType::A, LookupType::Aaaa] {
        match AliasWalk::new(search, lookup, target).resolve(&owner, &hits) {
            Resolution::Found(records) => additional.append(records),
            // A CNAME alone is of no use here: the chain needs the upstream's records behind it.
            Resolution::OutOfZones(records) if search.settings.forward.is_enabled() => additional.append(records),
            Resolution::OutOfZones(_) | Resolution::NotFound => {}
        }
    }
}

/// The records that the entries of a name resolve to.
enum Resolution {
    /// Data, perhaps behind a CNAME.
    Found(SectionRecords),
    /// A CNAME, whose chain ends at a name in none of the zones.
    OutOfZones(SectionRecords),
    NotFound,
}

/// The walk along the aliases of one lookup.
struct AliasWalk<'w, 's> {
    search: &'w Search<'s>,
    lookup: LookupType,
    /// The names on the way to the current one. An alias back to one of them is a loop.
    visited: Vec<&'s Name>,
}

impl<'w, 's> AliasWalk<'w, 's> {
    fn new(search: &'w Search<'s>, lookup: LookupType, name: &'s Name) -> Self {
        Self { search, lookup, visited: vec![name] }
    }

    /// Resolves the entries of a name: all of them, or those of the best priority that resolves to anything.
    fn resolve(&mut self, owner: &WireName, hits: &[Hit<'s>]) -> Resolution {
        if self.search.settings.addresses == AddressSelection::All || self.lookup == LookupType::Txt {
            return self.resolve_tier(owner, hits);
        }
        let mut hits = hits.to_vec();
        hits.sort_by_key(Hit::priority);
        let mut tiers = hits.chunk_by(|a, b| a.priority() == b.priority()).map(|tier| self.resolve_tier(owner, tier));
        tiers.find(|resolution| !matches!(resolution, Resolution::NotFound)).unwrap_or(Resolution::NotFound)
    }

    /// Resolves entries regardless of their priority, by the table in the module's header.
    fn resolve_tier(&mut self, owner: &WireName, hits: &[Hit<'s>]) -> Resolution {
        let (mut data, mut aliases) = (Vec::new(), Vec::new());
        for hit in hits {
            let ttl = self.search.settings.ttl_of(hit.stored);
            match self.lookup.contribution(&hit.stored.entry) {
                Contribution::Data(rdata) => data.push((rdata, ttl)),
                Contribution::Alias(host) => aliases.push((host, ttl)),
                Contribution::Nothing => {}
            }
        }
        rotate(&mut data, self.search.rotation);
        rotate(&mut aliases, self.search.rotation);
        if data.is_empty() { self.chain(owner, aliases) } else { self.flat(owner, data, aliases) }
    }

    /// The data of a name, and the data behind its aliases as its own. A CNAME must not exist together with other data
    /// (RFC 1034 section 3.6.2); resolvers that see one drop the rest.
    fn flat(&mut self, owner: &WireName, data: Vec<(RData, u32)>, aliases: Vec<(&'s Name, u32)>) -> Resolution {
        let mut records = SectionRecords::default();
        for (rdata, ttl) in data {
            records.push(owner, ttl, rdata);
        }
        for (alias, _) in aliases {
            let Resolution::Found(target) = self.follow(alias) else { continue };
            for record in target.records().iter().filter(|record| !matches!(record.data, RData::CNAME(_))) {
                records.push(owner, record.ttl, record.data.clone());
            }
        }
        Resolution::Found(records)
    }

    /// A CNAME to the first alias of this rotation, and the records behind all aliases (`SkyDNS`): a second CNAME must
    /// not exist at the owner either. An alias out of the zones counts only if no alias leads to records.
    fn chain(&mut self, owner: &WireName, aliases: Vec<(&'s Name, u32)>) -> Resolution {
        let (mut found, mut out_of_zones) = (None::<SectionRecords>, None);
        for (alias, ttl) in aliases {
            match self.follow(alias) {
                Resolution::Found(target) => {
                    found.get_or_insert_with(|| with_cname(owner, alias, ttl)).append(target);
                }
                Resolution::OutOfZones(target) => out_of_zones = out_of_zones.or(Some((alias, ttl, target))),
                Resolution::NotFound => {}
            }
        }
        if let Some(records) = found {
            return Resolution::Found(records);
        }
        let Some((alias, ttl, target)) = out_of_zones else { return Resolution::NotFound };
        let mut records = with_cname(owner, alias, ttl);
        records.append(target);
        Resolution::OutOfZones(records)
    }

    /// Resolves the name that an alias leads to. A loop and a chain beyond [`CHAIN_MAX`] are not followed.
    fn follow(&mut self, alias: &'s Name) -> Resolution {
        if self.search.settings.zone_of(alias).is_none() {
            // The root as a host means "not available" (RFC 2782); as an alias it leads nowhere.
            if alias.labels().is_empty() {
                return Resolution::NotFound;
            }
            let mut records = SectionRecords::default();
            records.need_upstream(&wire_name(alias), self.lookup.rtype());
            return Resolution::OutOfZones(records);
        }
        if self.visited.len() > CHAIN_MAX || self.visited.contains(&alias) {
            return Resolution::NotFound;
        }
        let Found::Entries(hits) = self.search.find(alias) else { return Resolution::NotFound };
        self.visited.push(alias);
        let resolution = self.resolve(&wire_name(alias), &hits);
        self.visited.pop();
        resolution
    }
}

fn with_cname(owner: &WireName, alias: &Name, ttl: u32) -> SectionRecords {
    let mut records = SectionRecords::default();
    records.push(owner, ttl, cname(alias));
    records
}
