//! The lookup targets of a question: the nodes whose entries answer a name, mostly the name itself.
//!
//! Owns: the special names `ns.dns` and `apex.dns` of the zone's apex and `local.dns`, services in the form of RFC 2782
//! (`_foo._tcp`), instances of a version (`v1.foo`), empty non-terminals and reverse names. Does not own: the entries
//! at and below a target ([`super::search`]).
//!
//! | name | type | primary | fallback |
//! |---|---|---|---|
//! | apex | NS | `ns.dns.<zone>` | – |
//! | apex | A, AAAA | `apex.dns.<zone>` | the apex |
//! | `local.dns.<zone>` | any | the name of `--local` | – |
//! | `v1.foo` | any but CNAME and PTR | the name | `foo`, its instances of that version |
//! | `_foo._tcp` | any | the name | `foo` |
//! | any other | any | the name | – |

use super::response::Question;
use super::search::{Found, Search};
use super::settings::DnsSettings;
use hickory_proto::rr::RecordType;
use skyhound_core::catalog::Snapshot;
use skyhound_model::version::VersionLabel;
use skyhound_model::{Label, Name};
use std::borrow::Cow;

/// One or two targets; the fallback counts when there are no entries at the primary one.
pub(super) struct LookupTargets<'q> {
    primary: Cow<'q, Name>,
    fallback: Option<Cow<'q, Name>>,
    /// The versions that count at the fallback.
    version: Option<VersionLabel>,
    /// The entries at the target are the zone's name servers.
    pub name_servers: bool,
}

impl<'q> LookupTargets<'q> {
    pub(super) fn new(settings: &'q DnsSettings, zone: &Name, question: &'q Question) -> Self {
        if question.tree_name == *zone {
            Self::of_apex(zone, question)
        } else {
            Self::of_name(settings, zone, question)
        }
    }

    fn of_apex(zone: &Name, question: &'q Question) -> Self {
        let apex = Cow::Borrowed(&question.tree_name);
        let targets = Self { primary: apex.clone(), fallback: None, version: None, name_servers: false };
        let special_name = |word| special_name(zone, word).map(Cow::Owned);
        match question.qtype {
            RecordType::NS => match special_name(b"ns") {
                Some(primary) => Self { primary, name_servers: true, ..targets },
                None => targets,
            },
            RecordType::A | RecordType::AAAA => match special_name(b"apex") {
                Some(primary) => Self { primary, fallback: Some(apex), ..targets },
                None => targets,
            },
            _ => targets,
        }
    }

    fn of_name(settings: &'q DnsSettings, zone: &Name, question: &'q Question) -> Self {
        let name = &question.tree_name;
        let primary = Cow::Borrowed(settings.local_of(zone, name).unwrap_or(name));
        let (version, fallback) = match versioned_service(zone, question) {
            Some((version, service)) => (Some(version), Some(service)),
            None => (None, name.srv_service()),
        };
        Self { primary, fallback: fallback.map(Cow::Owned), version, name_servers: false }
    }

    /// The target that counts, and its entries.
    pub(super) fn find<'s>(&'s self, search: &Search<'s>) -> (&'s Name, Found<'s>) {
        let found = search.find(&self.primary);
        match &self.fallback {
            Some(fallback) if !matches!(found, Found::Entries(_)) => {
                match self.of_matching_version(search.find(fallback)) {
                    Found::Nothing => (&self.primary, found),
                    found => (fallback, found),
                }
            }
            _ => (&self.primary, found),
        }
    }

    /// The entries of the fallback that are of the question's version.
    fn of_matching_version<'s>(&self, found: Found<'s>) -> Found<'s> {
        let Some(version) = &self.version else { return found };
        let Found::Entries(mut hits) = found else { return Found::Nothing };
        hits.retain(|hit| hit.stored.entry.details.as_ref().is_some_and(|details| version.matches(details.version())));
        if hits.is_empty() { Found::Nothing } else { Found::Entries(hits) }
    }
}

/// The version in the first label of a question's name, and the service below it. CNAME and PTR have no version.
fn versioned_service(zone: &Name, question: &Question) -> Option<(VersionLabel, Name)> {
    let version = VersionLabel::parse(question.tree_name.labels().last()?.as_bytes())?;
    let service = question.tree_name.ancestor(1).filter(|service| service != zone)?;
    (!matches!(question.qtype, RecordType::CNAME | RecordType::PTR)).then_some((version, service))
}

/// Returns whether a name that is not in the store is above one that is answered all the same: `_tcp.x` above
/// `_foo._tcp.x`, and `dns.<zone>` above `local.dns.<zone>`. NXDOMAIN for it would deny those as well (RFC 8020),
/// and resolvers query it on the way (RFC 9156).
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

/// Returns whether a name is a reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5) or part of one. The host of an
/// entry there is the data of its PTR. As an alias it would hide the PTR: a resolver that queries an address first, as
/// query name minimisation does (RFC 9156), would follow the alias and find no PTR.
pub(super) fn is_reverse(name: &Name) -> bool {
    match name.labels() {
        [arpa, family, ..] => arpa.as_bytes() == b"arpa" && matches!(family.as_bytes(), b"in-addr" | b"ip6"),
        _ => false,
    }
}

/// The name `<word>.dns.<zone>`, unless the zone is too long for it.
fn special_name(zone: &Name, word: &[u8]) -> Option<Name> {
    zone.child(Label::new(b"dns").ok()?).ok()?.child(Label::new(word).ok()?).ok()
}
