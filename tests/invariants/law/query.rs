//! Any query string of `/provide`: an error with a reason, or an instance within the zone that DNS finds.

use super::value::question;
use super::world::Client;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use skyhound_core::catalog::Keyspace;
use skyhound_core::catalog::{Catalog, Snapshot};
use skyhound_dns::DnsSettings;
use skyhound_dns::datagram::DatagramHandler;
use skyhound_frontends::skyapi::query;
use skyhound_model::{Entry, Layout, Name, Naming};
use skyhound_store::{Batch, Change, Item, Revision};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn naming() -> Naming {
    Naming {
        root: Name::parse("skydns.test").unwrap(),
        layout: Layout::new("/skydns"),
        default_category: "services".into(),
        default_ttl: 30,
    }
}

/// Read, accepted, stored, found.
pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let accepted = query::parse(text)
        .and_then(|registration| registration.accept(&naming(), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))));
    let instance = match accepted {
        Ok(instance) => instance,
        Err(invalid) => {
            let sentence = invalid.to_string();
            assert!(!sentence.is_empty() && sentence.len() < 4 * text.len() + 300, "{sentence}");
            return;
        }
    };
    let naming = naming();
    assert!(instance.name.is_within(&naming.root) && instance.name != naming.root);
    assert_eq!(naming.layout.name(instance.key.as_bytes()).as_ref(), Ok(&instance.name));
    assert!(instance.key.as_bytes().starts_with(b"/skydns/test/skydns/"));
    let value = instance.entry.encode();
    assert_eq!(Entry::parse(&value).as_ref(), Ok(&instance.entry), "what is stored can be read");
    let item = Item { key: instance.key.clone(), value: value.into(), revision: Revision(1), lease: None };
    let batch = Batch { revision: Revision(1), changes: vec![Change::Put(item)] };
    let snapshot = Snapshot::empty(Keyspace::from(naming.layout.clone())).apply(&batch);
    let settings = DnsSettings::new(vec![naming.root]);
    let world = DatagramHandler::new(Catalog::fixed(Arc::new(snapshot)), &settings);
    // The longest name twice does not fit into 512 bytes.
    let asked = question(&instance.name.to_string(), RecordType::SRV, Some(1232));
    let response = Message::from_vec(&world.respond_to(&asked, Client::Near.addr(), 1).unwrap()).unwrap();
    assert_eq!(response.metadata.response_code, ResponseCode::NoError, "{response}");
    assert_eq!(response.answers.len(), 1, "what was registered is found: {response}");
}
