//! What a peer says of a service ([`Said`]) ↔ what is registered.
//!
//! - `role` is the service, `version`, `host` and `port` are what they are; everything else is metadata, texts as they
//!   are, other JSON as its text. Where that does not lead back to what was said, the words themselves are kept.
//! - The id makes the key, so that the same id is the same entry on every node, whatever its port.
//! - A role or an id that no DNS label can hold gets one made from its hash: everybody but DNS finds the service.
//! - What came from another hub says so in its entry ([`from`]); peers are not told that.

use serde_json::{Map, Value, json};
use skyhound_core::catalog::{Node, Snapshot, Stored};
use skyhound_model::details::Details;
use skyhound_model::instance::{Instance, Invalid, META_MAX, META_VALUE_MAX, Naming, Registration, sha1_hex};
use skyhound_model::{Entry, Label, Name};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::DIALECT;

/// The longest role, in bytes.
pub const ROLE_MAX: usize = 255;
/// The longest meta, in bytes of JSON: it may be stored twice, once as text within JSON, and has to fit into 64 KiB.
pub const SAID_MAX: usize = 16 * 1024;
/// The field of an entry's metadata with the words as they were said.
const KEPT: &str = "seaport";
/// The field with the hub that it came from.
const FROM: &str = "seaport-hub";
/// The fields that have their places; all others are metadata.
const PLACED: [&str; 5] = ["role", "version", "host", "port", "id"];

/// What a peer says of a service.
pub type Said = Map<String, Value>;

/// Checks what a peer says, and makes an instance of it. `peer` is where it spoke from.
pub fn accept(id: &str, said: Said, naming: &Naming, peer: IpAddr) -> Result<Instance, Invalid> {
    let said = complete(id, said, peer);
    let length = Value::Object(said.clone()).to_string().len();
    if length > SAID_MAX {
        return Err(Invalid::new("meta", format!("is {length} bytes; {SAID_MAX} is the most")));
    }
    let role = role(&said)?;
    let registration = Registration {
        service: service_labels(role),
        host: text(&said, "host").to_owned(),
        port: port(&said)?,
        version: Some(text(&said, "version")).filter(|v| semver::Version::parse(v).is_ok()).map(str::to_owned),
        meta: further(&said),
        dialect: DIALECT,
        ..Registration::default()
    };
    let accepted = match registration.clone().accept(naming, peer) {
        // A role that is too long for a name.
        Err(invalid) if invalid.parameter == "service" => {
            Registration { service: odd_service(role), ..registration }.accept(naming, peer)?
        }
        accepted => accepted?,
    };
    let role = role.to_owned();
    let label = Label::new(id_label(id)).map_err(|e| Invalid::new("id", e))?;
    let mut instance = accepted.placed(label, "id", naming)?;
    if let Some(details) = &mut instance.entry.details {
        details.change(|fields| (fields.id, fields.service) = (id.to_owned(), role));
    }
    if tell_entry(id, &instance.entry) != said
        && let Some(details) = &mut instance.entry.details
    {
        details.set_meta(KEPT, Value::Object(said).to_string());
    }
    Ok(instance)
}

/// With what a peer may leave out.
fn complete(id: &str, mut said: Said, peer: IpAddr) -> Said {
    if text(&said, "host").is_empty() {
        said.insert("host".into(), peer.to_canonical().to_string().into());
    }
    said.entry("id").or_insert_with(|| id.into());
    said
}

fn text<'s>(said: &'s Said, field: &str) -> &'s str {
    said.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn role(said: &Said) -> Result<&str, Invalid> {
    match text(said, "role") {
        "" => Err(Invalid::new("role", "is missing; say which service this is")),
        long if long.len() > ROLE_MAX => {
            Err(Invalid::new("role", format!("is {} bytes; {ROLE_MAX} is the most", long.len())))
        }
        role => Ok(role),
    }
}

/// A number, or the text of one.
fn port(said: &Said) -> Result<u16, Invalid> {
    let number = match said.get("port") {
        Some(Value::Number(port)) => port.as_u64(),
        Some(Value::String(port)) => port.parse().ok(),
        _ => None,
    };
    number
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .ok_or_else(|| Invalid::new("port", "is no whole number from 1 to 65535; say where the service listens"))
}

/// Everything else, as far as it fits.
fn further(said: &Said) -> BTreeMap<String, String> {
    let others = said.iter().filter(|(field, _)| !PLACED.contains(&field.as_str()) && *field != FROM);
    let texts = others.map(|(field, value)| match value {
        Value::String(text) => (field.clone(), text.clone()),
        other => (field.clone(), other.to_string()),
    });
    let fitting =
        texts.filter(|(field, text)| (1..=META_VALUE_MAX).contains(&field.len()) && text.len() <= META_VALUE_MAX);
    // Two places are for the words themselves, and for where they came from.
    fitting.take(META_MAX - 2).collect()
}

/// The role as labels, if it can be some.
fn service_labels(role: &str) -> String {
    if role.split('.').all(|label| Label::registered(label).is_ok()) { role.to_owned() } else { odd_service(role) }
}

/// A label for a role that cannot be one, or is too long for a name. Its case is folded, as that of services is.
fn odd_service(role: &str) -> String {
    hashed(&role.to_ascii_lowercase(), 20)
}

/// The id as a label. The original's are upper-case hexadecimal; other mixtures of upper and lower case would become
/// the same label.
fn id_label(id: &str) -> String {
    let one_case = !id.contains(|c: char| c.is_ascii_uppercase())
        || id.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() && byte.is_ascii_hexdigit());
    if one_case && Label::registered(id).is_ok() { id.to_ascii_lowercase() } else { hashed(id, 40) }
}

/// A label for what cannot be one.
fn hashed(text: &str, digits: usize) -> String {
    format!("x-{}", &sha1_hex(text)[..digits])
}

/// Where an id stands, whoever registered it as a seaport peer. Looks once for each service: only who speaks of ids
/// that he did not register himself pays for it.
pub fn find(snapshot: &Snapshot, naming: &Naming, id: &str) -> Option<Arc<Stored>> {
    let label = Label::new(id_label(id)).ok()?;
    let category: Vec<_> = naming.default_category.split([',', '.']).rev().filter_map(|c| Label::new(c).ok()).collect();
    let root: Vec<_> = naming.root.labels().iter().cloned().chain(category).collect();
    let at = |service: &str| {
        let service: Vec<_> = service.split('.').rev().map(Label::new).collect::<Result<_, _>>().ok()?;
        let name = Name::from_root(root.iter().cloned().chain(service).chain([label.clone()]).collect()).ok()?;
        snapshot.node(&name)?.own().find(|stored| registered_id(stored) == Some(id)).cloned()
    };
    snapshot.services().find_map(|service| at(service).or_else(|| at(&odd_service(service))))
}

/// The id of what a seaport peer registered.
pub fn registered_id(stored: &Stored) -> Option<&str> {
    let details = stored.entry.details.as_ref()?;
    (details.dialect() == DIALECT).then(|| details.id())
}

/// The id by which peers know an instance: what was said, or else its name, which says where it stands.
pub fn id(stored: &Stored, naming: &Naming) -> Option<String> {
    if let Some(id) = registered_id(stored) {
        return Some(id.to_owned());
    }
    if let Ok(name) = naming.layout.name(stored.key.as_bytes()) {
        return Some(name.to_string().trim_end_matches('.').to_owned());
    }
    // A key of hound-dog's peers: it stands where it would if that peer had registered here.
    let details = stored.entry.details.as_ref()?;
    let category = details.category().collect::<Vec<_>>().join(".");
    Some(format!("{}.{}.{category}.{}", details.id(), details.service(), naming.root.to_string().trim_end_matches('.')))
}

/// Whether an id is one that is made from a name: it is not a peer's to register or to free. Where the zone is the root
/// of all names, only what stands in the snapshot is one: any text may be a name there.
pub fn is_a_name(id: &str, snapshot: &Snapshot, naming: &Naming) -> bool {
    let Ok(name) = Name::parse(id) else { return false };
    // A service and an instance of it, at least.
    let below = name.is_within(&naming.root) && name.labels().len() > naming.root.labels().len() + 1;
    below && (naming.root != Name::root() || named(&name, snapshot).is_some())
}

/// What came in through another dialect and stands at a name.
pub fn named<'s>(name: &Name, snapshot: &'s Snapshot) -> Option<&'s Arc<Stored>> {
    let mut own = snapshot.node(name).into_iter().flat_map(Node::own);
    own.find(|stored| stored.service.is_some() && registered_id(stored).is_none())
}

/// The other hub that an instance came from, as [`mark`] has it.
pub fn from(entry: &Entry) -> Option<&str> {
    entry.details.as_ref().filter(|details| details.dialect() == DIALECT)?.meta_of(FROM)
}

/// Notes in an instance which hub it came from.
pub fn mark(instance: &mut Instance, from: &str) {
    if let Some(details) = &mut instance.entry.details {
        details.set_meta(FROM, from.into());
    }
}

/// Whether two entries differ in nothing but where they came from.
pub fn is_same(one: &Entry, other: &Entry) -> bool {
    let bare = |entry: &Entry| {
        let mut bare = entry.clone();
        if let Some(details) = bare.details.as_mut().filter(|details| details.dialect() == DIALECT) {
            details.change(|fields| drop(fields.meta.remove(FROM)));
        }
        bare
    };
    from(one) != from(other) && bare(one) == bare(other)
}

/// What peers are told of an instance; `None` for what has no place.
pub fn tell(id: &str, stored: &Stored) -> Option<Said> {
    stored.entry.host.as_ref()?;
    let said = tell_entry(id, &stored.entry);
    let named = stored.service.as_deref().filter(|_| text(&said, "role").is_empty());
    Some(match named {
        Some(service) => said.into_iter().chain([("role".into(), json!(service))]).collect(),
        None => said,
    })
}

fn tell_entry(id: &str, entry: &Entry) -> Said {
    let details = entry.details.as_ref();
    let ours = details.filter(|details| details.dialect() == DIALECT);
    let kept = ours.and_then(|details| details.meta_of(KEPT));
    if let Some(Value::Object(said)) = kept.and_then(|kept| serde_json::from_str(kept).ok()) {
        return said;
    }
    let mut said = Map::new();
    let mut put = |field: &str, value: Value| drop(said.insert(field.to_owned(), value));
    put("role", json!(details.map_or("", Details::service)));
    if let Some(details) = details.filter(|details| !details.version().is_empty()) {
        put("version", json!(details.version()));
    }
    put("host", json!(entry.host.as_ref().map(ToString::to_string)));
    put("port", json!(entry.port));
    put("id", json!(id));
    let is_told_otherwise = |field: &str| PLACED.contains(&field) || field == FROM && ours.is_some();
    for (field, value) in details.into_iter().flat_map(Details::meta) {
        if !is_told_otherwise(field) {
            put(field, json!(value));
        }
    }
    said
}

/// Which services somebody asks for: a role, a range of versions, and equality of any other field.
#[derive(Debug, Clone)]
pub struct Pattern {
    role: String,
    versions: Option<skyhound_model::version::Versions>,
}

impl Pattern {
    /// `ROLE`, `ROLE@RANGE`, `@RANGE`, or nothing for everything.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (role, versions) = match text.split_once('@') {
            Some((role, range)) => (role, Some(skyhound_model::version::Versions::parse(range)?)),
            None => (text, None),
        };
        Ok(Self { role: role.to_owned(), versions })
    }

    /// Whether a service is meant.
    pub fn matches(&self, said: &Said) -> bool {
        (self.role.is_empty() || text(said, "role") == self.role)
            && self.versions.as_ref().is_none_or(|versions| versions.hold(text(said, "version")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhound_model::{Host, Layout};

    fn naming() -> Naming {
        Naming::example()
    }

    fn said(value: Value) -> Said {
        let Value::Object(said) = value else { panic!("{value}") };
        said
    }

    fn accepted(id: &str, value: Value) -> Result<Instance, Invalid> {
        accept(id, said(value), &naming(), "192.0.2.7".parse().unwrap())
    }

    const ID: &str = "DF3A28689ED45D91E24F9300CB14894A255A8B2";

    #[test]
    fn what_was_said_is_told_again() {
        let plain = json!({"role": "web", "version": "1.2.3", "host": "10.0.0.1", "port": 80, "id": ID, "zone": "eu"});
        let instance = accepted(ID, plain.clone()).unwrap();
        assert_eq!(instance.name.to_string(), format!("{}.web.services.skydns.local.", ID.to_lowercase()));
        let details = instance.entry.details.as_ref().unwrap();
        assert_eq!((details.version(), details.meta().count()), ("1.2.3", 1), "the words themselves are not needed");
        assert_eq!(tell_entry(ID, &instance.entry), said(plain));
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
            assert_eq!(tell_entry(ID, &stored), said(odd));
        }
        let nowhere = accepted("x", json!({"role": "web", "port": 80})).unwrap();
        assert_eq!(nowhere.entry.host, Some(Host::Addr("192.0.2.7".parse().unwrap())));
        assert_eq!(tell_entry("x", &nowhere.entry)["host"], "192.0.2.7");
    }

    #[test]
    fn the_id_makes_the_key() {
        let key = |id: &str| accepted(id, json!({"role": "web", "port": 80})).unwrap().key.to_string();
        let other = accepted("web-1", json!({"role": "web", "port": 81, "host": "h"})).unwrap();
        assert_eq!((key("web-1"), other.key.to_string()), (key("web-1"), key("web-1")));
        assert!(key("web-1").ends_with("/web/web-1"));
        let ids = ["Web-1", "wEb-1", "a b", "a.b", "any", &"x".repeat(100)].map(key);
        assert!(ids.iter().all(|key| key.contains("/web/x-")), "{ids:?}");
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn what_cannot_be_registered_says_why() {
        for (value, why) in [
            (json!({"port": 80}), "role is missing"),
            (json!({"role": 7, "port": 80}), "role is missing"),
            (json!({"role": "r".repeat(256), "port": 80}), "role is 256 bytes"),
            (json!({"role": "web"}), "port is no whole number"),
            (json!({"role": "web", "port": 0}), "port is no whole number"),
            (json!({"role": "web", "port": 65536}), "port is no whole number"),
            (json!({"role": "web", "port": "x"}), "port is no whole number"),
            (json!({"role": "web", "port": 80, "host": "a b"}), "host"),
            (json!({"role": "web", "port": 80, "x": "y".repeat(SAID_MAX)}), "meta is"),
        ] {
            let error = accepted("A", value.clone()).unwrap_err().to_string();
            assert!(error.starts_with(why), "{value}: {error}");
        }
    }

    #[test]
    fn an_id_that_is_a_name_is_no_peers() {
        let (naming, empty) = (naming(), Snapshot::empty(skyhound_core::catalog::Places::from(Layout::new("/skydns"))));
        assert!(is_a_name("ab.web.services.skydns.local", &empty, &naming));
        for id in ["ab", "AB.x", "skydns.local", "web.skydns.local", "10.0.0.1:80", "a..b", "ab.web.other.local"] {
            assert!(!is_a_name(id, &empty, &naming), "{id}");
        }
        let all = Naming { root: Name::root(), ..naming };
        assert!(!is_a_name("10.0.0.1:80", &empty, &all));
    }

    #[test]
    fn where_it_came_from_is_noted_and_not_told() {
        let value = json!({"role": "web", "host": "h", "port": 80, "id": ID, "zone": "eu"});
        let mut instance = accepted(ID, value.clone()).unwrap();
        assert_eq!(from(&instance.entry), None);
        mark(&mut instance, "hub:9090");
        assert_eq!(from(&instance.entry), Some("hub:9090"));
        assert_eq!(tell_entry(ID, &instance.entry), said(value.clone()));
        let plain = accepted(ID, value).unwrap();
        assert!(is_same(&plain.entry, &instance.entry) && !is_same(&plain.entry, &plain.entry));
        let spoof = json!({"role": "web", "host": "h", "port": 80, "id": ID, "seaport-hub": "x"});
        let instance = accepted(ID, spoof.clone()).unwrap();
        assert_eq!(from(&instance.entry), None);
        assert_eq!(tell_entry(ID, &instance.entry), said(spoof));
    }

    #[test]
    fn patterns_are_roles_and_ranges() {
        let web = said(json!({"role": "web", "version": "1.2.3"}));
        let none = said(json!({"role": "web"}));
        let odd = said(json!({"role": "web", "version": "1.2"}));
        let matches = |pattern: &str, said: &Said| Pattern::parse(pattern).unwrap().matches(said);
        for pattern in ["", "web", "web@1.2.x", "web@~1.2", "web@*", "@>=1 <2"] {
            assert!(matches(pattern, &web), "{pattern}");
        }
        assert!(!matches("web@2", &web) && !matches("api", &web) && !matches("we", &web));
        assert!(matches("web", &none) && !matches("web@*", &none), "without a version it matches none");
        assert!(matches("web", &odd) && !matches("web@1.2.x", &odd));
        assert!(Pattern::parse("web@one").is_err());
    }
}
