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
pub(super) struct Places<'q> {
    first: Cow<'q, Name>,
    second: Option<Cow<'q, Name>>,
    /// Which versions count at the second.
    version: Option<VersionLabel>,
    /// Whether it is the zone's own name that was asked for.
    pub apex: bool,
    /// Whether the entries there are the zone's name servers.
    pub name_servers: bool,
}

impl<'q> Places<'q> {
    pub(super) fn of(settings: &'q DnsSettings, zone: &Name, question: &'q Question) -> Self {
        let asked = Cow::Borrowed(&question.place);
        let apex = question.place == *zone;
        let plain = Self { first: asked.clone(), second: None, version: None, apex, name_servers: false };
        if !plain.apex {
            let first = settings.local_of(zone, &question.place).map_or(asked, Cow::Borrowed);
            let versioned = versioned(zone, question);
            let (version, second) =
                versioned.map_or((None, question.place.of_service()), |(v, of)| (Some(v), Some(of)));
            return Self { first, second: second.map(Cow::Owned), version, ..plain };
        }
        let special = |word| special(zone, word).map(Cow::Owned);
        match question.qtype {
            RecordType::NS => match special(b"ns") {
                Some(first) => Self { first, name_servers: true, ..plain },
                None => plain,
            },
            RecordType::A | RecordType::AAAA => match special(b"apex") {
                Some(first) => Self { first, second: Some(asked), ..plain },
                None => plain,
            },
            _ => plain,
        }
    }

    /// The entries, and where they stand.
    pub(super) fn find<'s>(&'s self, search: &Search<'s>) -> (&'s Name, Found<'s>) {
        let found = search.find(&self.first);
        match &self.second {
            Some(second) if !matches!(found, Found::Entries(_)) => match self.of_version(search.find(second)) {
                Found::Nothing => (&self.first, found),
                found => (second, found),
            },
            _ => (&self.first, found),
        }
    }

    /// What of the second place counts.
    fn of_version<'s>(&self, found: Found<'s>) -> Found<'s> {
        let Some(version) = &self.version else { return found };
        let Found::Entries(mut hits) = found else { return Found::Nothing };
        hits.retain(|hit| hit.stored.entry.details.as_ref().is_some_and(|details| version.holds(details.version())));
        if hits.is_empty() { Found::Nothing } else { Found::Entries(hits) }
    }
}

/// The version in a question for it, and the name whose instances it is about. Aliases and names of addresses have none.
fn versioned(zone: &Name, question: &Question) -> Option<(VersionLabel, Name)> {
    let version = VersionLabel::parse(question.place.labels().last()?.as_bytes())?;
    let of = question.place.ancestor(1).filter(|of| of != zone)?;
    (!matches!(question.qtype, RecordType::CNAME | RecordType::PTR)).then_some((version, of))
}

/// Whether a name that is not in the store stands above one that is answered all the same: `_tcp.x` above
/// `_foo._tcp.x`, and `dns.<zone>` above `local.dns.<zone>`. NXDOMAIN for it would deny those as well (RFC 8020),
/// and resolvers ask for it on the way (RFC 9156).
pub(super) fn is_above_one(snapshot: &Snapshot, settings: &DnsSettings, zone: &Name, name: &Name) -> bool {
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
fn special(zone: &Name, word: &[u8]) -> Option<Name> {
    zone.child(Label::new(b"dns").ok()?).ok()?.child(Label::new(word).ok()?).ok()
}
