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
pub(super) enum Form {
    /// Sentences on stderr, coloured on a terminal.
    Sentences,
    /// The same, and only those about what goes wrong.
    Troubles,
    /// JSON lines on stdout.
    JsonOut,
    /// JSON lines on stderr.
    JsonErr,
}

/// Good, bad, worst: what a colour stands for.
#[derive(Debug, Clone, Copy)]
enum Tone {
    Plain,
    Good,
    Bad,
    Worst,
}

/// Tells what happens to one registration.
#[derive(Debug)]
pub(super) struct Say {
    form: Form,
    /// Such as `web (port 8080)`.
    subject: String,
    service: String,
    port: u16,
    /// Whether an attempt was told of.
    asked: bool,
    registered: bool,
    ever_registered: bool,
    /// The losses told since `told_since`.
    told: HashSet<String>,
    told_since: Instant,
}

impl Say {
    pub(super) fn new(form: Form, service: &str, port: u16) -> Self {
        let subject = format!("{service} (port {port})");
        Self {
            form,
            subject,
            service: service.to_owned(),
            port,
            asked: false,
            registered: false,
            ever_registered: false,
            told: HashSet::new(),
            told_since: Instant::now(),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match self.form {
            Form::Sentences | Form::Troubles => self.sentence_of(event),
            Form::JsonOut | Form::JsonErr => self.line(&self.json_of(event)),
        }
    }

    /// Something that is not about the registration: the command, a signal.
    pub(super) fn trouble(&self, kind: &str, sentence: &str) {
        match self.form {
            Form::Sentences | Form::Troubles => tell(Tone::Worst, sentence),
            Form::JsonOut | Form::JsonErr => self.line(&json!({ "event": kind, "message": sentence })),
        }
    }

    fn sentence_of(&mut self, event: &Event) {
        let subject = &self.subject;
        match event {
            // Once: every later attempt was announced with the loss before it.
            Event::State(State::Connecting { server }) if !self.asked => {
                self.asked = true;
                self.news(Tone::Plain, &format!("registering {} with {server}", self.subject));
            }
            Event::State(State::Registered { server, .. }) => {
                self.news(Tone::Good, &format!("registered {subject} with {server}"));
                (self.registered, self.ever_registered) = (true, true);
                self.told.clear();
            }
            Event::State(State::Lost { server, reason, retry_in }) => self.lost(&server.to_string(), reason, *retry_in),
            Event::State(State::Refused(refusal)) => {
                let sentence = format!("{} refused {subject}: {}", refusal.server, refusal.sentence);
                tell(Tone::Worst, &sentence);
            }
            Event::State(State::Closed) if self.ever_registered => {
                self.news(Tone::Plain, &format!("{subject} is no longer registered"));
            }
            Event::State(State::Closed) => tell(Tone::Bad, &format!("{subject} was never registered")),
            Event::Complaint { server, sentence } => tell(Tone::Bad, &format!("{server} reports: {sentence}")),
            // Also what the client may report one day.
            _ => {}
        }
    }

    /// What goes well.
    fn news(&self, tone: Tone, sentence: &str) {
        if self.form == Form::Sentences {
            tell(tone, sentence);
        }
    }

    fn lost(&mut self, server: &str, reason: &Loss, retry_in: Duration) {
        let what = if std::mem::take(&mut self.registered) { "lost the connection to" } else { "cannot register with" };
        let sentence = format!("{what} {server}: {reason}{}", hint(reason));
        if self.told_since.elapsed() >= REPEAT_AFTER {
            self.told.clear();
            self.told_since = Instant::now();
        }
        if self.told.insert(sentence.clone()) {
            let when = match retry_in.as_secs_f64() {
                soon if soon < 0.1 => "at once".to_owned(),
                seconds => format!("in {seconds:.1} s"),
            };
            tell(Tone::Bad, &format!("{sentence}; trying again {when}"));
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
                "message": refusal.sentence,
            }),
            Event::State(State::Closed) => json!({ "event": "closed" }),
            Event::Complaint { server, sentence } => {
                json!({ "event": "complaint", "server": server.to_string(), "message": sentence })
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
            Form::JsonOut => std::io::stdout().write_all(line.as_bytes()),
            Form::JsonErr | Form::Sentences | Form::Troubles => std::io::stderr().write_all(line.as_bytes()),
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
fn tell(tone: Tone, sentence: &str) {
    let style = match tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Yellow.on_default(),
        Tone::Worst => AnsiColor::Red.on_default().bold(),
    };
    // As with JSON: who cannot be told is not a reason to stop. (`eprintln!` would panic.)
    let _ = writeln!(anstream::stderr(), "skyhound: {style}{sentence}{style:#}");
}

/// What goes wrong and is no end.
pub(super) fn trouble(sentence: &str) {
    tell(Tone::Bad, sentence);
}

/// What any verb says before it fails.
pub(super) fn failed(sentence: &str) {
    tell(Tone::Worst, sentence);
}

/// What any verb says beside what it prints.
pub(super) fn note(sentence: &str) {
    tell(Tone::Good, sentence);
}
