//! The fields that skyhound adds to an entry, so that every frontend can return what a client registered.
//!
//! Owns: the fields and their representation in memory. A catalog holds a million of these and reads one now and then,
//! so all texts of one share a single allocation. Does not own: a frontend's use of the fields.

use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The fields that skyhound adds to an entry, in compact form. [`DetailFields`] is the form that can be built and
/// changed.
///
/// ```
/// use skyhound_model::details::{DetailFields, Details};
///
/// let fields = DetailFields { id: "1".into(), service: "web".into(), ..DetailFields::default() };
/// let mut details = Details::from(fields);
/// details.set_meta("zone", "b".into());
/// assert_eq!((details.service(), details.meta_value("zone")), ("web", Some("b")));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Details(Box<[u8]>);

/// The fields of [`Details`] as separate values.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default)]
pub struct DetailFields {
    /// Id of the instance: the last label of its name.
    pub id: String,
    /// Service, in the client's spelling.
    pub service: String,
    /// Categories below the root, as in the name from left to right.
    pub category: Vec<String>,
    /// Frontend that accepted the registration.
    #[serde(rename = "dialect")]
    pub frontend: String,
    /// Semantic version.
    pub version: String,
    /// Address as the client sent it, for frontends that return it; DNS uses host and port instead.
    pub address: String,
    /// Other properties that the client sent.
    pub meta: BTreeMap<String, String>,
}

// Neither byte occurs in UTF-8, so both can end any text.
/// Ends a field.
const FIELD: u8 = 0xff;
/// Ends a text of a field that holds several.
const ITEM: u8 = 0xfe;

// The order of the fields. Those that most entries leave empty are last, because empty fields at the end are omitted.
const ID: usize = 0;
const SERVICE: usize = 1;
const FRONTEND: usize = 2;
const CATEGORY: usize = 3;
const VERSION: usize = 4;
const ADDRESS: usize = 5;
const META: usize = 6;

impl From<DetailFields> for Details {
    fn from(fields: DetailFields) -> Self {
        let list = |items: &mut dyn Iterator<Item = &String>| {
            items.flat_map(|item| item.bytes().chain([ITEM])).collect::<Vec<_>>()
        };
        let category = list(&mut fields.category.iter());
        let meta = list(&mut fields.meta.iter().flat_map(|(name, value)| [name, value]));
        let (id, service, frontend) = (fields.id.as_bytes(), fields.service.as_bytes(), fields.frontend.as_bytes());
        let all = [id, service, frontend, &category, fields.version.as_bytes(), fields.address.as_bytes(), &meta];
        let used = all.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        Self(all[..used].join(&FIELD).into())
    }
}

impl Details {
    /// Returns [`DetailFields::id`].
    pub fn id(&self) -> &str {
        text(self.field(ID))
    }

    /// Returns [`DetailFields::service`].
    pub fn service(&self) -> &str {
        text(self.field(SERVICE))
    }

    /// Returns [`DetailFields::category`].
    pub fn category(&self) -> impl Iterator<Item = &str> {
        items(self.field(CATEGORY))
    }

    /// Returns [`DetailFields::frontend`].
    pub fn frontend(&self) -> &str {
        text(self.field(FRONTEND))
    }

    /// Returns [`DetailFields::version`].
    pub fn version(&self) -> &str {
        text(self.field(VERSION))
    }

    /// Returns [`DetailFields::address`].
    pub fn address(&self) -> &str {
        text(self.field(ADDRESS))
    }

    /// Returns one value of [`DetailFields::meta`].
    pub fn meta_value(&self, name: &str) -> Option<&str> {
        self.meta().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Returns [`DetailFields::meta`], sorted by name.
    pub fn meta(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut items = items(self.field(META));
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }

    /// Returns all fields as separate values.
    fn fields(&self) -> DetailFields {
        DetailFields {
            id: self.id().into(),
            service: self.service().into(),
            category: self.category().map(str::to_owned).collect(),
            frontend: self.frontend().into(),
            version: self.version().into(),
            address: self.address().into(),
            meta: self.meta().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// Changes some of the fields.
    pub fn change(&mut self, change: impl FnOnce(&mut DetailFields)) {
        let mut fields = self.fields();
        change(&mut fields);
        *self = fields.into();
    }

    /// Sets one value of [`DetailFields::meta`].
    pub fn set_meta(&mut self, name: &str, value: String) {
        self.change(|fields| drop(fields.meta.insert(name.to_owned(), value)));
    }

    fn field(&self, at: usize) -> &[u8] {
        self.0.split(|byte| *byte == FIELD).nth(at).unwrap_or_default()
    }
}

impl Default for Details {
    fn default() -> Self {
        DetailFields::default().into()
    }
}

/// Reads a text back. It is valid UTF-8, because it was a `String` before.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

fn items(field: &[u8]) -> impl Iterator<Item = &str> {
    field.split_inclusive(|byte| *byte == ITEM).map(|item| text(item.strip_suffix(&[ITEM]).unwrap_or(item)))
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields().fmt(f)
    }
}

/// The stored form, which omits empty fields except those that identify the instance.
impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id())?;
        map.serialize_entry("service", self.service())?;
        let category: Vec<_> = self.category().collect();
        if !category.is_empty() {
            map.serialize_entry("category", &category)?;
        }
        map.serialize_entry("dialect", self.frontend())?;
        for (name, text) in [("version", self.version()), ("address", self.address())] {
            if !text.is_empty() {
                map.serialize_entry(name, text)?;
            }
        }
        let meta: BTreeMap<_, _> = self.meta().collect();
        if !meta.is_empty() {
            map.serialize_entry("meta", &meta)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_fields_take_no_memory() {
        let fields = DetailFields {
            id: "1".into(),
            service: "web".into(),
            frontend: "skyapi".into(),
            ..DetailFields::default()
        };
        assert_eq!(Details::from(fields).0.len(), "1|web|skyapi".len());
        assert_eq!(Details::default().0.len(), 0);
        assert_eq!(Details::default().fields(), DetailFields::default());
    }

    #[test]
    fn change_preserves_the_other_fields() {
        let mut details =
            Details::from(DetailFields { id: "1".into(), service: "web".into(), ..DetailFields::default() });
        details.change(|fields| fields.meta = [("a".into(), String::new())].into());
        assert_eq!((details.id(), details.service()), ("1", "web"));
        assert_eq!(details.meta().collect::<Vec<_>>(), [("a", "")]);
    }

    proptest! {
        #[test]
        fn fields_round_trip(
            texts in prop::array::uniform5(".{0,9}"),
            category in prop::collection::vec(".{0,9}", 0..3),
            meta in prop::collection::btree_map(".{0,9}", ".{0,9}", 0..3),
        ) {
            let [id, service, frontend, version, address] = texts;
            let fields = DetailFields { id, service, category, frontend, version, address, meta };
            let details = Details::from(fields.clone());
            prop_assert_eq!(details.fields(), fields.clone());
            let stored = serde_json::to_value(&details).unwrap();
            prop_assert_eq!(serde_json::from_value::<DetailFields>(stored).unwrap(), fields);
        }
    }
}
