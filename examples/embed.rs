//! Answer DNS from a catalog within another program, through hickory-server's own listeners.
//!
//!     cargo run --example embed -- 127.0.0.1:5301 corp.test=/etc/zones/corp.test.zone
//!     dig @127.0.0.1 -p 5301 web.services.skydns.local SRV
//!
//! The handler is a `RequestHandler`: a `hickory_server::Server` calls it, or a handler of the program that answers
//! other questions first. `skyhound_dns::DnsServer` is the alternative with bounded listeners and the fast path.

use hickory_server::Server;
use skyhound_core::catalog::follow::{COMPARE_EVERY, Follow};
use skyhound_core::catalog::{Catalog, Keyspace};
use skyhound_dns::DnsSettings;
use skyhound_dns::handler::Handler;
use skyhound_dns::static_zones::StaticZones;
use skyhound_model::{Key, Layout, Name};
use skyhound_store::embedded::Embedded;
use skyhound_store::{Op, Store, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UdpSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let addr: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:5301".into()).parse()?;
    let zones = arguments.map(|zone| zone.parse()).collect::<Result<Vec<_>, _>>()?;

    // A store with one entry, in SkyDNS's layout. `skyhound_store::etcd::Etcd` is the other store.
    let store: Arc<dyn Store> = Arc::new(Embedded::in_memory()?);
    let entry = Op::Put {
        key: Key::from("/skydns/local/skydns/services/web/a"),
        value: r#"{"host":"10.0.0.1","port":8080}"#.into(),
        lease: None,
    };
    store.commit(vec![Write { guards: Vec::new(), ops: vec![entry] }]).await?;

    // The catalog follows the store; queries read only the catalog.
    let catalog = Catalog::new(Keyspace::from(Layout::new("/skydns")));
    let follow = Follow { store, compare_every: COMPARE_EVERY };
    tokio::spawn(follow.run(Arc::clone(&catalog)));
    catalog.ready().await;

    let mut settings = DnsSettings::new(vec![Name::parse("skydns.local")?]);
    settings.static_zones = StaticZones::load(&zones, &settings.zones)?;
    let _watch = settings.static_zones.watch();

    let mut server = Server::new(Handler::new(catalog, settings));
    server.register_socket(UdpSocket::bind(addr).await?);
    server.register_listener(TcpListener::bind(addr).await?, Duration::from_secs(10), 16);
    println!("listening on {addr}");
    tokio::select! {
        ended = server.block_until_done() => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            server.shutdown_gracefully().await?;
        }
    }
    Ok(())
}
