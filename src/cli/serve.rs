//! `skyhound serve`: the daemon.
//!
//! Owns: the sources of the settings, the log, the signals, the ready line. Does not own: the settings
//! ([`crate::config`]), nor the parts of the daemon ([`crate::server`]).

use super::command::Signals;
use super::notify::{self, State};
use super::{progress, with_sources};
use crate::config::skydns;
use crate::config::{ConfigError, LogFormat, RawSettings, Settings};
use crate::server::{Server, StartError};
use clap::Args;
use rustix::process::Signal;
use skyhound_frontends::seaport::HubError;
use std::error::Error;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Run the daemon: HTTP, WebSocket and DNS, until SIGTERM or SIGINT
#[derive(Debug, Args)]
#[command(
    after_help = "`--help` shows examples and the exit status.",
    after_long_help = "\
Examples:
  Serve this machine, without further programs:
    skyhound serve

  Share the registry with other daemons through etcd:
    skyhound serve --etcd-api http://127.0.0.1:2379

  Serve a network, on the standard port of DNS:
    skyhound serve --listen :8053 --dns-listen 0.0.0.0:53 --dns-root corp.example.

  Serve HTTPS, DNS over TLS and DNS over HTTPS:
    skyhound serve --enable-tls --tls-cert-file cert.pem --tls-key-file key.pem \\
      --dns-tls-listen :853 --dns-https-listen :443

  Listen on free ports, and print them as JSON:
    skyhound serve --listen 127.0.0.1:0 --dns-listen 127.0.0.1:0 | head -1

When all listeners are open, the daemon prints one line of JSON to standard
output, and sends READY=1 to a service manager that sets NOTIFY_SOCKET (systemd's
Type=notify). It logs to standard error.

The first SIGTERM or SIGINT starts a graceful shutdown, a second one ends the
daemon at once. A SIGHUP of a closed terminal starts a graceful shutdown as well;
a daemon without a terminal ignores SIGHUP. Changed certificates are reloaded
automatically; any other setting requires a restart, during which DNS entries
stay (`--on-stop keep`).

Exit status:
  0    graceful shutdown after a signal
  1    could not start, or a part failed
  2    bad usage or invalid settings"
)]
pub struct ServeArgs {
    /// TOML file with settings, named like these flags without the leading dashes
    #[arg(long, env = "SKYHOUND_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "its fields are documented")]
    pub raw: RawSettings,
}

impl ServeArgs {
    /// Merges the flags, the environment and the file, in this order of precedence.
    pub(super) fn read(self) -> Result<RawSettings, ConfigError> {
        let var = |name: &str| std::env::var_os(name)?.into_string().ok();
        let raw = self.raw.or_former_environment(var)?;
        let raw = match &self.config {
            Some(path) => raw.or(RawSettings::read(path)?),
            None => raw,
        };
        let skydns = skydns::environment(&raw, var);
        let invalid = |problem| ConfigError::SkyDns { place: "the environment".into(), problem };
        let skydns = skydns.map_err(invalid)?;
        Ok(raw.or(skydns))
    }

    /// Merges and resolves the settings. An error in the file names the file.
    pub(super) fn check<T>(
        self,
        resolve: impl FnOnce(RawSettings) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let (file, raw) = (self.config.clone(), self.raw.clone());
        let error = match self.read().and_then(resolve) {
            Err(error) => error,
            resolved => return resolved,
        };
        Err(match (error, file) {
            (ConfigError::Setting { setting, problem }, Some(path))
                if !raw.is_set(setting) && RawSettings::read(&path).is_ok_and(|file| file.is_set(setting)) =>
            {
                ConfigError::File { path, problem: format!("{setting}: {problem}") }
            }
            (error, _) => error,
        })
    }
}

/// The exit status of invalid settings, as for any bad usage.
pub(super) const BAD_SETTINGS: u8 = 2;

/// Runs the verb.
pub async fn run(args: ServeArgs) -> ExitCode {
    match args.check(RawSettings::resolve) {
        Ok(settings) => with(settings).await,
        Err(error) => failed(&error, BAD_SETTINGS),
    }
}

/// Runs the daemon with these settings.
pub(super) async fn with(settings: Settings) -> ExitCode {
    start_log(&settings);
    match serve(&settings).await {
        Ok(code) => code,
        Err(error)
            if matches!(
                error.downcast_ref(),
                Some(
                    StartError::Etcd(_)
                        | StartError::Stored(_)
                        | StartError::Tls(_)
                        | StartError::Seaport(HubError::Key(_) | HubError::Advertise(_))
                        | StartError::Sidecar(_)
                )
            ) =>
        {
            failed(error.as_ref(), BAD_SETTINGS)
        }
        Err(error) => failed(error.as_ref(), 1),
    }
}

pub(super) fn failed(error: &(dyn Error + 'static), status: u8) -> ExitCode {
    progress::error(&with_sources(error));
    ExitCode::from(status)
}

async fn serve(settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    // Before any listener is bound, so that an early signal is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = Hangup::take()?;
    let mut server = Server::bind(settings).await?;
    announce(&server)?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = hangup.closed_terminal() => "SIGHUP",
        part = server.run_until_done() => {
            return Err(format!("{part} ended unexpectedly, which is a bug; please report it with the log").into());
        }
    };
    info!(on_stop = ?settings.on_stop, "stopping after {name}");
    notify::notify(State::Stopping, &format!("stopping after {name}"));
    tokio::select! {
        () = server.shutdown() => Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// SIGHUP, which has two meanings: with a terminal, that the terminal was closed; without one, a request to reload the
/// settings.
struct Hangup {
    signals: Signals,
    has_terminal: bool,
}

impl Hangup {
    fn take() -> std::io::Result<Self> {
        // Under `nohup` SIGHUP stays ignored.
        Ok(Self { signals: Signals::take(&[Signal::HUP])?, has_terminal: File::open("/dev/tty").is_ok() })
    }

    /// Waits for a SIGHUP that means a closed terminal.
    async fn closed_terminal(&mut self) {
        loop {
            self.signals.next().await;
            if self.has_terminal {
                return;
            }
            info!("ignoring SIGHUP: certificates are reloaded when they change; any other setting requires a restart");
        }
    }
}

fn start_log(settings: &Settings) {
    // rustls logs warnings about input that any peer may send. --log-level is later and therefore takes precedence.
    let filter = EnvFilter::builder().parse_lossy(format!("rustls=error,{}", settings.log_level));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Otherwise a failed write to standard error would be reported on standard error, with a panic: the reader of the
    // log, or the terminal, may be closed.
    let log = log.log_internal_errors(false);
    match settings.log_format {
        LogFormat::Text => log.with_ansi(colours).with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Prints the machine-readable ready line, then logs a few lines for people.
fn announce(server: &Server) -> std::io::Result<()> {
    let settings = server.settings();
    let (http, dns) = (server.http_addrs(), server.dns_addrs());
    let (dns_tls, dns_https) = (server.dns_tls_addrs(), server.dns_https_addrs());
    let mut line = serde_json::json!({
        "ready": true, "http": http, "dns": dns, "store": server.store_location(), "version": crate::VERSION,
    });
    // A key is present only if such a listener exists, which most daemons do not have.
    for (key, addrs) in [("dns_tls", dns_tls), ("dns_https", dns_https), ("seaport", server.seaport_addrs())] {
        if !addrs.is_empty() {
            line[key] = serde_json::json!(addrs);
        }
    }
    let scheme = if settings.enable_tls { "https" } else { "http" };
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()?;
    for addr in http {
        info!("HTTP and WebSocket on {scheme}://{addr} (GET /provide, /healthz, /readyz, /metrics, /version)");
    }
    for addr in dns {
        info!("DNS for {} on {addr}, UDP and TCP", settings.dns_root);
    }
    for addr in dns_tls {
        info!("DNS over TLS on {addr}");
    }
    for addr in dns_https {
        info!("DNS over HTTPS on https://{addr}/dns-query");
    }
    for addr in server.seaport_addrs() {
        info!("seaport on {addr}");
    }
    info!("entries are stored in {}", server.store_location());
    if let (Some(http), Some(dns)) = (http.first(), dns.first()) {
        let category: Vec<_> = settings.default_category.split(',').collect();
        info!("try: skyhound provide web --port 8080 --server {scheme}://{http}");
        info!("     dig @{} -p {} SRV web.{}.{}", dns.ip(), dns.port(), category.join("."), settings.dns_root);
    }
    notify::notify(State::Ready, &format!("entries are stored in {}", server.store_location()));
    Ok(())
}
