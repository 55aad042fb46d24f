//! `skyhound resolve`: a service's instances in DNS, in the order in which a client should try them.

use super::progress;
use super::services::{NO_RESPONSE, NONE};
use clap::Args;
use serde_json::json;
use skyhound_client::{ResolveError, Resolver, Target};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  Query a daemon on this host:
    skyhound resolve web.services.skydns.local --server 127.0.0.1:5300

  Print the first address and port to connect to:
    skyhound resolve web.services.skydns.local --json | head -n 1 |
      jq -r '\"\\(.addrs[0]) \\(.port)\"'

Columns: priority, weight, port, TTL in seconds, name, addresses. The order is
that of RFC 2782: ascending priorities, and random by weight within a priority,
so that it differs from call to call.

Exit status:
  0  at least one instance exists
  1  no instance exists
  2  no response, or bad usage";

/// Find a service's instances through DNS
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES, after_help = "`--help` shows examples and the exit status.")]
pub struct ResolveArgs {
    /// Full name of the service, such as web.services.skydns.local
    pub name: String,

    /// DNS server: HOST:PORT, or HOST for port 53 [default: the system's resolvers]
    #[arg(short, long, value_name = "HOST:PORT", env = "SKYHOUND_DNS", value_parser = dns_server)]
    pub server: Option<SocketAddr>,

    /// Print one JSON object per instance and line
    #[arg(long)]
    pub json: bool,
}

fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let invalid = || format!("{text:?} is not a server; expected HOST:PORT, such as 127.0.0.1:5300");
    if let Some(address) = text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 53))) {
        return Ok(address);
    }
    let (host, port) = text.split_once(':').unwrap_or((text, "53"));
    let found = (host, port.parse().map_err(|_| invalid())?).to_socket_addrs();
    let found = found.map_err(|error| format!("{} ({error})", invalid()))?;
    // `localhost` resolves to ::1 first on many hosts, and a daemon listens on 127.0.0.1 by default.
    found.min_by_key(SocketAddr::is_ipv6).ok_or_else(invalid)
}

/// Runs the verb.
pub async fn run(args: ResolveArgs) -> ExitCode {
    match lookup(&args).await {
        Ok(targets) if targets.is_empty() => {
            progress::error(&format!("{} has no instances", args.name));
            ExitCode::from(NONE)
        }
        Ok(targets) => super::print(lines(&targets, args.json).as_bytes()),
        Err(error) => {
            progress::error(&super::with_sources(&error));
            ExitCode::from(NO_RESPONSE)
        }
    }
}

async fn lookup(args: &ResolveArgs) -> Result<Vec<Target>, ResolveError> {
    let resolver = args.server.map_or_else(Resolver::system, |server| Ok(Resolver::with_server(server)))?;
    resolver.resolve(&args.name).await
}

fn lines(targets: &[Target], json: bool) -> String {
    targets.iter().fold(String::new(), |mut text, target| {
        let Target { host, addrs, port, priority, weight, ttl } = target;
        // Writing to a String cannot fail.
        let _ = if json {
            let line = json!({
                "host": host, "addrs": addrs, "port": port, "priority": priority, "weight": weight, "ttl": ttl,
            });
            writeln!(text, "{line}")
        } else {
            let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            writeln!(text, "{priority:>5} {weight:>5} {port:>5} {ttl:>6} {host} {}", addrs.join(" "))
        };
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_a_name() {
        for (text, server) in [
            ("127.0.0.1:5300", "127.0.0.1:5300"),
            ("127.0.0.1", "127.0.0.1:53"),
            ("::1", "[::1]:53"),
            ("localhost:5300", "127.0.0.1:5300"),
            ("localhost", "127.0.0.1:53"),
        ] {
            assert_eq!(dns_server(text), Ok(server.parse().unwrap()), "{text}");
        }
        assert!(dns_server("http://x:53").unwrap_err().contains("expected HOST:PORT"));
    }

    #[test]
    fn a_target_is_a_line() {
        let target = Target {
            host: "a.web.local".into(),
            addrs: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            port: 8080,
            priority: 1,
            weight: 100,
            ttl: 30,
        };
        assert_eq!(lines(std::slice::from_ref(&target), false), "    1   100  8080     30 a.web.local 127.0.0.1 ::1\n");
        assert_eq!(
            lines(&[target], true),
            "{\"host\":\"a.web.local\",\"addrs\":[\"127.0.0.1\",\"::1\"],\"port\":8080,\"priority\":1,\"weight\":100,\"ttl\":30}\n"
        );
    }
}
