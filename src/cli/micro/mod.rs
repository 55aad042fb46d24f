//! `skyhound micro`: micro's command line against a daemon, or against a sidecar of the original.
//!
//! Owns: the arguments, and the requests of each command. Does not own: HTTP (`proxy`), nor the original's output format
//! ([`print`]).

mod print;
mod proxy;

use super::{progress, tls::TlsArgs};
use clap::{Args, Subcommand};
use hyper::Method;
use proxy::{HttpResponse, Proxy};
use serde_json::{Value, json};
use skyhound_client::Server;
use std::fmt::Write;
use std::process::ExitCode;

/// The exit status if no daemon responds.
const NO_RESPONSE: u8 = 2;

/// Use a daemon's registry with micro's command line
#[derive(Debug, Args)]
#[command(
    after_help = "`--help` shows examples.",
    after_long_help = "\
Examples:
  List the services, and show one:
    skyhound micro list services
    skyhound micro get service go.micro.srv.greeter

  Register a persistent service, and remove it:
    skyhound micro register service '{\"name\": \"foo\", \"nodes\": [{\"id\": \"foo-1\", \"address\": \"127.0.0.1\", \"port\": 9090}]}'
    skyhound micro deregister service '{\"name\": \"foo\", \"nodes\": [{\"id\": \"foo-1\"}]}'

  Call a method, and check the health of every node:
    skyhound micro query go.micro.srv.greeter Say.Hello '{\"name\": \"John\"}'
    skyhound micro health go.micro.srv.greeter

  Use the commands without `skyhound`, through a link:
    ln -s skyhound micro; ./micro list services

Exit status:
  0  done
  1  not found, rejected, or an unhealthy node
  2  no response, or bad usage"
)]
pub struct MicroArgs {
    /// Daemon: HOST:PORT, or a URL
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

/// The command.
#[derive(Debug, Subcommand)]
pub enum MicroCommand {
    /// List the registered services
    List {
        /// Kind of object to list
        #[command(subcommand)]
        what: List,
    },
    /// Show a service
    Get {
        /// Kind of object to show
        #[command(subcommand)]
        what: Get,
    },
    /// Register a service
    Register {
        /// Kind of object to register
        #[command(subcommand)]
        what: ServiceArg,
    },
    /// Remove a registration
    Deregister {
        /// Kind of object to remove
        #[command(subcommand)]
        what: ServiceArg,
    },
    /// Call a method of a service
    Query {
        /// Name of the service
        service: String,
        /// Method, such as Say.Hello
        method: String,
        /// Request, as JSON
        #[arg(default_value = "{}")]
        request: Vec<String>,
    },
    /// Check the health of every node of a service
    Health {
        /// Name of the service
        service: String,
    },
}

/// The kinds of objects that can be listed.
#[derive(Debug, Subcommand)]
pub enum List {
    /// List the services
    Services,
}

/// The kinds of objects that can be shown.
#[derive(Debug, Subcommand)]
pub enum Get {
    /// Show a service with its nodes and endpoints
    Service {
        /// Name of the service
        name: String,
    },
}

/// The kinds of objects that can be registered or removed.
#[derive(Debug, Subcommand)]
pub enum ServiceArg {
    /// Register or remove a service
    Service {
        /// Service, as JSON
        json: Vec<String>,
    },
}

/// Runs the verb.
pub async fn run(args: MicroArgs) -> ExitCode {
    let proxy = match args.tls.check() {
        Ok(()) => Proxy { server: args.proxy_address, tls: args.tls },
        Err(error) => return failed(&super::with_sources(&error), NO_RESPONSE),
    };
    let output = match args.command {
        MicroCommand::List { what: List::Services } => list(&proxy).await,
        MicroCommand::Get { what: Get::Service { name } } => get(&proxy, &name).await,
        MicroCommand::Register { what: ServiceArg::Service { json } } => change(&proxy, Method::POST, &json).await,
        MicroCommand::Deregister { what: ServiceArg::Service { json } } => change(&proxy, Method::DELETE, &json).await,
        MicroCommand::Query { service, method, request } => query(&proxy, &service, &method, &request.join(" ")).await,
        MicroCommand::Health { service } => health(&proxy, &service).await,
    };
    match output {
        Ok(text) => super::print(text.as_bytes()),
        Err(MicroError::Refused(message)) => failed(&message, 1),
        Err(MicroError::Unhealthy(text)) => {
            super::print(text.as_bytes());
            ExitCode::FAILURE
        }
        Err(MicroError::NoResponse(message)) => failed(&message, NO_RESPONSE),
    }
}

fn failed(message: &str, status: u8) -> ExitCode {
    progress::error(message);
    ExitCode::from(status)
}

/// The reason of a failure.
#[derive(Debug)]
enum MicroError {
    /// The daemon rejected the request, with this error.
    Refused(String),
    /// At least one node is unhealthy; this is the output.
    Unhealthy(String),
    /// No daemon responded, for this reason.
    NoResponse(String),
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
    let path = format!("/registry?service={}", proxy::encoded(name));
    proxy.json(Method::GET, &path, None).await
}

/// Sends a change of the registry.
async fn change(proxy: &Proxy, method: Method, json: &[String]) -> Result<String, MicroError> {
    let body = json.join(" ");
    match proxy.send(method, "/registry", Some(body)).await? {
        HttpResponse { success: true, .. } => Ok("ok\n".into()),
        HttpResponse { body, .. } => Err(MicroError::Refused(body.trim().to_owned())),
    }
}

async fn query(proxy: &Proxy, service: &str, method: &str, request: &str) -> Result<String, MicroError> {
    let invalid = |e| MicroError::Refused(format!("the request is not valid JSON: {e}"));
    let request: Box<serde_json::value::RawValue> = serde_json::from_str(request).map_err(invalid)?;
    let (service_json, method_json) = (Value::from(service), Value::from(method));
    let body = format!(r#"{{"service":{service_json},"method":{method_json},"request":{request}}}"#);
    let response = proxy.send(Method::POST, "/rpc", Some(body)).await?;
    match serde_json::from_str::<Value>(&response.body) {
        Ok(result) if response.success => Ok(format!("{}\n", print::indented(&result))),
        Ok(error) => Err(MicroError::Refused(format!("error calling {service}.{method}: {}", print::detail(&error)))),
        Err(_) => Err(MicroError::Refused(format!("error calling {service}.{method}: {}", response.body.trim()))),
    }
}

/// Calls every node by its address, one after the other, as the original does.
async fn health(proxy: &Proxy, service: &str) -> Result<String, MicroError> {
    let versions = versions(proxy, service).await?;
    let (mut text, mut healthy) = (format!("service  {service}\n"), true);
    for version in list_of(&versions) {
        text += &print::health_head(version);
        for node in list_of(&version["nodes"]) {
            let address = print::authority(node);
            let call = json!({"service": service, "address": address, "method": "Debug.Health", "request": {}});
            let response = proxy.send(Method::POST, "/rpc", Some(call.to_string())).await?;
            let answer: Value = serde_json::from_str(&response.body).unwrap_or_default();
            let status = match answer["status"].as_str() {
                Some(status) if response.success => status.to_owned(),
                _ => print::detail(&answer),
            };
            healthy &= response.success && status == "ok";
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\t\t{address}\t\t{status}", print::text(&node["id"]));
        }
    }
    if healthy { Ok(text) } else { Err(MicroError::Unhealthy(text)) }
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
