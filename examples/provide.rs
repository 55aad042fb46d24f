//! Be in DNS for half a minute, and say what happens.
//!
//!     cargo run --example provide -- web 8080 http://127.0.0.1:8053

use skyhound_client::{Provide, Provider};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let service = words.next().unwrap_or_else(|| "web".into());
    let port = words.next().map_or(Ok(8080), |port| port.parse())?;
    let servers = words.map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;

    // From here a task of its own holds the socket, whatever happens to the daemon.
    let (provider, mut events) =
        Provider::start_with_events(Provide { servers, weight: Some(10), ..Provide::new(service, port) });
    let told = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            println!("{event:?}");
        }
    });

    // Only a refusal ends this early; a daemon that is away is waited for.
    provider.registered().await?;

    // Half the load from now on; no reconnect is needed for it.
    provider.update(Some(5), None);
    tokio::time::sleep(Duration::from_secs(30)).await;

    // Leave DNS, and wait until the daemon has heard it.
    provider.close().await;
    told.await?;
    Ok(())
}
