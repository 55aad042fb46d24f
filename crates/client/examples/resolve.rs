//! Finds a service and connects to the first instance that accepts.
//!
//!     cargo run -p skyhound-client --example resolve -- web.services.skydns.local 127.0.0.1:5300

use skyhound_client::{Resolver, Target};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "web.services.skydns.local".into());
    let server = args.next().unwrap_or_else(|| "127.0.0.1:5300".into()).parse()?;

    // Ascending priorities, and within one a draw by weight: trying the targets in this order balances the load.
    let targets = Resolver::with_server(server).resolve(&name).await?;
    for socket in targets.iter().flat_map(Target::sockets) {
        match TcpStream::connect(socket).await {
            Ok(_) => {
                println!("connected to {socket}");
                return Ok(());
            }
            Err(error) => eprintln!("{socket}: {error}"),
        }
    }
    Err(format!("no instance of {name} accepts a connection ({} are listed)", targets.len()).into())
}
