//! Where the entries stand that answer a name: mostly at the name itself.
//!
//! Owns: `ns.dns` and `apex.dns` of the zone's own name, `local.dns`, the service that RFC 2782 writes as
//! `_foo._tcp`, the instances of a version (`v1.foo`), which names are there only for what is below them, and which
//! are addresses written backwards. Does not own: which entries those are ([`super::search`]).

use super::answer::Question;
use super::search::{Found, Search};
use super::settings::DnsSettings;
use hickory_proto::rr::RecordType;
use skyhound_core::catalog::Snapshot;
use skyhound_model::version::VersionLabel;
use skyhound_model::{Label, Name};
use std::borrow::Cow;

/// One or two places; the second counts when there is nothing at the first.
pub(super) struct LookupTargets<'q> {
    primary: Cow<'q, Name>,
    fallback: Option<Cow<'q, Name>>,
    /// Which versions count at the second.
    version: Option<VersionLabel>,
    /// Whether it is the zone's own name that was asked for.
    pub apex: bool,
    /// Whether the entries there are the zone's name servers.
    pub name_servers: bool,
}

impl<'q> LookupTargets<'q> {
    pub(super) fn new(settings: &'q DnsSettings, zone: &Name, question: &'q Question) -> Self {
        let queried = Cow::Borrowed(&question.tree_name);
        let apex = question.tree_name == *zone;
        let targets = Self { primary: queried.clone(), fallback: None, version: None, apex, name_servers: false };
        if !targets.apex {
            let primary = settings.local_of(zone, &question.tree_name).map_or(queried, Cow::Borrowed);
            let versioned_service = versioned_service(zone, question);
            let (version, fallback) = versioned_service
                .map_or((None, question.tree_name.srv_service()), |(v, service)| (Some(v), Some(service)));
            return Self { primary, fallback: fallback.map(Cow::Owned), version, ..targets };
        }
        let special_name = |word| special_name(zone, word).map(Cow::Owned);
        match question.qtype {
            RecordType::NS => match special_name(b"ns") {
                Some(primary) => Self { primary, name_servers: true, ..targets },
                None => targets,
            },
            RecordType::A | RecordType::AAAA => match special_name(b"apex") {
                Some(primary) => Self { primary, fallback: Some(queried), ..targets },
                None => targets,
            },
            _ => targets,
        }
    }

    /// The entries, and where they stand.
    pub(super) fn find<'s>(&'s self, search: &Search<'s>) -> (&'s Name, Found<'s>) {
        let found = search.find(&self.primary);
        match &self.fallback {
            Some(fallback) if !matches!(found, Found::Entries(_)) => match self.matching_version(search.find(fallback))
            {
                Found::Nothing => (&self.primary, found),
                found => (fallback, found),
            },
            _ => (&self.primary, found),
        }
    }

    /// What of the second place counts.
    fn matching_version<'s>(&self, found: Found<'s>) -> Found<'s> {
        let Some(version) = &self.version else { return found };
        let Found::Entries(mut hits) = found else { return Found::Nothing };
        hits.retain(|hit| hit.stored.entry.details.as_ref().is_some_and(|details| version.matches(details.version())));
        if hits.is_empty() { Found::Nothing } else { Found::Entries(hits) }
    }
}

/// The version in a question for it, and the name whose instances it is about. Aliases and names of addresses have none.
fn versioned_service(zone: &Name, question: &Question) -> Option<(VersionLabel, Name)> {
    let version = VersionLabel::parse(question.tree_name.labels().last()?.as_bytes())?;
    let service = question.tree_name.ancestor(1).filter(|service| service != zone)?;
    (!matches!(question.qtype, RecordType::CNAME | RecordType::PTR)).then_some((version, service))
}

/// Whether a name that is not in the store stands above one that is answered all the same: `_tcp.x` above
/// `_foo._tcp.x`, and `dns.<zone>` above `local.dns.<zone>`. NXDOMAIN for it would deny those as well (RFC 8020),
/// and resolvers ask for it on the way (RFC 9156).
pub(super) fn is_empty_non_terminal(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, name: &Name) -> bool {
    if settings.static_zones.is_empty_non_terminal(name) {
        return true;
    }
    let Some((last, above)) = name.labels().split_last() else { return false };
    match last.as_bytes() {
        b"_tcp" | b"_udp" => {
            above == zone.labels() || name.ancestor(1).is_some_and(|above| snapshot.node(&above).is_some())
        }
        b"dns" => settings.local.is_some() && above == zone.labels(),
        _ => false,
    }
}

/// Whether a name is an address written backwards (RFC 1035 section 3.5, RFC 3596 section 2.5), or part of one. The
/// host of an entry there is what PTR says. As an alias it would be in the way of that: a resolver that asked for
/// an address first, as those do that hide names (RFC 9156), would follow it and find no PTR.
pub(super) fn is_reverse(name: &Name) -> bool {
    match name.labels() {
        [arpa, family, ..] => arpa.as_bytes() == b"arpa" && matches!(family.as_bytes(), b"in-addr" | b"ip6"),
        _ => false,
    }
}

/// `<word>.dns.<zone>`, unless the zone is too long to have one.
fn special_name(zone: &Name, word: &[u8]) -> Option<Name> {
    zone.child(Label::new(b"dns").ok()?).ok()?.child(Label::new(word).ok()?).ok()
}
