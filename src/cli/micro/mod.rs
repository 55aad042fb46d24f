//! `skyhound micro`: micro's command line against a daemon, or against a sidecar of the original.
//!
//! Owns: the arguments, and what is asked for each. `ask` is the HTTP of it, `print` how the original prints.

mod ask;
mod print;

use super::{progress, tls::TlsArgs};
use ask::{HttpAnswer, Proxy};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use skyhound_client::Server;
use std::fmt::Write;
use std::process::ExitCode;

/// Exit status when there is no answer.
const NO_ANSWER: u8 = 2;

/// Ask and tell a daemon as micro's command line does
#[derive(Debug, Args)]
#[command(
    after_help = "`--help` shows examples.",
    after_long_help = "\
Examples:
  Which services there are, and where one is:
    skyhound micro list services
    skyhound micro get service go.micro.srv.greeter

  A service that nobody holds: it stays until it is removed.
    skyhound micro register service '{\"name\": \"foo\", \"nodes\": [{\"id\": \"foo-1\", \"address\": \"127.0.0.1\", \"port\": 9090}]}'
    skyhound micro deregister service '{\"name\": \"foo\", \"nodes\": [{\"id\": \"foo-1\"}]}'

  Call a method, and ask every node how it is:
    skyhound micro query go.micro.srv.greeter Say.Hello '{\"name\": \"John\"}'
    skyhound micro health go.micro.srv.greeter

  Through a link named `micro` the binary is that tool: ln -s skyhound micro; ./micro list services

Exit status:
  0  done
  1  not found, refused, or a node that is not well
  2  no answer, or bad usage"
)]
pub struct MicroArgs {
    /// The daemon: HOST:PORT, or a URL
    #[arg(
        long, alias = "proxy_address", value_name = "ADDRESS", env = "MICRO_PROXY_ADDRESS", global = true,
        default_value = skyhound_client::DEFAULT_SERVER
    )]
    pub proxy_address: Server,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub tls: TlsArgs,

    #[command(subcommand)]
    #[allow(missing_docs, reason = "its variants are documented")]
    pub command: MicroCommand,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub enum MicroCommand {
    /// List what there is
    List {
        /// Of what
        #[command(subcommand)]
        what: List,
    },
    /// Show one
    Get {
        /// Of what
        #[command(subcommand)]
        what: Get,
    },
    /// Register
    Register {
        /// What
        #[command(subcommand)]
        what: ServiceArg,
    },
    /// Remove a registration
    Deregister {
        /// What
        #[command(subcommand)]
        what: ServiceArg,
    },
    /// Call a method of a service
    Query {
        /// The service
        service: String,
        /// The method, such as Say.Hello
        method: String,
        /// The request, as JSON
        #[arg(default_value = "{}")]
        request: Vec<String>,
    },
    /// Ask every node of a service how it is
    Health {
        /// The service
        service: String,
    },
}

/// What is listed.
#[derive(Debug, Subcommand)]
pub enum List {
    /// The services
    Services,
}

/// What is shown.
#[derive(Debug, Subcommand)]
pub enum Get {
    /// A service with its nodes and endpoints
    Service {
        /// Its name
        name: String,
    },
}

/// What is registered or removed.
#[derive(Debug, Subcommand)]
pub enum ServiceArg {
    /// A service
    Service {
        /// The service, as JSON
        json: Vec<String>,
    },
}

/// Runs it.
pub async fn run(args: MicroArgs) -> ExitCode {
    let proxy = match args.tls.check() {
        Ok(()) => Proxy { server: args.proxy_address, tls: args.tls },
        Err(error) => return failed(&super::with_sources(&error), NO_ANSWER),
    };
    let done = match args.command {
        MicroCommand::List { what: List::Services } => list(&proxy).await,
        MicroCommand::Get { what: Get::Service { name } } => get(&proxy, &name).await,
        MicroCommand::Register { what: ServiceArg::Service { json } } => said(&proxy, Method::POST, &json).await,
        MicroCommand::Deregister { what: ServiceArg::Service { json } } => said(&proxy, Method::DELETE, &json).await,
        MicroCommand::Query { service, method, request } => query(&proxy, &service, &method, &request.join(" ")).await,
        MicroCommand::Health { service } => health(&proxy, &service).await,
    };
    match done {
        Ok(text) => super::print(text.as_bytes()),
        Err(MicroError::Refused(sentence)) => failed(&sentence, 1),
        Err(MicroError::Unhealthy(text)) => {
            super::print(text.as_bytes());
            ExitCode::FAILURE
        }
        Err(MicroError::NoAnswer(sentence)) => failed(&sentence, NO_ANSWER),
    }
}

fn failed(sentence: &str, status: u8) -> ExitCode {
    progress::error(sentence);
    ExitCode::from(status)
}

/// Why it came to nothing.
#[derive(Debug)]
enum MicroError {
    /// The daemon says so.
    Refused(String),
    /// Not every node is well; this is what is printed.
    Unhealthy(String),
    /// There is no daemon, or no answer.
    NoAnswer(String),
}

async fn list(proxy: &Proxy) -> Result<String, MicroError> {
    let services = proxy.json(Method::GET, "/registry", None).await?;
    let mut names: Vec<_> = list_of(&services).iter().filter_map(|one| one["name"].as_str()).collect();
    names.sort_unstable();
    Ok(names.into_iter().flat_map(|name| [name, "\n"]).collect())
}

async fn get(proxy: &Proxy, name: &str) -> Result<String, MicroError> {
    let versions = versions(proxy, name).await?;
    Ok(print::service(name, list_of(&versions)))
}

async fn versions(proxy: &Proxy, name: &str) -> Result<Value, MicroError> {
    let path = format!("/registry?service={}", ask::encoded(name));
    proxy.json(Method::GET, &path, None).await
}

async fn said(proxy: &Proxy, method: Method, json: &[String]) -> Result<String, MicroError> {
    let body = json.join(" ");
    match proxy.ask(method, "/registry", Some(body)).await? {
        HttpAnswer { good: true, .. } => Ok("ok\n".into()),
        HttpAnswer { body, .. } => Err(MicroError::Refused(body.trim().to_owned())),
    }
}

async fn query(proxy: &Proxy, service: &str, method: &str, request: &str) -> Result<String, MicroError> {
    let wrong = |e| MicroError::Refused(format!("the request is no JSON: {e}"));
    let request: Box<serde_json::value::RawValue> = serde_json::from_str(request).map_err(wrong)?;
    let (of, called) = (Value::from(service), Value::from(method));
    let body = format!(r#"{{"service":{of},"method":{called},"request":{request}}}"#);
    let asked = proxy.ask(Method::POST, "/rpc", Some(body)).await?;
    match serde_json::from_str::<Value>(&asked.body) {
        Ok(result) if asked.good => Ok(format!("{}\n", print::indented(&result))),
        Ok(error) => Err(MicroError::Refused(format!("error calling {service}.{method}: {}", print::detail(&error)))),
        Err(_) => Err(MicroError::Refused(format!("error calling {service}.{method}: {}", asked.body.trim()))),
    }
}

/// As the original: every node by its address, one after the other.
async fn health(proxy: &Proxy, service: &str) -> Result<String, MicroError> {
    let versions = versions(proxy, service).await?;
    let (mut text, mut well) = (format!("service  {service}\n"), true);
    for version in list_of(&versions) {
        text += &print::health_head(version);
        for node in list_of(&version["nodes"]) {
            let address = print::authority(node);
            let call = json!({"service": service, "address": address, "method": "Debug.Health", "request": {}});
            let asked = proxy.ask(Method::POST, "/rpc", Some(call.to_string())).await?;
            let answer: Value = serde_json::from_str(&asked.body).unwrap_or_default();
            let status = match answer["status"].as_str() {
                Some(status) if asked.good => status.to_owned(),
                _ => print::detail(&answer),
            };
            well &= asked.good && status == "ok";
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\t\t{address}\t\t{status}", print::text(&node["id"]));
        }
    }
    if well { Ok(text) } else { Err(MicroError::Unhealthy(text)) }
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
