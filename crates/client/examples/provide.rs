//! Registers a service for half a minute and prints its events.
//!
//!     cargo run -p skyhound-client --example provide -- web 8080 http://127.0.0.1:8053

use skyhound_client::{Provide, Provider};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let service = args.next().unwrap_or_else(|| "web".into());
    let port = args.next().map_or(Ok(8080), |port| port.parse())?;
    let servers = args.map(|url| url.parse()).collect::<Result<Vec<_>, _>>()?;

    // From here on a task holds the connection, and reconnects if the daemon restarts.
    let (provider, mut events) =
        Provider::start_with_events(Provide { servers, weight: Some(10), ..Provide::new(service, port) });
    let printing = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            println!("{event:?}");
        }
    });

    // Only a rejection ends this early; an unavailable daemon is waited for.
    provider.registered().await?;

    // Half the load from now on; no reconnect is needed.
    provider.update(Some(5), None);
    tokio::time::sleep(Duration::from_secs(30)).await;

    // Leave DNS, and wait for the daemon's confirmation.
    provider.close().await;
    printing.await?;
    Ok(())
}
