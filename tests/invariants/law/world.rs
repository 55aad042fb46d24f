//! A store of every kind of entry, and the servers that answer from it.

use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::{Catalog, Snapshot};
use skyhound_dns::datagram::DatagramHandler;
use skyhound_dns::limit::Access;
use skyhound_dns::{DnsSettings, ExtendedError};
use skyhound_model::{Key, Layout, Name};
use skyhound_store::{Batch, Change, Item, LeaseId, Revision};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The zones, the deepest first.
pub const ZONES: [&str; 4] = ["deep.skydns.test.", "skydns.test.", "10.in-addr.arpa.", "other."];
/// The largest UDP answer, whatever size a client announces.
pub const PAYLOAD_MAX: u16 = skyhound_dns::settings::UDP_PAYLOAD_MAX;
/// The extended DNS error for a denied client.
pub const PROHIBITED: u16 = ExtendedError::Prohibited as u16;

/// Keys below `/skydns/`.
const ENTRIES: &[(&str, &str)] = &[
    ("test/skydns/web/a", r#"{"host":"10.0.0.1","port":80,"ttl":60}"#),
    ("test/skydns/web/b", r#"{"host":"2001:db8::1","port":81,"priority":20,"weight":7}"#),
    ("test/skydns/web/c", r#"{"host":"10.0.0.1","port":82,"text":"three"}"#),
    ("test/skydns/alias", r#"{"host":"web.skydns.test"}"#),
    ("test/skydns/out", r#"{"host":"www.example.org","port":443}"#),
    ("test/skydns/loop", r#"{"host":"pool.skydns.test"}"#),
    ("test/skydns/pool", r#"{"host":"loop.skydns.test"}"#),
    ("test/skydns/post/a", r#"{"host":"10.0.8.1","mail":true,"priority":5}"#),
    ("test/skydns/post/b", r#"{"host":"mx.example.org","mail":true}"#),
    ("test/skydns/bad", r#"{"port":"eighty"}"#),
    ("test/skydns/half/bad", "?"),
    ("test/skydns/half/good", r#"{"host":"10.0.5.1"}"#),
    ("test/skydns/grp/a", r#"{"host":"10.0.4.1","group":"g1"}"#),
    ("test/skydns/grp/x/b", r#"{"host":"10.0.4.2","group":"g2"}"#),
    ("test/skydns/strip/x/1", r#"{"host":"10.0.3.1","port":1,"targetstrip":2}"#),
    ("test/skydns/dns/ns/a", r#"{"host":"10.0.6.1"}"#),
    ("test/skydns/dns/apex/a", r#"{"host":"10.0.7.1"}"#),
    ("test/skydns/_tcp/_odd", r#"{"host":"10.0.9.1","port":1}"#),
    ("test/skydns/deep/x/y/z", r#"{"host":"10.1.0.1","port":9}"#),
    ("test/skydns/sp ace/Upper", r#"{"host":"10.0.2.9"}"#),
    ("arpa/in-addr/10/0/0/1", r#"{"host":"a.web.skydns.test"}"#),
    ("other/star/*", r#"{"host":"10.2.0.1"}"#),
];

/// The client that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Near,
    Stranger,
    Denied,
}

impl Client {
    pub fn addr(self) -> SocketAddr {
        let ip = match self {
            Self::Near => Ipv4Addr::LOCALHOST,
            Self::Stranger => Ipv4Addr::new(203, 0, 113, 9),
            Self::Denied => Ipv4Addr::new(198, 51, 100, 7),
        };
        SocketAddr::from((ip, 5353))
    }
}

/// The settings of every law.
pub fn settings() -> DnsSettings {
    let zones = ZONES.map(|zone| Name::parse(zone).unwrap());
    let denied = Client::Denied.addr().ip().to_string();
    DnsSettings {
        access: Access { allow: Vec::new(), deny: vec![denied.parse().unwrap()] },
        hostmaster: Some(Name::parse("ops.example.org").unwrap()),
        server_id: "here".to_owned(),
        ..DnsSettings::new(zones.to_vec())
    }
}

fn put(key: &str, value: &[u8]) -> Change {
    Change::Put(Item {
        key: Key::from(format!("/skydns/{key}")),
        value: value.to_vec().into(),
        revision: Revision(7),
        lease: key.ends_with('a').then_some(LeaseId(1)),
    })
}

/// The store with these entries besides; keys below `/skydns/`.
pub fn snapshot(more: &[(&str, &[u8])]) -> Snapshot {
    let mut changes: Vec<_> = ENTRIES.iter().map(|(key, value)| put(key, value.as_bytes())).collect();
    // More than UDP holds, and a text of several strings.
    for at in 0..90 {
        let value = format!(r#"{{"host":"10.3.0.{at}","port":{},"priority":{}}}"#, 1000 + at, 1 + at % 3);
        changes.push(put(&format!("test/skydns/many/n{at}"), value.as_bytes()));
    }
    let long = format!(r#"{{"text":"{}"}}"#, "0123456789".repeat(90));
    changes.push(put("test/skydns/long", long.as_bytes()));
    changes.extend(more.iter().map(|(key, value)| put(key, value)));
    Snapshot::empty(Keyspace::from(Layout::new("/skydns"))).apply(&Batch { revision: Revision(7), changes })
}

/// A catalog of that.
pub fn catalog(more: &[(&str, &[u8])]) -> Arc<Catalog> {
    Catalog::fixed(Arc::new(snapshot(more)))
}

/// The handler that answers datagrams from it.
pub fn datagrams(more: &[(&str, &[u8])]) -> DatagramHandler {
    DatagramHandler::new(catalog(more), &settings())
}
