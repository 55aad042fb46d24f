//! What ours adds to an entry, so that every dialect can say again what it was told.
//!
//! Owns: the fields, and how they are held: a catalog has a million of these and reads one now and then, so that all
//! texts of one stand in one piece of memory. Does not own: what a dialect makes of them.

use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What ours adds to an entry. To make or change one, see [`DetailFields`].
#[derive(Clone, PartialEq, Eq)]
pub struct Details(Box<[u8]>);

/// The same, field by field.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(default)]
pub struct DetailFields {
    /// The instance's id: the last label of its name.
    pub id: String,
    /// The service, as the peer said it.
    pub service: String,
    /// The categories below the root, as in the name from left to right.
    pub category: Vec<String>,
    /// The dialect that it came in through.
    pub dialect: String,
    /// Semantic version.
    pub version: String,
    /// Where it is in the peer's own words, if its dialect says them again; DNS goes by host and port.
    pub address: String,
    /// What else the peer said of itself.
    pub meta: BTreeMap<String, String>,
}

// Neither byte occurs in UTF-8, so that they end any text.
/// Ends a field.
const FIELD: u8 = 0xff;
/// Ends a text of a field that has any number of them.
const ITEM: u8 = 0xfe;

// The fields in their order. Those that most leave empty are the last: what is empty at the end is left out.
const ID: usize = 0;
const SERVICE: usize = 1;
const DIALECT: usize = 2;
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
        let (id, service, dialect) = (fields.id.as_bytes(), fields.service.as_bytes(), fields.dialect.as_bytes());
        let all = [id, service, dialect, &category, fields.version.as_bytes(), fields.address.as_bytes(), &meta];
        let used = all.iter().rposition(|field| !field.is_empty()).map_or(0, |last| last + 1);
        Self(all[..used].join(&FIELD).into())
    }
}

impl Details {
    /// See [`DetailFields::id`].
    pub fn id(&self) -> &str {
        text(self.field(ID))
    }

    /// See [`DetailFields::service`].
    pub fn service(&self) -> &str {
        text(self.field(SERVICE))
    }

    /// See [`DetailFields::category`].
    pub fn category(&self) -> impl Iterator<Item = &str> {
        items(self.field(CATEGORY))
    }

    /// See [`DetailFields::dialect`].
    pub fn dialect(&self) -> &str {
        text(self.field(DIALECT))
    }

    /// See [`DetailFields::version`].
    pub fn version(&self) -> &str {
        text(self.field(VERSION))
    }

    /// See [`DetailFields::address`].
    pub fn address(&self) -> &str {
        text(self.field(ADDRESS))
    }

    /// One of [`DetailFields::meta`].
    pub fn meta_value(&self, name: &str) -> Option<&str> {
        self.meta().find(|(held, _)| *held == name).map(|(_, value)| value)
    }

    /// See [`DetailFields::meta`]. In the order of names.
    pub fn meta(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut items = items(self.field(META));
        std::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }

    /// All fields, to be changed.
    pub fn fields(&self) -> DetailFields {
        DetailFields {
            id: self.id().into(),
            service: self.service().into(),
            category: self.category().map(str::to_owned).collect(),
            dialect: self.dialect().into(),
            version: self.version().into(),
            address: self.address().into(),
            meta: self.meta().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// The same with some fields changed.
    pub fn change(&mut self, change: impl FnOnce(&mut DetailFields)) {
        let mut fields = self.fields();
        change(&mut fields);
        *self = fields.into();
    }

    /// Sets one of [`DetailFields::meta`].
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

fn text(bytes: &[u8]) -> &str {
    // It was a text when it was put there.
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

/// As it is stored: what is empty is left out, but who it is.
impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id())?;
        map.serialize_entry("service", self.service())?;
        let category: Vec<_> = self.category().collect();
        if !category.is_empty() {
            map.serialize_entry("category", &category)?;
        }
        map.serialize_entry("dialect", self.dialect())?;
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
        let fields =
            DetailFields { id: "1".into(), service: "web".into(), dialect: "skyapi".into(), ..DetailFields::default() };
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
            let [id, service, dialect, version, address] = texts;
            let fields = DetailFields { id, service, category, dialect, version, address, meta };
            let details = Details::from(fields.clone());
            prop_assert_eq!(details.fields(), fields.clone());
            let stored = serde_json::to_value(&details).unwrap();
            prop_assert_eq!(serde_json::from_value::<DetailFields>(stored).unwrap(), fields);
        }
    }
}
