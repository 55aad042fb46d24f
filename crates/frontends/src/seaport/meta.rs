//! Translation between a peer's description of a service ([`ServiceMeta`]) and a registration.
//!
//! - `role` is the service; `version`, `host` and `port` have the same names; every other field is metadata, texts
//!   unchanged, other JSON as its text. Where that cannot be translated back, the entry has the description verbatim.
//! - The key is derived from the id, so that the same id is the same entry on every node, with any port.
//! - A role or an id that no DNS label can hold gets a label made from its hash: all clients but those of DNS find the
//!   service.
//! - An entry from another hub has a note of its source ([`source_hub`]), which peers do not receive.

use serde_json::{Map, Value, json};
use skyhound_core::catalog::{Node, Snapshot, StoredEntry};
use skyhound_model::details::Details;
use skyhound_model::instance::{Instance, InvalidParameter, META_MAX, META_VALUE_MAX, Naming, Registration, sha1_hex};
use skyhound_model::{Entry, Label, Name};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::FRONTEND;

/// The limit for a role, in bytes.
pub const ROLE_MAX: usize = 255;
/// The limit for meta, in bytes of JSON: it may be stored twice, once as text within JSON, and has to fit into 64 KiB.
pub const META_JSON_MAX: usize = 16 * 1024;
/// The field of an entry's metadata with the peer's verbatim description.
const VERBATIM_FIELD: &str = "seaport";
/// The field of an entry's metadata with the source hub.
const HUB_FIELD: &str = "seaport-hub";
/// The fields with an equivalent in a registration; all others are metadata.
const CORE_FIELDS: [&str; 5] = ["role", "version", "host", "port", "id"];

/// A peer's description of a service.
pub type ServiceMeta = Map<String, Value>;

/// Validates a description and makes an instance of it. `peer` is the address of the connection.
pub fn accept(id: &str, meta: ServiceMeta, naming: &Naming, peer: IpAddr) -> Result<Instance, InvalidParameter> {
    let meta = complete(id, meta, peer);
    let length = Value::Object(meta.clone()).to_string().len();
    if length > META_JSON_MAX {
        return Err(InvalidParameter::new("meta", format!("is {length} bytes; the limit is {META_JSON_MAX}")));
    }
    let role = role(&meta)?;
    let registration = Registration {
        service: service_labels(role),
        host: text(&meta, "host").to_owned(),
        port: port(&meta)?,
        version: Some(text(&meta, "version")).filter(|v| semver::Version::parse(v).is_ok()).map(str::to_owned),
        meta: extra_fields(&meta),
        frontend: FRONTEND,
        ..Registration::default()
    };
    let accepted = match registration.clone().accept(naming, peer) {
        // The role is too long for a name.
        Err(invalid) if invalid.parameter == "service" => {
            Registration { service: hashed_service(role), ..registration }.accept(naming, peer)?
        }
        accepted => accepted?,
    };
    let role = role.to_owned();
    let label = Label::new(id_label(id)).map_err(|e| InvalidParameter::new("id", e))?;
    let instance = accepted.with_id_label(label, "id", naming)?;
    Ok(with_description(instance, id, role, meta))
}

/// Adds the original id and role, and the verbatim description if the entry cannot be translated back to it.
fn with_description(mut instance: Instance, id: &str, role: String, meta: ServiceMeta) -> Instance {
    if let Some(details) = &mut instance.entry.details {
        details.change(|fields| (fields.id, fields.service) = (id.to_owned(), role));
    }
    if entry_meta(id, &instance.entry) != meta
        && let Some(details) = &mut instance.entry.details
    {
        details.set_meta(VERBATIM_FIELD, Value::Object(meta).to_string());
    }
    instance
}

/// Adds the fields that a peer may leave out.
fn complete(id: &str, mut meta: ServiceMeta, peer: IpAddr) -> ServiceMeta {
    if text(&meta, "host").is_empty() {
        meta.insert("host".into(), peer.to_canonical().to_string().into());
    }
    meta.entry("id").or_insert_with(|| id.into());
    meta
}

fn text<'s>(meta: &'s ServiceMeta, field: &str) -> &'s str {
    meta.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn role(meta: &ServiceMeta) -> Result<&str, InvalidParameter> {
    match text(meta, "role") {
        "" => Err(InvalidParameter::new("role", "is missing; set it to the name of the service")),
        long if long.len() > ROLE_MAX => {
            Err(InvalidParameter::new("role", format!("is {} bytes; the limit is {ROLE_MAX}", long.len())))
        }
        role => Ok(role),
    }
}

/// Reads a port: a number, or its text.
fn port(meta: &ServiceMeta) -> Result<u16, InvalidParameter> {
    let number = match meta.get("port") {
        Some(Value::Number(port)) => port.as_u64(),
        Some(Value::String(port)) => port.parse().ok(),
        _ => None,
    };
    number.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).ok_or_else(|| {
        InvalidParameter::new("port", "is not a whole number from 1 to 65535; set it to the port of the service")
    })
}

/// Returns all other fields that fit into an entry's metadata.
fn extra_fields(meta: &ServiceMeta) -> BTreeMap<String, String> {
    let others = meta.iter().filter(|(field, _)| !CORE_FIELDS.contains(&field.as_str()) && *field != HUB_FIELD);
    let texts = others.map(|(field, value)| match value {
        Value::String(text) => (field.clone(), text.clone()),
        other => (field.clone(), other.to_string()),
    });
    let fitting =
        texts.filter(|(field, text)| (1..=META_VALUE_MAX).contains(&field.len()) && text.len() <= META_VALUE_MAX);
    // Two fields are reserved: the verbatim description and the source hub.
    fitting.take(META_MAX - 2).collect()
}

/// Returns the role as labels, or the label made from its hash.
fn service_labels(role: &str) -> String {
    if role.split('.').all(|label| Label::registrable(label).is_ok()) { role.to_owned() } else { hashed_service(role) }
}

/// Makes a label for a role that cannot be one, or is too long for a name. Its case is folded, as with other services.
fn hashed_service(role: &str) -> String {
    hashed(&role.to_ascii_lowercase(), 20)
}

/// Returns the id as a label. The original's ids are upper-case hexadecimal and are folded; two other ids that differ
/// in their case only would get the same label, so such ids are hashed.
fn id_label(id: &str) -> String {
    let one_case = !id.contains(|c: char| c.is_ascii_uppercase())
        || id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() && byte.is_ascii_hexdigit());
    if one_case && Label::registrable(id).is_ok() { id.to_ascii_lowercase() } else { hashed(id, 40) }
}

/// Makes a label from the hash of a text.
fn hashed(text: &str, digits: usize) -> String {
    format!("x-{}", &sha1_hex(text)[..digits])
}

/// Finds the entry of an id that any seaport peer registered. It needs a lookup per service, which only rows about ids
/// that their sender does not hold cost.
pub fn find(snapshot: &Snapshot, naming: &Naming, id: &str) -> Option<Arc<StoredEntry>> {
    let label = Label::new(id_label(id)).ok()?;
    let category: Vec<_> = naming.default_category.split([',', '.']).rev().filter_map(|c| Label::new(c).ok()).collect();
    let root: Vec<_> = naming.root.labels().iter().cloned().chain(category).collect();
    let at = |service: &str| {
        let service: Vec<_> = service.split('.').rev().map(Label::new).collect::<Result<_, _>>().ok()?;
        let name = Name::from_root(root.iter().cloned().chain(service).chain([label.clone()]).collect()).ok()?;
        snapshot.node(&name)?.own().find(|stored| registered_id(stored) == Some(id)).cloned()
    };
    snapshot.services().find_map(|service| at(service).or_else(|| at(&hashed_service(service))))
}

/// Returns the id of an entry that a seaport peer registered.
pub fn registered_id(stored: &StoredEntry) -> Option<&str> {
    let details = stored.entry.details.as_ref()?;
    (details.frontend() == FRONTEND).then(|| details.id())
}

/// Returns the id by which peers know an instance: the registered id, or else its DNS name.
pub fn id(stored: &StoredEntry, naming: &Naming) -> Option<String> {
    if let Some(id) = registered_id(stored) {
        return Some(id.to_owned());
    }
    if let Ok(name) = naming.layout.name(stored.key.as_bytes()) {
        return Some(name.to_string().trim_end_matches('.').to_owned());
    }
    // A key of hound-dog's peers: the name is the one that a registration here would have.
    let details = stored.entry.details.as_ref()?;
    let category = details.category().collect::<Vec<_>>().join(".");
    Some(format!("{}.{}.{category}.{}", details.id(), details.service(), naming.root.to_string().trim_end_matches('.')))
}

/// Reports that an id is a DNS name, which no peer may register or free. Where the zone is the root of all names, only
/// a name in the snapshot counts: any text may be a name there.
pub fn is_a_name(id: &str, snapshot: &Snapshot, naming: &Naming) -> bool {
    let Ok(name) = Name::parse(id) else { return false };
    // At least the labels of a service and of an instance.
    let below = name.is_within(&naming.root) && name.labels().len() > naming.root.labels().len() + 1;
    below && (naming.root != Name::root() || named_instance(&name, snapshot).is_some())
}

/// Returns the instance of another frontend at a name.
pub fn named_instance<'s>(name: &Name, snapshot: &'s Snapshot) -> Option<&'s Arc<StoredEntry>> {
    let mut own = snapshot.node(name).into_iter().flat_map(Node::own);
    own.find(|stored| stored.service.is_some() && registered_id(stored).is_none())
}

/// Returns the source hub of an instance, set by [`set_source_hub`].
pub fn source_hub(entry: &Entry) -> Option<&str> {
    entry.details.as_ref().filter(|details| details.frontend() == FRONTEND)?.meta_value(HUB_FIELD)
}

/// Sets the source hub of an instance.
pub fn set_source_hub(instance: &mut Instance, from: &str) {
    if let Some(details) = &mut instance.entry.details {
        details.set_meta(HUB_FIELD, from.into());
    }
}

/// Reports that two entries differ in their source hub and nothing else.
pub fn differs_only_in_hub(one: &Entry, other: &Entry) -> bool {
    let without_source = |entry: &Entry| {
        let mut copy = entry.clone();
        if let Some(details) = copy.details.as_mut().filter(|details| details.frontend() == FRONTEND) {
            details.change(|fields| drop(fields.meta.remove(HUB_FIELD)));
        }
        copy
    };
    source_hub(one) != source_hub(other) && without_source(one) == without_source(other)
}

/// Returns the description of an instance for peers; `None` for an instance without a host.
pub fn of(id: &str, stored: &StoredEntry) -> Option<ServiceMeta> {
    stored.entry.host.as_ref()?;
    let meta = entry_meta(id, &stored.entry);
    let named = stored.service.as_deref().filter(|_| text(&meta, "role").is_empty());
    Some(match named {
        Some(service) => meta.into_iter().chain([("role".into(), json!(service))]).collect(),
        None => meta,
    })
}

fn entry_meta(id: &str, entry: &Entry) -> ServiceMeta {
    let details = entry.details.as_ref();
    let seaport_details = details.filter(|details| details.frontend() == FRONTEND);
    let verbatim = seaport_details.and_then(|details| details.meta_value(VERBATIM_FIELD));
    if let Some(Value::Object(meta)) = verbatim.and_then(|json| serde_json::from_str(json).ok()) {
        return meta;
    }
    let mut meta = Map::new();
    let mut put = |field: &str, value: Value| drop(meta.insert(field.to_owned(), value));
    put("role", json!(details.map_or("", Details::service)));
    if let Some(details) = details.filter(|details| !details.version().is_empty()) {
        put("version", json!(details.version()));
    }
    put("host", json!(entry.host.as_ref().map(ToString::to_string)));
    put("port", json!(entry.port));
    put("id", json!(id));
    let is_excluded = |field: &str| CORE_FIELDS.contains(&field) || field == HUB_FIELD && seaport_details.is_some();
    for (field, value) in details.into_iter().flat_map(Details::meta) {
        if !is_excluded(field) {
            put(field, json!(value));
        }
    }
    meta
}

/// A query for services by role and range of versions.
#[derive(Debug, Clone)]
pub struct ServicePattern {
    role: String,
    versions: Option<skyhound_model::version::VersionRange>,
}

impl ServicePattern {
    /// Parses `ROLE`, `ROLE@RANGE`, `@RANGE`, or an empty text for all services.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (role, versions) = match text.split_once('@') {
            Some((role, range)) => (role, Some(skyhound_model::version::VersionRange::parse(range)?)),
            None => (text, None),
        };
        Ok(Self { role: role.to_owned(), versions })
    }

    /// Reports that a service matches.
    pub fn matches(&self, meta: &ServiceMeta) -> bool {
        (self.role.is_empty() || text(meta, "role") == self.role)
            && self.versions.as_ref().is_none_or(|versions| versions.contains(text(meta, "version")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::{Host, Layout};

    fn naming() -> Naming {
        Naming::example()
    }

    fn to_meta(value: Value) -> ServiceMeta {
        let Value::Object(meta) = value else { panic!("{value}") };
        meta
    }

    fn accepted(id: &str, value: Value) -> Result<Instance, InvalidParameter> {
        accept(id, to_meta(value), &naming(), "192.0.2.7".parse().unwrap())
    }

    const ID: &str = "DF3A28689ED45D91E24F9300CB14894A255A8B2";

    #[test]
    fn metadata_is_returned_as_registered() {
        let plain = json!({"role": "web", "version": "1.2.3", "host": "10.0.0.1", "port": 80, "id": ID, "zone": "eu"});
        let instance = accepted(ID, plain.clone()).unwrap();
        assert_eq!(instance.name.to_string(), format!("{}.web.services.skydns.local.", ID.to_lowercase()));
        let details = instance.entry.details.as_ref().unwrap();
        assert_eq!((details.version(), details.meta().count()), ("1.2.3", 1), "no verbatim description is needed");
        assert_eq!(entry_meta(ID, &instance.entry), to_meta(plain));
        for odd in [
            json!({"role": "web", "host": "::ffff:10.0.0.1", "port": "80", "id": ID}),
            json!({"role": "web", "host": "h", "port": 80, "id": ID, "deep": {"a": [1, null, "x"]}, "n": 1.5, "no": null}),
            json!({"role": "a/b c", "host": "h", "port": 80, "id": ID}),
            json!({"role": "web", "version": "1.2", "host": "h", "port": 80, "id": ID}),
            json!({"role": "web", "host": "h", "port": 80, "id": ID, "seaport": "x", "long": "y".repeat(5000), "": "z"}),
            json!({"role": "x".repeat(200), "host": "h", "port": 80, "id": ID}),
        ] {
            let instance = accepted(ID, odd.clone()).unwrap();
            let stored = skyhound_model::Entry::parse(&instance.entry.encode()).unwrap();
            assert_eq!(entry_meta(ID, &stored), to_meta(odd));
        }
        let without_host = accepted("x", json!({"role": "web", "port": 80})).unwrap();
        assert_eq!(without_host.entry.host, Some(Host::Addr("192.0.2.7".parse().unwrap())));
        assert_eq!(entry_meta("x", &without_host.entry)["host"], "192.0.2.7");
    }

    #[test]
    fn the_key_is_derived_from_the_id() {
        let key = |id: &str| accepted(id, json!({"role": "web", "port": 80})).unwrap().key.to_string();
        let other = accepted("web-1", json!({"role": "web", "port": 81, "host": "h"})).unwrap();
        assert_eq!((key("web-1"), other.key.to_string()), (key("web-1"), key("web-1")));
        assert!(key("web-1").ends_with("/web/web-1"));
        let ids = ["Web-1", "wEb-1", "a b", "a.b", "any", &"x".repeat(100)].map(key);
        assert!(ids.iter().all(|key| key.contains("/web/x-")), "{ids:?}");
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn invalid_services_are_rejected_with_a_reason() {
        for (value, why) in [
            (json!({"port": 80}), "role is missing"),
            (json!({"role": 7, "port": 80}), "role is missing"),
            (json!({"role": "r".repeat(256), "port": 80}), "role is 256 bytes"),
            (json!({"role": "web"}), "port is not a whole number"),
            (json!({"role": "web", "port": 0}), "port is not a whole number"),
            (json!({"role": "web", "port": 65536}), "port is not a whole number"),
            (json!({"role": "web", "port": "x"}), "port is not a whole number"),
            (json!({"role": "web", "port": 80, "host": "a b"}), "host"),
            (json!({"role": "web", "port": 80, "x": "y".repeat(META_JSON_MAX)}), "meta is"),
        ] {
            let error = accepted("A", value.clone()).unwrap_err().to_string();
            assert!(error.starts_with(why), "{value}: {error}");
        }
    }

    #[test]
    fn a_name_is_not_a_peers_id() {
        let (naming, empty) =
            (naming(), Snapshot::empty(skyhound_core::catalog::Keyspace::from(Layout::new("/skydns"))));
        assert!(is_a_name("ab.web.services.skydns.local", &empty, &naming));
        for id in ["ab", "AB.x", "skydns.local", "web.skydns.local", "10.0.0.1:80", "a..b", "ab.web.other.local"] {
            assert!(!is_a_name(id, &empty, &naming), "{id}");
        }
        let all = Naming { root: Name::root(), ..naming };
        assert!(!is_a_name("10.0.0.1:80", &empty, &all));
    }

    #[test]
    fn the_source_hub_is_stored_and_not_sent() {
        let value = json!({"role": "web", "host": "h", "port": 80, "id": ID, "zone": "eu"});
        let mut instance = accepted(ID, value.clone()).unwrap();
        assert_eq!(source_hub(&instance.entry), None);
        set_source_hub(&mut instance, "hub:9090");
        assert_eq!(source_hub(&instance.entry), Some("hub:9090"));
        assert_eq!(entry_meta(ID, &instance.entry), to_meta(value.clone()));
        let plain = accepted(ID, value).unwrap();
        assert!(differs_only_in_hub(&plain.entry, &instance.entry) && !differs_only_in_hub(&plain.entry, &plain.entry));
        let spoof = json!({"role": "web", "host": "h", "port": 80, "id": ID, "seaport-hub": "x"});
        let instance = accepted(ID, spoof.clone()).unwrap();
        assert_eq!(source_hub(&instance.entry), None);
        assert_eq!(entry_meta(ID, &instance.entry), to_meta(spoof));
    }

    #[test]
    fn a_pattern_is_a_role_and_a_range() {
        let web = to_meta(json!({"role": "web", "version": "1.2.3"}));
        let none = to_meta(json!({"role": "web"}));
        let odd = to_meta(json!({"role": "web", "version": "1.2"}));
        let matches = |pattern: &str, meta: &ServiceMeta| ServicePattern::parse(pattern).unwrap().matches(meta);
        for pattern in ["", "web", "web@1.2.x", "web@~1.2", "web@*", "@>=1 <2"] {
            assert!(matches(pattern, &web), "{pattern}");
        }
        assert!(!matches("web@2", &web) && !matches("api", &web) && !matches("we", &web));
        assert!(matches("web", &none) && !matches("web@*", &none), "a service without a version matches no range");
        assert!(matches("web", &odd) && !matches("web@1.2.x", &odd));
        assert!(ServicePattern::parse("web@one").is_err());
    }
}
