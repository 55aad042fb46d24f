//! List the services, then say what changes.
//!
//!     cargo run --example watch -- web http://127.0.0.1:8053

use skyhound_client::watch::WatchEvent;
use skyhound_client::{Discover, Watch, Watcher};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let services: Vec<_> = words.next().into_iter().collect();
    let servers = words.map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;

    for service in Discover::with_servers(servers.clone()).services().await? {
        println!("{} has {} instances", service.name, service.instances);
    }

    // All that is there, then each change once, whatever happens to the daemon meanwhile.
    let mut watcher = Watcher::start(Watch { servers, services, ..Watch::default() });
    while let Some(seen) = watcher.next().await {
        match seen {
            WatchEvent::Put { instance, .. } => println!("{} is at {}", instance.service, instance.endpoint()),
            WatchEvent::Removed { instance, why } => {
                println!("{} is gone from {}: {why:?}", instance.service, instance.endpoint())
            }
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
