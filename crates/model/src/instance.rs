//! Validation of a client's request ([`Registration`]) into the instance that is stored ([`Instance`]).
//!
//! Owns: the limits of a registration with the error texts that clients receive, the id, and the defaults. Does not own:
//! a frontend's spelling of the fields, nor the decision to write the instance (`skyhound_core::registry`).

use super::details::DetailFields;
use super::entry::{Entry, Host};
use super::key::{Key, Layout};
use super::name::{Label, Name, NameError};
use bytes::Bytes;
use sha1::{Digest, Sha1};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Priority of an instance whose client set none (skyapi's README).
pub const DEFAULT_PRIORITY: u16 = 1;
/// Weight of an instance whose client set none (skyapi's README).
pub const DEFAULT_WEIGHT: u16 = 100;
/// Limit of `text`, in bytes.
const TEXT_MAX: usize = 4096;
/// Limit of the number of `meta.…` fields of one instance.
pub const META_MAX: usize = 64;
/// Limit of the name and of the value of a `meta.…` field, in bytes.
pub const META_VALUE_MAX: usize = 1024;
/// Limit of an address in the client's own notation, in bytes.
pub const ADDRESS_MAX: usize = 2048;
/// Limit of the TTL of an instance, in seconds: a day.
const TTL_MAX: u32 = 86_400;

/// The daemon's settings by which registrations become names and keys.
///
/// ```
/// use skyhound_model::{Layout, Naming};
///
/// let naming = Naming {
///     root: "skydns.local".parse()?,
///     layout: Layout::new("/skydns"),
///     default_category: "services".into(),
///     default_ttl: 30,
/// };
/// assert_eq!(naming.layout.key(&naming.root)?.to_string(), "/skydns/local/skydns");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Naming {
    /// `--dns-root`: the end of every name.
    pub root: Name,
    /// `--key-prefix`: the beginning of every key.
    pub layout: Layout,
    /// `--default-category`: for clients that set none.
    pub default_category: String,
    /// TTL of an instance whose client set none, in seconds: the session's lease TTL, so that no cache outlives a record
    /// that was not renewed.
    pub default_ttl: u32,
}

/// A client's request to register one instance, independent of the frontend that received it.
///
/// ```
/// use skyhound_model::{Layout, Naming, Registration};
///
/// let naming = Naming {
///     root: "skydns.local".parse()?,
///     layout: Layout::new("/skydns"),
///     default_category: "services".into(),
///     default_ttl: 30,
/// };
/// let registration = Registration { service: "web".into(), port: 0, ..Registration::default() };
/// let error = registration.accept(&naming, "10.0.0.5".parse()?).unwrap_err();
/// assert_eq!(error.parameter, "port");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Service: one label, or several separated by dots.
    pub service: String,
    /// Categories, as in the name from left to right; none means the default.
    pub category: Vec<String>,
    /// Host. Empty, `0.0.0.0` or `::` means the client's address.
    pub host: String,
    /// Port, 1 to 65535.
    pub port: u16,
    /// Address in the client's own notation, up to [`ADDRESS_MAX`] bytes, for frontends that return it. With an address
    /// the port may be 0: then the address has no form in DNS (`unix:///run/x`), and the instance has no host.
    pub address: Option<String>,
    /// Prefix of the id.
    pub prefix: Option<String>,
    /// SRV priority.
    pub priority: Option<u16>,
    /// SRV weight.
    pub weight: Option<u16>,
    /// TTL of the records, 1 to 86,400 seconds.
    pub ttl: Option<u32>,
    /// Content of the TXT record, up to 4096 bytes.
    pub text: Option<String>,
    /// Group ([`Entry::group`]), up to [`META_VALUE_MAX`] bytes.
    pub group: Option<String>,
    /// Semantic version.
    pub version: Option<String>,
    /// Other properties, up to [`META_MAX`].
    pub meta: BTreeMap<String, String>,
    /// Frontend that received the request.
    pub frontend: &'static str,
}

/// An accepted registration: one process that offers one service, with its name and key.
///
/// ```
/// use skyhound_model::{Layout, Naming, Registration};
///
/// let naming = Naming {
///     root: "skydns.local".parse()?,
///     layout: Layout::new("/skydns"),
///     default_category: "services".into(),
///     default_ttl: 30,
/// };
/// let registration = Registration {
///     service: "web".into(),
///     host: "10.0.0.5".into(),
///     port: 8080,
///     prefix: Some("blue".into()),
///     ..Registration::default()
/// };
/// let instance = registration.accept(&naming, "192.0.2.7".parse()?)?;
/// assert!(instance.name.to_string().starts_with("blue-"));
/// assert!(instance.name.to_string().ends_with(".web.services.skydns.local."));
/// assert_eq!((instance.entry.port, instance.entry.ttl), (8080, 30));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Full name.
    pub name: Name,
    /// Key in the store.
    pub key: Key,
    /// Value in the store.
    pub entry: Entry,
    /// Second key, for programs that read another layout.
    pub mirror: Option<MirrorKey>,
}

/// The second key of an entry, for programs that read another layout. It is written and removed with the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorKey {
    /// The key to use, and the one to use instead if the first exists already.
    pub keys: [Key; 2],
    /// Value to store.
    pub value: Bytes,
}

/// The reason why a registration is invalid. Its text is a sentence that begins with the parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} {problem}")]
pub struct InvalidParameter {
    /// Name of the parameter.
    pub parameter: &'static str,
    /// Predicate of the sentence, with the value and the remedy.
    pub problem: String,
}

impl InvalidParameter {
    /// Creates the error from the two parts of its sentence.
    pub fn new(parameter: &'static str, problem: impl std::fmt::Display) -> Self {
        Self { parameter, problem: problem.to_string() }
    }
}

impl Registration {
    /// Validates all fields, and derives the name, the key and the entry. `peer` is the client's address.
    ///
    /// # Errors
    /// The first parameter that is missing, out of its range, over its limit, or not allowed in a name.
    pub fn accept(self, naming: &Naming, peer: IpAddr) -> Result<Instance, InvalidParameter> {
        let host = self.host(peer)?;
        self.check_numbers()?;
        self.check_texts()?;
        let category = self.category(naming);
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
            frontend: self.frontend.to_owned(),
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

    /// Returns the categories of the request, or else the default ones.
    fn category(&self, naming: &Naming) -> Vec<String> {
        if self.category.is_empty() {
            naming.default_category.split(',').map(str::to_owned).collect()
        } else {
            self.category.clone()
        }
    }

    /// Returns true if the address has no form in DNS.
    fn is_opaque(&self) -> bool {
        self.port == 0 && self.host.is_empty() && self.address.as_ref().is_some_and(|address| !address.is_empty())
    }

    /// Returns the host; `None` for an address without a form in DNS.
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
                Err(InvalidParameter::new(parameter, format!("is {length} bytes; the limit is {max}")))
            }
            _ => Ok(()),
        };
        bounded("text", self.text.as_deref().unwrap_or_default(), TEXT_MAX)?;
        bounded("address", self.address.as_deref().unwrap_or_default(), ADDRESS_MAX)?;
        bounded("group", self.group.as_deref().unwrap_or_default(), META_VALUE_MAX)?;
        if self.meta.len() > META_MAX {
            return Err(InvalidParameter::new(
                "meta",
                format!("has {} fields; the limit is {META_MAX}", self.meta.len()),
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
                    format!("is {version:?}, which is not a version such as 1.2.3: {e}"),
                )),
            },
            None => Ok(()),
        }
    }

    /// Returns the last label: skyapi's hash, so that a process has the same key whichever program registers it.
    fn id(&self, category: &[String], host: &str) -> Result<Label, InvalidParameter> {
        let hash = skyapi_id(&self.service, category, host, self.port);
        match self.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            None => registrable_label("prefix", &hash),
            Some(prefix) => registrable_label("prefix", &format!("{prefix}-{}", &hash[..20])),
        }
    }

    /// Returns the full name: id, service, categories, root.
    fn name(&self, naming: &Naming, category: &[String], id: &Label) -> Result<Name, InvalidParameter> {
        let mut labels = naming.root.labels().to_vec();
        for part in category.iter().rev() {
            labels.extend(registrable_labels("category", part)?);
        }
        if self.service.is_empty() {
            return Err(InvalidParameter::new("service", "is missing; name the service that this process offers"));
        }
        labels.extend(registrable_labels("service", &self.service)?);
        labels.push(id.clone());
        Name::from_root(labels).map_err(|e| InvalidParameter::new("service", format!("with its category and id {e}")))
    }
}

/// Parses dotted text into labels that a client may register, root first.
fn registrable_labels(parameter: &'static str, dotted: &str) -> Result<Vec<Label>, InvalidParameter> {
    dotted.split('.').rev().map(|label| registrable_label(parameter, label)).collect()
}

fn registrable_label(parameter: &'static str, label: &str) -> Result<Label, InvalidParameter> {
    Label::registrable(label).map_err(|error| match error {
        NameError::Wildcard(_) => InvalidParameter::new(parameter, error),
        _ => InvalidParameter::new(parameter, format!("{label:?} {error}")),
    })
}

/// Returns skyapi's id: the SHA-1 of service, category, host and port, concatenated, in lower-case hex. Several
/// categories are written as Go prints such a slice (`%#v`), because the original does so.
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

/// Returns the SHA-1 of a text in 40 lower-case hex digits, for ids that must be the same everywhere.
pub fn sha1_hex(text: impl AsRef<[u8]>) -> String {
    Sha1::digest(text).iter().fold(String::with_capacity(40), |mut hex, byte| {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Instance {
    /// Replaces the last label of the name, for frontends whose clients choose their id.
    ///
    /// # Errors
    /// An error about `parameter` if the new name is too long or has no key.
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
    /// Returns the settings of a daemon with all defaults, for tests.
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
            frontend: "skyapi",
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
            concat!(
                r#"{"host":"127.0.0.1","port":9999,"priority":1,"weight":100,"ttl":30,"skyhound":{"#,
                r#""id":"10ec6ea983c7a572acb0a023b9d645f6765c5a68","service":"foo","category":["services"],"#,
                "\"dialect\":\"skyapi\"}}"
            )
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
        assert_eq!(instance.entry.port, 9999, "with a port the address is only returned");
        let plain = foo().accept(&naming(), PEER).unwrap();
        assert_eq!(instance.key, plain.key);
    }

    #[test]
    fn invalid_registrations_name_the_parameter() {
        let long = "x".repeat(64);
        let invalid: [(Registration, &str); 16] = [
            (Registration { port: 0, address: Some(String::new()), ..foo() }, "port is 0"),
            (Registration { address: Some("x".repeat(2049)), ..foo() }, "address is 2049 bytes; the limit is 2048"),
            (Registration { service: String::new(), ..foo() }, "service is missing"),
            (Registration { service: "../../x".into(), ..foo() }, "service \"/x\" has '/'"),
            (Registration { service: "a..b".into(), ..foo() }, "service \"\" has an empty label"),
            (Registration { service: long.clone(), ..foo() }, "service \"xxx"),
            (Registration { service: "any".into(), ..foo() }, "service is \"any\", which matches every label"),
            (Registration { category: vec![String::new()], ..foo() }, "category \"\" has an empty label"),
            (Registration { category: vec!["a/b".into()], ..foo() }, "category \"a/b\" has '/'"),
            (Registration { port: 0, ..foo() }, "port is 0"),
            (Registration { prefix: Some("x".repeat(43)), ..foo() }, "prefix \"xxx"),
            (Registration { host: "a b".into(), ..foo() }, "host"),
            (Registration { ttl: Some(0), ..foo() }, "ttl is 0; give seconds from 1 to 86400"),
            (
                Registration { version: Some("1.x".into()), ..foo() },
                "version is \"1.x\", which is not a version such as",
            ),
            (Registration { text: Some("x".repeat(4097)), ..foo() }, "text is 4097 bytes; the limit is 4096"),
            (
                Registration { category: vec![vec!["y".repeat(60); 4].join(".")], ..foo() },
                "service with its category and id is a name over 255 bytes",
            ),
        ];
        for (registration, reason) in invalid {
            let error = registration.accept(&naming(), PEER).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
