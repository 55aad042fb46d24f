//! `skyhound explain`: asks a daemon why DNS answers as it does.

use super::say;
use super::tls::TlsArgs;
use crate::client::Server;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long the daemon may take.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest explanation that is read.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// Tells which entries made an answer of DNS, and which were left out and why
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
EXAMPLES
  skyhound explain web.services.skydns.local         why SRV is answered as it is
  skyhound explain web.services.skydns.local A
  skyhound explain web.services.skydns.local --json | jq '.entries[] | select(.left_out)'")]
pub struct ExplainArgs {
    /// The name that is asked for
    pub name: String,

    /// The type of record
    #[arg(default_value = "SRV")]
    pub rtype: String,

    /// The daemon's HTTP address
    #[arg(short, long, value_name = "URL", env = "SKYHOUND_SERVER", default_value = "http://127.0.0.1:8053")]
    pub server: Server,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub tls: TlsArgs,

    /// What the daemon says, as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub async fn run(args: ExplainArgs) -> ExitCode {
    match timeout(WITHIN, fetch(&args)).await {
        Ok(Ok(told)) if args.json => super::print(format!("{told:#}\n").as_bytes()),
        Ok(Ok(told)) => super::print(sentences(&told).as_bytes()),
        Ok(Err(error)) => {
            say::failed(&format!("cannot explain {}: {}", args.name, super::with_sources(error.as_ref())));
            ExitCode::FAILURE
        }
        Err(_) => {
            say::failed(&format!("{} did not answer within {WITHIN:?}", args.server));
            ExitCode::FAILURE
        }
    }
}

async fn fetch(args: &ExplainArgs) -> Result<Value, Box<dyn Error>> {
    let server = &args.server;
    let stream = TcpStream::connect((server.host(), server.port())).await?;
    if server.tls() {
        let host = ServerName::try_from(server.host().to_owned())?;
        let stream = TlsConnector::from(args.tls.files().config()?).connect(host, stream).await?;
        ask(args, stream).await
    } else {
        ask(args, stream).await
    }
}

async fn ask(
    args: &ExplainArgs,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Value, Box<dyn Error>> {
    let server = &args.server;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let path = format!("/explain?name={}&type={}", encode(&args.name), encode(&args.rtype));
    let request = Request::get(path).header("host", server.host()).body(Empty::<Bytes>::new())?;
    let reply = sender.send_request(request).await?;
    let status = reply.status();
    let body = Limited::new(reply.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if !status.is_success() {
        return Err(String::from_utf8_lossy(&body).trim().into());
    }
    Ok(serde_json::from_slice(&body)?)
}

/// For people: the answer, then each entry with what became of it.
fn sentences(told: &Value) -> String {
    let mut text = String::new();
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut line = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let answer = &told["answer"];
    let error = answer["error"].as_str().map(|error| format!(" ({error})")).unwrap_or_default();
    line(format!("{} {}: {}{error}", words(&told["name"]), words(&told["type"]), words(&answer["rcode"])));
    for section in ["answer", "authority", "additional"] {
        for record in list(&answer[section]) {
            line(format!("  {section:<10} {}", words(&record)));
        }
    }
    for question in list(&answer["asked_outside"]) {
        line(format!("  outside    {}", words(&question)));
    }
    if told["zone"].is_null() {
        line("no zone of this daemon holds the name; --dns-root names its zones".into());
    } else if told["place"] != told["name"] {
        line(format!("answered from the entries at {}", words(&told["place"])));
    }
    for entry in list(&told["entries"]) {
        line(format!("{} (revision {})", words(&entry["key"]), entry["revision"]));
        for record in list(&entry["records"]) {
            line(format!("  made       {}", words(&record)));
        }
        if let Some(why) = entry["left_out"].as_str() {
            line(format!("  left out:  {why}"));
        }
    }
    if told["more_entries"] != 0 {
        line(format!("and {} entries more", told["more_entries"]));
    }
    for bad in list(&told["unreadable"]) {
        line(format!("{} (revision {})\n  left out:  {}", words(&bad["key"]), bad["revision"], words(&bad["reason"])));
    }
    text
}
