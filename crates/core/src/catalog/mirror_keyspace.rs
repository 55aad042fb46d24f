//! The mirror keyspace: the layout of hound-dog's peers, in the same store as the SkyDNS layout.
//!
//! A hound-dog peer puts the service into the key and the location into the value: `service/web/10.0.0.5` →
//! `10.0.0.5:8080`, or `http://10.0.0.5:8080` in its second generation. Such an item gets the name that it would have if
//! the peer had registered here, in the default category. The mirror keys that this daemon and others of its kind write
//! for hound-dog's readers are in the same keyspace. They are copies of entries of the SkyDNS layout and no entries of
//! their own; their lease identifies them.
//!
//! Owns: the prefix, the distinction of peers' items from mirror keys, item → name and entry. Pure. Does not own: the
//! mirror keys that are written (the `registry` module).

use skyhound_model::{Entry, Key, Name, Naming, Registration, address};
use skyhound_store::{Item, LeaseId};
use std::net::{IpAddr, Ipv4Addr};

/// The default of `--hound-dog-namespace`, and of hound-dog's own `HD_SERVICE_NAMESPACE`.
pub const DEFAULT_MIRROR_NAMESPACE: &str = "service";

/// The frontend that entries of the mirror keyspace belong to.
const FRONTEND: &str = "hound-dog";

/// The keys below one namespace of hound-dog.
#[derive(Debug, Clone)]
pub(super) struct MirrorKeyspace {
    /// The namespace with a slash: `service/`.
    prefix: String,
}

impl MirrorKeyspace {
    pub(super) fn new(namespace: &str) -> Self {
        Self { prefix: format!("{}/", namespace.trim_end_matches('/')) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        key.as_bytes().starts_with(self.prefix.as_bytes())
    }

    /// Returns whether an item is a mirror key: the copy of an entry that is in the SkyDNS layout as well.
    pub(super) fn is_mirror_key(&self, item: &Item) -> bool {
        self.contains(&item.key) && item.lease.is_some_and(LeaseId::is_ours)
    }

    /// Returns the name and the entry of a peer's item, or the reason that it has none, which continues a sentence after
    /// the key.
    pub(super) fn read(&self, item: &Item, naming: &Naming) -> Result<(Name, Entry), String> {
        let path = &item.key.as_bytes()[self.prefix.len()..];
        let path = str::from_utf8(path).map_err(|_| "is not UTF-8".to_owned())?;
        let (service, _) =
            path.split_once('/').ok_or_else(|| "is not a hound-dog key; expected SERVICE/NODE".to_owned())?;
        let value = String::from_utf8_lossy(&item.value);
        // A snapshot file holds entries in the form of the SkyDNS layout, also those of this keyspace.
        let saved = Entry::parse(&item.value).ok().and_then(|entry| Some((entry.host?.to_string(), entry.port)));
        let location = match &saved {
            Some((host, port)) => Some((host.as_str(), *port)),
            None => address::host_and_port(value.trim()),
        };
        let (host, port) =
            location.ok_or_else(|| format!("has {value:?}, which is neither HOST:PORT nor a URI with both"))?;
        let registration = Registration {
            service: service.to_owned(),
            host: host.to_owned(),
            port,
            frontend: FRONTEND,
            ..Registration::default()
        };
        // The registration has a host, so the address of its client is not used.
        let instance = registration
            .accept(naming, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            .map_err(|invalid| format!("cannot be registered: {invalid}"))?;
        // The TTL in DNS follows from the lease that the peer attached.
        Ok((instance.name, Entry { ttl: 0, ..instance.entry }))
    }
}
