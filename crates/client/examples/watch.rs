//! Lists the services, then prints their changes.
//!
//!     cargo run -p skyhound-client --example watch -- web http://127.0.0.1:8053

use skyhound_client::{Discover, Watch, WatchEvent, Watcher};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let services: Vec<_> = args.next().into_iter().collect();
    let servers = args.map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;

    for service in Discover::with_servers(servers.clone()).services().await? {
        println!("{} has {} instances", service.name, service.instances);
    }

    // All current instances, then each change once, across restarts of the daemon.
    let mut watcher = Watcher::start(Watch { servers, services, ..Watch::default() });
    while let Some(event) = watcher.next().await {
        match event {
            WatchEvent::Put { instance, .. } => println!("{} is at {}", instance.service, instance.endpoint()),
            WatchEvent::Removed { instance, why } => {
                println!("{} was removed from {}: {why:?}", instance.service, instance.endpoint());
            }
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
