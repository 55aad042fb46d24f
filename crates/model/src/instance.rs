//! From what a peer said ([`Registration`]) to what is stored ([`Instance`]).
//!
//! Owns: what a peer may say and the sentence it hears otherwise, the id, the defaults. Does not own:
//! how a dialect spells the fields, nor whether the instance may be written (`skyhound_core::registry`).

use super::details::DetailFields;
use super::entry::{Entry, Host};
use super::key::{Key, Layout};
use super::name::{Label, Name, NameError};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The priority of an instance whose peer did not say (skyapi's README).
pub const DEFAULT_PRIORITY: u16 = 1;
/// The weight of an instance whose peer did not say (skyapi's README).
pub const DEFAULT_WEIGHT: u16 = 100;
/// The longest `text`, in bytes.
pub const TEXT_MAX: usize = 4096;
/// The most `meta.…` fields of one instance.
pub const META_MAX: usize = 64;
/// The longest `meta.…` value, in bytes.
pub const META_VALUE_MAX: usize = 1024;
/// The longest address that is kept as it was said, in bytes.
pub const ADDRESS_MAX: usize = 2048;
/// The longest time that an instance may be cached, in seconds: a day.
pub const TTL_MAX: u32 = 86_400;

/// How registrations become names: the daemon's settings.
#[derive(Debug, Clone)]
pub struct Naming {
    /// `--dns-root`: where all names end.
    pub root: Name,
    /// `--key-prefix`: where all keys begin.
    pub layout: Layout,
    /// `--default-category`: for peers that say none.
    pub default_category: String,
    /// The TTL of an instance whose peer did not say, in seconds: the session's term, so that no cache
    /// outlives a record that was not renewed.
    pub default_ttl: u32,
}

/// What a peer said of itself, in no dialect's spelling.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// The service: one label, or several with dots between.
    pub service: String,
    /// The categories, as in the name from left to right; none means the default.
    pub category: Vec<String>,
    /// Where it is. Empty, `0.0.0.0` or `::` means the peer's address.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The address in the peer's own words, for dialects that say it again. With it the port may be 0: then the
    /// address is one that DNS cannot say (`unix:///run/x`), and the instance has no host.
    pub address: Option<String>,
    /// Begins the id, if there is one.
    pub prefix: Option<String>,
    /// SRV priority.
    pub priority: Option<u16>,
    /// SRV weight.
    pub weight: Option<u16>,
    /// The longest time to cache it, in seconds.
    pub ttl: Option<u32>,
    /// What TXT answers.
    pub text: Option<String>,
    /// See [`Entry::group`].
    pub group: Option<String>,
    /// Semantic version.
    pub version: Option<String>,
    /// What else it says of itself.
    pub meta: BTreeMap<String, String>,
    /// The dialect that it speaks.
    pub dialect: &'static str,
}

/// An accepted registration: one process that offers one service, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its full name.
    pub name: Name,
    /// Its key in the store.
    pub key: Key,
    /// What is stored.
    pub entry: Entry,
    /// A second key, for programs that read another layout.
    pub mirror: Option<MirrorKey>,
}

/// An entry's second key: what programs read that know another layout. Lives and goes with the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorKey {
    /// The first is taken if nothing stands there, else the second.
    pub keys: [Key; 2],
    /// What is stored there.
    pub value: Bytes,
}

/// What is wrong with a registration. Reads as a sentence that names the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} {problem}")]
pub struct InvalidParameter {
    /// The parameter.
    pub parameter: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl InvalidParameter {
    /// A sentence from its two halves.
    pub fn new(parameter: &'static str, problem: impl std::fmt::Display) -> Self {
        Self { parameter, problem: problem.to_string() }
    }
}

impl Registration {
    /// Checks everything, and says where the instance belongs. `peer` is the address that it spoke from.
    pub fn accept(self, naming: &Naming, peer: IpAddr) -> Result<Instance, InvalidParameter> {
        let host = self.host(peer)?;
        self.check_numbers()?;
        self.check_texts()?;
        let category = if self.category.is_empty() {
            naming.default_category.split(',').map(str::to_owned).collect()
        } else {
            self.category.clone()
        };
        let location = match (&host, &self.address) {
            (Some(host), _) => host.to_string(),
            (None, address) => address.clone().unwrap_or_default(),
        };
        let id = self.id(&category, &location)?;
        let name = self.name(naming, &category, &id)?;
        let key = naming.layout.key(&name).map_err(|e| InvalidParameter::new("service", e))?;
        let details = DetailFields {
            id: id.to_string(),
            service: self.service,
            category,
            dialect: self.dialect.to_owned(),
            version: self.version.unwrap_or_default(),
            address: self.address.unwrap_or_default(),
            meta: self.meta,
        };
        let entry = Entry {
            host,
            port: self.port,
            priority: self.priority.unwrap_or(DEFAULT_PRIORITY),
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
            text: self.text.unwrap_or_default().into(),
            mail: false,
            ttl: self.ttl.unwrap_or(naming.default_ttl),
            targetstrip: 0,
            group: self.group.unwrap_or_default().into(),
            details: Some(details.into()),
        };
        Ok(Instance { name, key, entry, mirror: None })
    }

    /// Whether DNS cannot say where it is.
    fn is_opaque(&self) -> bool {
        self.port == 0 && self.host.is_empty() && self.address.as_ref().is_some_and(|address| !address.is_empty())
    }

    fn host(&self, peer: IpAddr) -> Result<Option<Host>, InvalidParameter> {
        if self.is_opaque() {
            return Ok(None);
        }
        if matches!(self.host.as_str(), "" | "0.0.0.0" | "::") {
            return Ok(Some(Host::Addr(peer.to_canonical())));
        }
        let host = Host::parse(&self.host).map_err(|e| InvalidParameter::new("host", e))?;
        if let Host::Name(name) = &host {
            for label in name.labels() {
                registrable_label("host", &label.to_string())?;
            }
        }
        Ok(Some(host))
    }

    fn check_numbers(&self) -> Result<(), InvalidParameter> {
        if self.port == 0 && !self.is_opaque() {
            return Err(InvalidParameter::new("port", "is 0; give the port that the service listens on, 1 to 65535"));
        }
        match self.ttl {
            Some(ttl) if !(1..=TTL_MAX).contains(&ttl) => {
                Err(InvalidParameter::new("ttl", format!("is {ttl}; give seconds from 1 to {TTL_MAX}")))
            }
            _ => Ok(()),
        }
    }

    fn check_texts(&self) -> Result<(), InvalidParameter> {
        let bounded = |parameter, text: &str, max: usize| match text.len() {
            length if length > max => {
                Err(InvalidParameter::new(parameter, format!("is {length} bytes; {max} is the most")))
            }
            _ => Ok(()),
        };
        bounded("text", self.text.as_deref().unwrap_or_default(), TEXT_MAX)?;
        bounded("address", self.address.as_deref().unwrap_or_default(), ADDRESS_MAX)?;
        bounded("group", self.group.as_deref().unwrap_or_default(), META_VALUE_MAX)?;
        if self.meta.len() > META_MAX {
            return Err(InvalidParameter::new(
                "meta",
                format!("has {} fields; {META_MAX} is the most", self.meta.len()),
            ));
        }
        for (name, value) in &self.meta {
            bounded("meta", name, META_VALUE_MAX)?;
            bounded("meta", value, META_VALUE_MAX)?;
        }
        match &self.version {
            Some(version) => match semver::Version::parse(version) {
                Ok(_) => Ok(()),
                Err(e) => Err(InvalidParameter::new(
                    "version",
                    format!("is {version:?}, and that is no version such as 1.2.3: {e}"),
                )),
            },
            None => Ok(()),
        }
    }

    /// The last label: skyapi's hash, so that the same process has the same key whoever writes it.
    fn id(&self, category: &[String], host: &str) -> Result<Label, InvalidParameter> {
        let hash = skyapi_id(&self.service, category, host, self.port);
        match self.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            None => registrable_label("prefix", &hash),
            Some(prefix) => registrable_label("prefix", &format!("{prefix}-{}", &hash[..20])),
        }
    }

    fn name(&self, naming: &Naming, category: &[String], id: &Label) -> Result<Name, InvalidParameter> {
        let mut labels = naming.root.labels().to_vec();
        for part in category.iter().rev() {
            labels.extend(registrable_labels("category", part)?);
        }
        if self.service.is_empty() {
            return Err(InvalidParameter::new("service", "is missing; say which service this process offers"));
        }
        labels.extend(registrable_labels("service", &self.service)?);
        labels.push(id.clone());
        Name::from_root(labels).map_err(|e| InvalidParameter::new("service", format!("with its category and id {e}")))
    }
}

/// Labels that a peer may register, from dotted text, root first.
fn registrable_labels(parameter: &'static str, dotted: &str) -> Result<Vec<Label>, InvalidParameter> {
    dotted.split('.').rev().map(|label| registrable_label(parameter, label)).collect()
}

fn registrable_label(parameter: &'static str, label: &str) -> Result<Label, InvalidParameter> {
    Label::registrable(label).map_err(|error| match error {
        NameError::Wildcard(_) => InvalidParameter::new(parameter, error),
        _ => InvalidParameter::new(parameter, format!("{label:?} {error}")),
    })
}

/// skyapi's id: lower-case hex SHA-1 of service, category, host and port, one behind the other. Several
/// categories are spelt as Go prints such a slice (`%#v`), because the original does.
pub fn skyapi_id(service: &str, category: &[String], host: &str, port: u16) -> String {
    let category = match category {
        [one] => one.clone(),
        several => {
            let quoted: Vec<_> = several.iter().map(|c| format!("{c:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        }
    };
    sha1_hex(format!("{service}{category}{host}{port}"))
}

/// The SHA-1 of a text in 40 lower-case digits: what ids are made of that have to be the same everywhere.
pub fn sha1_hex(text: impl AsRef<[u8]>) -> String {
    Sha1::digest(text).iter().fold(String::with_capacity(40), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Instance {
    /// The same instance under another last label, for dialects whose peers say who they are themselves. What is wrong
    /// with the name then is said of `parameter`.
    pub fn with_id_label(
        mut self,
        label: Label,
        parameter: &'static str,
        naming: &Naming,
    ) -> Result<Self, InvalidParameter> {
        let above = self.name.ancestor(1).unwrap_or_default();
        self.name = above.child(label).map_err(|e| InvalidParameter::new(parameter, e))?;
        self.key = naming.layout.key(&self.name).map_err(|e| InvalidParameter::new(parameter, e))?;
        Ok(self)
    }
}

#[cfg(any(test, feature = "testing"))]
impl Naming {
    /// The naming of a daemon with all defaults, for tests.
    ///
    /// # Panics
    /// Never: the default zone is a valid name.
    #[expect(clippy::unwrap_used, reason = "a constant")]
    pub fn example() -> Self {
        Self {
            root: "skydns.local.".parse().unwrap(),
            layout: Layout::new("/skydns"),
            default_category: "services".into(),
            default_ttl: 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn naming() -> Naming {
        Naming::example()
    }

    fn foo() -> Registration {
        Registration {
            service: "foo".into(),
            host: "127.0.0.1".into(),
            port: 9999,
            dialect: "skyapi",
            ..Default::default()
        }
    }

    #[test]
    fn the_skyapi_example_has_the_original_key() {
        let instance = foo().accept(&naming(), PEER).unwrap();
        assert_eq!(
            instance.key,
            Key::from("/skydns/local/skydns/services/foo/10ec6ea983c7a572acb0a023b9d645f6765c5a68")
        );
        assert_eq!(
            String::from_utf8(instance.entry.encode()).unwrap(),
            r#"{"host":"127.0.0.1","port":9999,"priority":1,"weight":100,"ttl":30,"skyhound":{"id":"10ec6ea983c7a572acb0a023b9d645f6765c5a68","service":"foo","category":["services"],"dialect":"skyapi"}}"#
        );
    }

    #[test]
    fn several_categories_and_a_prefix_are_in_the_name() {
        let registration = Registration {
            category: vec!["services".into(), "production".into()],
            prefix: Some("blue".into()),
            ..foo()
        };
        let name = registration.accept(&naming(), PEER).unwrap().name.to_string();
        let hash = skyapi_id("foo", &["services".into(), "production".into()], "127.0.0.1", 9999);
        assert_eq!(name, format!("blue-{}.foo.services.production.skydns.local.", &hash[..20]));
        // The original's text for two categories, hashed by `printf … | sha1sum`.
        assert_eq!(hash, "c861a0497c69790adcb6ddcffce9d1d278cabea6");
    }

    #[test]
    fn a_missing_host_defaults_to_the_peer_address() {
        for host in ["", "0.0.0.0", "::"] {
            let instance = Registration { host: host.into(), ..foo() }.accept(&naming(), PEER).unwrap();
            assert_eq!(instance.entry.host, Some(Host::Addr(PEER)), "{host:?}");
        }
    }

    #[test]
    fn an_address_without_dns_form_has_no_host() {
        let address = Some("unix:///run/x".to_owned());
        let opaque = Registration { host: String::new(), port: 0, address: address.clone(), ..foo() };
        let instance = opaque.accept(&naming(), PEER).unwrap();
        assert_eq!((&instance.entry.host, instance.entry.port), (&None, 0));
        let id = skyapi_id("foo", &["services".into()], "unix:///run/x", 0);
        assert_eq!(instance.name.to_string(), format!("{id}.foo.services.skydns.local."));
        assert_eq!(Entry::parse(&instance.entry.encode()).unwrap(), instance.entry);
        assert_eq!(instance.entry.details.unwrap().address(), "unix:///run/x");

        let instance = Registration { address, ..foo() }.accept(&naming(), PEER).unwrap();
        assert_eq!(instance.entry.port, 9999, "with a port it is only said again");
        let plain = foo().accept(&naming(), PEER).unwrap();
        assert_eq!(instance.key, plain.key);
    }

    #[test]
    fn invalid_registrations_name_the_parameter() {
        let long = "x".repeat(64);
        let bad: [(Registration, &str); 16] = [
            (Registration { port: 0, address: Some(String::new()), ..foo() }, "port is 0"),
            (Registration { address: Some("x".repeat(2049)), ..foo() }, "address is 2049 bytes; 2048 is the most"),
            (Registration { service: String::new(), ..foo() }, "service is missing"),
            (Registration { service: "../../x".into(), ..foo() }, "service \"/x\" has '/'"),
            (Registration { service: "a..b".into(), ..foo() }, "service \"\" has an empty label"),
            (Registration { service: long.clone(), ..foo() }, "service \"xxx"),
            (Registration { service: "any".into(), ..foo() }, "service is \"any\", which stands for"),
            (Registration { category: vec![String::new()], ..foo() }, "category \"\" has an empty label"),
            (Registration { category: vec!["a/b".into()], ..foo() }, "category \"a/b\" has '/'"),
            (Registration { port: 0, ..foo() }, "port is 0"),
            (Registration { prefix: Some("x".repeat(43)), ..foo() }, "prefix \"xxx"),
            (Registration { host: "a b".into(), ..foo() }, "host"),
            (Registration { ttl: Some(0), ..foo() }, "ttl is 0; give seconds from 1 to 86400"),
            (Registration { version: Some("1.x".into()), ..foo() }, "version is \"1.x\", and that is no version"),
            (Registration { text: Some("x".repeat(4097)), ..foo() }, "text is 4097 bytes; 4096 is the most"),
            (
                Registration { category: vec![vec!["y".repeat(60); 4].join(".")], ..foo() },
                "service with its category and id is a name over 255 bytes",
            ),
        ];
        for (registration, why) in bad {
            let error = registration.accept(&naming(), PEER).unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
