//! Where the entries stand that answer a name: mostly at the name itself.
//!
//! Owns: `ns.dns` and `apex.dns` of the zone's own name, `local.dns`, and the service that RFC 2782 writes as
//! `_foo._tcp`. Does not own: which entries those are ([`super::search`]).

use super::answer::Question;
use super::search::{Found, Search};
use super::settings::DnsSettings;
use crate::model::{Label, Name};
use hickory_proto::rr::RecordType;
use std::borrow::Cow;

/// One or two places; the second counts when there is nothing at the first.
pub(super) struct Places<'q> {
    first: Cow<'q, Name>,
    second: Option<Cow<'q, Name>>,
    /// Whether it is the zone's own name that was asked for.
    pub apex: bool,
    /// Whether the entries there are the zone's name servers.
    pub name_servers: bool,
}

impl<'q> Places<'q> {
    pub(super) fn of(settings: &'q DnsSettings, zone: &Name, question: &'q Question) -> Self {
        let asked = Cow::Borrowed(&question.place);
        let plain = Self { first: asked.clone(), second: None, apex: question.place == *zone, name_servers: false };
        if !plain.apex {
            let first = settings.local_of(zone, &question.place).map_or(asked, Cow::Borrowed);
            return Self { first, second: question.place.of_service().map(Cow::Owned), ..plain };
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
            Some(second) if !matches!(found, Found::Entries(_)) => match search.find(second) {
                Found::Nothing => (&self.first, found),
                found => (second, found),
            },
            _ => (&self.first, found),
        }
    }
}

/// `<word>.dns.<zone>`, unless the zone is too long to have one.
fn special(zone: &Name, word: &[u8]) -> Option<Name> {
    zone.child(Label::new(b"dns").ok()?).ok()?.child(Label::new(word).ok()?).ok()
}
