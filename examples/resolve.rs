//! Find a service and connect to the first instance that takes the connection.
//!
//!     cargo run --example resolve -- web.services.skydns.local 127.0.0.1:5300

use skyhound_client::{Resolver, Target};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "web.services.skydns.local".into());
    let server = words.next().unwrap_or_else(|| "127.0.0.1:5300".into()).parse()?;

    // Priorities upwards, and within one a draw by weight: to try them in this order is all there is to do.
    let targets = Resolver::with_server(server)?.resolve(&name).await?;
    for socket in targets.iter().flat_map(Target::sockets) {
        match TcpStream::connect(socket).await {
            Ok(_) => {
                println!("connected to {socket}");
                return Ok(());
            }
            Err(error) => eprintln!("{socket}: {error}"),
        }
    }
    Err(format!("no instance of {name} takes a connection ({} are listed)", targets.len()).into())
}
