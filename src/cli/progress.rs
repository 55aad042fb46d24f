//! The messages of the verbs, and the events that `provide` reports to a person or a script.
//!
//! Owns: the texts and the JSON. A person reads stderr. A script reads one JSON object per line on stdout, or on
//! stderr if stdout belongs to a command. Does not own: the events ([`skyhound_client`]).

use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};
use skyhound_client::{DiscoverError, Event, Loss, State};
use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The interval at which the same loss is reported to a person again: while a daemon is unavailable, every attempt
/// fails.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// The form of the events, and the stream that they are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// Text on stderr, coloured on a terminal.
    Text,
    /// Text on stderr, of problems only.
    Warnings,
    /// JSON lines on stdout.
    JsonOut,
    /// JSON lines on stderr.
    JsonErr,
}

/// The severity of a message, shown by its colour.
#[derive(Debug, Clone, Copy)]
enum Severity {
    Neutral,
    Success,
    Warning,
    Error,
}

/// Reports the events of one registration.
#[derive(Debug)]
pub(super) struct Progress {
    format: OutputFormat,
    /// The service in messages, such as `web (port 8080)`.
    subject: String,
    service: String,
    port: u16,
    /// `true` after the first attempt was reported.
    attempt_reported: bool,
    registered: bool,
    ever_registered: bool,
    /// The losses reported since `reported_since`.
    reported: HashSet<String>,
    reported_since: Instant,
}

impl Progress {
    pub(super) fn new(format: OutputFormat, service: &str, port: u16) -> Self {
        let subject = format!("{service} (port {port})");
        Self {
            format,
            subject,
            service: service.to_owned(),
            port,
            attempt_reported: false,
            registered: false,
            ever_registered: false,
            reported: HashSet::new(),
            reported_since: Instant::now(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match self.format {
            OutputFormat::Text | OutputFormat::Warnings => self.report_text(event),
            OutputFormat::JsonOut | OutputFormat::JsonErr => self.line(&self.json_of(event)),
        }
    }

    /// Reports a problem outside the registration: of the command, of a signal.
    pub(super) fn problem(&self, kind: &str, message: &str) {
        match self.format {
            OutputFormat::Text | OutputFormat::Warnings => print_line(Severity::Error, message),
            OutputFormat::JsonOut | OutputFormat::JsonErr => self.line(&json!({ "event": kind, "message": message })),
        }
    }

    fn report_text(&mut self, event: &Event) {
        let subject = &self.subject;
        match event {
            // Only once: the loss before each later attempt announces it.
            Event::State(State::Connecting { server }) if !self.attempt_reported => {
                self.attempt_reported = true;
                self.report(Severity::Neutral, &format!("registering {} with {server}", self.subject));
            }
            Event::State(State::Registered { server, .. }) => {
                self.report(Severity::Success, &format!("registered {subject} with {server}"));
                (self.registered, self.ever_registered) = (true, true);
                self.reported.clear();
            }
            Event::State(State::Lost { server, reason, retry_in }) => self.lost(&server.to_string(), reason, *retry_in),
            Event::State(State::Refused(refusal)) => {
                let message = format!("{} rejected {subject}: {}", refusal.server, refusal.message);
                print_line(Severity::Error, &message);
            }
            Event::State(State::Closed) if self.ever_registered => {
                self.report(Severity::Neutral, &format!("{subject} is no longer registered"));
            }
            Event::State(State::Closed) => print_line(Severity::Warning, &format!("{subject} was never registered")),
            Event::ErrorReport { server, message } => {
                print_line(Severity::Warning, &format!("{server} returned an error: {message}"));
            }
            // Also events that later versions of the client add.
            _ => {}
        }
    }

    /// Prints a message that is not a problem.
    fn report(&self, severity: Severity, message: &str) {
        if self.format == OutputFormat::Text {
            print_line(severity, message);
        }
    }

    fn lost(&mut self, server: &str, reason: &Loss, retry_in: Duration) {
        let failure =
            if std::mem::take(&mut self.registered) { "lost the connection to" } else { "cannot register with" };
        let message = format!("{failure} {server}: {reason}{}", hint(reason));
        if self.reported_since.elapsed() >= REPEAT_AFTER {
            self.reported.clear();
            self.reported_since = Instant::now();
        }
        if self.reported.insert(message.clone()) {
            let delay = match retry_in.as_secs_f64() {
                seconds if seconds < 0.1 => "at once".to_owned(),
                seconds => format!("in {seconds:.1} s"),
            };
            print_line(Severity::Warning, &format!("{message}; retrying {delay}"));
        }
    }

    fn json_of(&self, event: &Event) -> Value {
        let mut line = match event {
            Event::State(State::Connecting { server }) => {
                json!({ "event": "connecting", "server": server.to_string() })
            }
            Event::State(State::Registered { server, since }) => {
                let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                json!({ "event": "registered", "server": server.to_string(), "since": since })
            }
            Event::State(State::Lost { server, reason, retry_in }) => json!({
                "event": "lost",
                "server": server.to_string(),
                "reason": reason.to_string(),
                "retry_in_s": retry_in.as_secs_f64(),
            }),
            Event::State(State::Refused(refusal)) => json!({
                "event": "refused",
                "server": refusal.server.to_string(),
                "status": refusal.status,
                "message": refusal.message,
            }),
            Event::State(State::Closed) => json!({ "event": "closed" }),
            Event::ErrorReport { server, message } => {
                json!({ "event": "complaint", "server": server.to_string(), "message": message })
            }
            // Later versions of the client may add events; all current ones are above.
            _ => json!({ "event": "unknown" }),
        };
        line["service"] = self.service.as_str().into();
        line["port"] = self.port.into();
        line
    }

    fn line(&self, value: &Value) {
        let line = format!("{value}\n");
        // A reader that closed the pipe (EPIPE) does not end the registration: the service still runs.
        let _ = match self.format {
            OutputFormat::JsonOut => std::io::stdout().write_all(line.as_bytes()),
            OutputFormat::JsonErr | OutputFormat::Text | OutputFormat::Warnings => {
                std::io::stderr().write_all(line.as_bytes())
            }
        };
    }
}

/// Returns the remedy for a loss, where the reason alone does not suggest it.
pub(super) fn hint(reason: &Loss) -> &'static str {
    match reason {
        Loss::Unavailable { status: 404, .. } => " (check that the address is that of skyhound's HTTP port)",
        Loss::Unavailable { status: 401 | 403, .. } => " (a proxy in front of the daemon requires credentials)",
        Loss::Unreachable(error) if error.contains("refused") => " (check that the daemon is running there)",
        // The text of rustls for a peer that does not use TLS.
        Loss::Unreachable(error) if error.contains("InvalidContentType") => {
            " (the server does not use TLS; try http://)"
        }
        Loss::Unreachable(error) if error.contains("UnknownIssuer") => {
            " (pass the authority that signed the certificate with --cacert)"
        }
        // The text of httparse for a peer that does not use HTTP, usually for a TLS alert.
        Loss::Broken(error) if error.contains("invalid HTTP version") => {
            " (the server does not use HTTP; try https://)"
        }
        _ => "",
    }
}

/// Returns the text of a failed query, with the remedy.
pub(super) fn discover_error(error: &DiscoverError) -> String {
    let hint = match error {
        DiscoverError::Lost { reason, .. } => hint(reason),
        _ => "",
    };
    format!("{}{hint}", super::with_sources(error))
}

/// Prints one line to stderr. `anstream` drops the colours if stderr is not a terminal, or `NO_COLOR` is set.
fn print_line(severity: Severity, message: &str) {
    let style = match severity {
        Severity::Neutral => Style::new(),
        Severity::Success => AnsiColor::Green.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Error => AnsiColor::Red.on_default().bold(),
    };
    // As with JSON, a failed write does not end the registration. (`eprintln!` would panic.)
    let _ = writeln!(anstream::stderr(), "skyhound: {style}{message}{style:#}");
}

/// Prints a problem after which the verb continues.
pub(super) fn warning(message: &str) {
    print_line(Severity::Warning, message);
}

/// Prints the problem that ends a verb.
pub(super) fn error(message: &str) {
    print_line(Severity::Error, message);
}

/// Prints a message in addition to the output of a verb.
pub(super) fn info(message: &str) {
    print_line(Severity::Success, message);
}
