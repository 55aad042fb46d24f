//! What `provide` tells a person, or a script.
//!
//! Owns: the sentences and the JSON. A person reads stderr. A script reads one JSON object per line on
//! stdout, or on stderr when stdout belongs to a command.

use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};
use skyhound_client::{DiscoverError, Event, Loss, State};
use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A daemon that stays away is lost again at every attempt; a person hears each reason this often.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Where what goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputFormat {
    /// Sentences on stderr, coloured on a terminal.
    Sentences,
    /// The same, and only those about what goes wrong.
    Warnings,
    /// JSON lines on stdout.
    JsonOut,
    /// JSON lines on stderr.
    JsonErr,
}

/// Good, bad, worst: what a colour stands for.
#[derive(Debug, Clone, Copy)]
enum Severity {
    Plain,
    Good,
    Bad,
    Worst,
}

/// Tells what happens to one registration.
#[derive(Debug)]
pub(super) struct Progress {
    form: OutputFormat,
    /// Such as `web (port 8080)`.
    subject: String,
    service: String,
    port: u16,
    /// Whether an attempt was told of.
    asked: bool,
    registered: bool,
    ever_registered: bool,
    /// The losses told since `told_since`.
    reported: HashSet<String>,
    reported_since: Instant,
}

impl Progress {
    pub(super) fn new(form: OutputFormat, service: &str, port: u16) -> Self {
        let subject = format!("{service} (port {port})");
        Self {
            form,
            subject,
            service: service.to_owned(),
            port,
            asked: false,
            registered: false,
            ever_registered: false,
            reported: HashSet::new(),
            reported_since: Instant::now(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match self.form {
            OutputFormat::Sentences | OutputFormat::Warnings => self.sentence_of(event),
            OutputFormat::JsonOut | OutputFormat::JsonErr => self.line(&self.json_of(event)),
        }
    }

    /// Something that is not about the registration: the command, a signal.
    pub(super) fn trouble(&self, kind: &str, message: &str) {
        match self.form {
            OutputFormat::Sentences | OutputFormat::Warnings => print_line(Severity::Worst, message),
            OutputFormat::JsonOut | OutputFormat::JsonErr => self.line(&json!({ "event": kind, "message": message })),
        }
    }

    fn sentence_of(&mut self, event: &Event) {
        let subject = &self.subject;
        match event {
            // Once: every later attempt was announced with the loss before it.
            Event::State(State::Connecting { server }) if !self.asked => {
                self.asked = true;
                self.report(Severity::Plain, &format!("registering {} with {server}", self.subject));
            }
            Event::State(State::Registered { server, .. }) => {
                self.report(Severity::Good, &format!("registered {subject} with {server}"));
                (self.registered, self.ever_registered) = (true, true);
                self.reported.clear();
            }
            Event::State(State::Lost { server, reason, retry_in }) => self.lost(&server.to_string(), reason, *retry_in),
            Event::State(State::Refused(refusal)) => {
                let message = format!("{} refused {subject}: {}", refusal.server, refusal.message);
                print_line(Severity::Worst, &message);
            }
            Event::State(State::Closed) if self.ever_registered => {
                self.report(Severity::Plain, &format!("{subject} is no longer registered"));
            }
            Event::State(State::Closed) => print_line(Severity::Bad, &format!("{subject} was never registered")),
            Event::ErrorReport { server, message } => {
                print_line(Severity::Bad, &format!("{server} reports: {message}"))
            }
            // Also what the client may report one day.
            _ => {}
        }
    }

    /// What goes well.
    fn report(&self, tone: Severity, message: &str) {
        if self.form == OutputFormat::Sentences {
            print_line(tone, message);
        }
    }

    fn lost(&mut self, server: &str, reason: &Loss, retry_in: Duration) {
        let what = if std::mem::take(&mut self.registered) { "lost the connection to" } else { "cannot register with" };
        let message = format!("{what} {server}: {reason}{}", hint(reason));
        if self.reported_since.elapsed() >= REPEAT_AFTER {
            self.reported.clear();
            self.reported_since = Instant::now();
        }
        if self.reported.insert(message.clone()) {
            let when = match retry_in.as_secs_f64() {
                soon if soon < 0.1 => "at once".to_owned(),
                seconds => format!("in {seconds:.1} s"),
            };
            print_line(Severity::Bad, &format!("{message}; trying again {when}"));
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
            // The client may report more one day; what it reports now is above.
            _ => json!({ "event": "unknown" }),
        };
        line["service"] = self.service.as_str().into();
        line["port"] = self.port.into();
        line
    }

    fn line(&self, value: &Value) {
        let line = format!("{value}\n");
        // A reader that went away (EPIPE) is no reason to leave DNS: the service is as alive as before.
        let _ = match self.form {
            OutputFormat::JsonOut => std::io::stdout().write_all(line.as_bytes()),
            OutputFormat::JsonErr | OutputFormat::Sentences | OutputFormat::Warnings => {
                std::io::stderr().write_all(line.as_bytes())
            }
        };
    }
}

/// What to do about it, where the reason alone does not say.
pub(super) fn hint(reason: &Loss) -> &'static str {
    match reason {
        Loss::Unavailable { status: 404, .. } => " (is that the address of skyhound's HTTP port?)",
        Loss::Unavailable { status: 401 | 403, .. } => " (something before the daemon wants credentials)",
        Loss::Unreachable(error) if error.contains("refused") => " (is the daemon running there?)",
        // rustls's words, when what comes is no TLS.
        Loss::Unreachable(error) if error.contains("InvalidContentType") => " (no TLS is spoken there; is it http://?)",
        Loss::Unreachable(error) if error.contains("UnknownIssuer") => " (--cacert FILE says who may have signed it)",
        // httparse's words, when what comes is no HTTP: a TLS alert, mostly.
        Loss::Broken(error) if error.contains("invalid HTTP version") => " (no HTTP is spoken there; is it https://?)",
        _ => "",
    }
}

/// Why a daemon says nothing, and what to do about it.
pub(super) fn no_answer(error: &DiscoverError) -> String {
    let hint = match error {
        DiscoverError::Lost { reason, .. } => hint(reason),
        _ => "",
    };
    format!("{}{hint}", super::with_sources(error))
}

/// One line on stderr. `anstream` drops the colours when stderr is no terminal, or `NO_COLOR` is set.
fn print_line(tone: Severity, message: &str) {
    let style = match tone {
        Severity::Plain => Style::new(),
        Severity::Good => AnsiColor::Green.on_default(),
        Severity::Bad => AnsiColor::Yellow.on_default(),
        Severity::Worst => AnsiColor::Red.on_default().bold(),
    };
    // As with JSON: who cannot be told is not a reason to stop. (`eprintln!` would panic.)
    let _ = writeln!(anstream::stderr(), "skyhound: {style}{message}{style:#}");
}

/// What goes wrong and is no end.
pub(super) fn warning(message: &str) {
    print_line(Severity::Bad, message);
}

/// What any verb says before it fails.
pub(super) fn error(message: &str) {
    print_line(Severity::Worst, message);
}

/// What any verb says beside what it prints.
pub(super) fn info(message: &str) {
    print_line(Severity::Good, message);
}
