//! The real `dig` as a DNS client: what it makes of our answers is what an operator will see.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::str::FromStr;

use thiserror::Error;
use tokio::process::Command;

use super::wait::{SOON, wait_until};

/// A server to ask, and how to ask it. Each option gives a new one, so that a test can keep the plain one.
#[derive(Debug, Clone)]
pub struct Dig {
    server: SocketAddr,
    options: Vec<OsString>,
}

/// The reason why there is no answer to look at. A refusal is an answer; see [`Answer::status`].
#[derive(Debug, Error)]
pub enum DigError {
    /// The program could not be run.
    #[error("dig does not run (tests/run installs it)")]
    NotRun(#[source] std::io::Error),
    /// Dig ran and got no reply: nothing listens, a timeout, a reply that is no DNS message.
    #[error("dig got no reply: {0}")]
    NoReply(String),
    /// Dig printed something that this module does not understand.
    #[error("cannot read what dig printed: {0}")]
    Unreadable(String),
}

impl Dig {
    /// Asks `server` with what dig sends by itself: recursion desired, EDNS with 1232 bytes and a cookie, UDP
    /// first and TCP after a truncated answer.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, options: Vec::new() }
    }

    /// Asks over TCP from the start.
    #[must_use]
    pub fn tcp(self) -> Self {
        self.option("+tcp")
    }

    /// Keeps a truncated answer instead of asking again over TCP.
    #[must_use]
    pub fn ignore_truncation(self) -> Self {
        self.option("+ignore")
    }

    /// Asks with this size in the EDNS record.
    #[must_use]
    pub fn bufsize(self, bytes: u16) -> Self {
        self.option(format!("+bufsize={bytes}"))
    }

    /// Asks without EDNS, as the clients that get 512 bytes.
    #[must_use]
    pub fn no_edns(self) -> Self {
        self.option("+noedns")
    }

    /// Does not ask for recursion.
    #[must_use]
    pub fn no_recursion(self) -> Self {
        self.option("+norecurse")
    }

    /// Asks in another class than IN.
    #[must_use]
    pub fn class(self, class: &str) -> Self {
        self.option("-c").option(class)
    }

    /// Any other argument of dig that leaves the printed sections as they are.
    #[must_use]
    pub fn option(mut self, argument: impl Into<OsString>) -> Self {
        self.options.push(argument.into());
        self
    }

    /// Asks one question. `name` counts from the root, with or without the last dot.
    pub async fn query(&self, name: &str, rtype: &str) -> Result<Answer, DigError> {
        let output = Command::new("dig")
            // No ~/.digrc, no translated messages: the output is parsed.
            .arg("-r")
            .env("LC_ALL", "C")
            .arg(format!("@{}", self.server.ip()))
            .args(["-p", &self.server.port().to_string()])
            .args(["+nocmd", "+noall", "+comments", "+answer", "+authority", "+additional"])
            // One lost datagram is a fault to see on loopback, not one to retry over. An answer may take its time: a
            // virtual machine may stand still for a second or two.
            .args(["+time=5", "+tries=1"])
            .args(&self.options)
            // `-q` and `-t`: a name may look like an option or a type.
            .args(["-q", name, "-t", rtype])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(DigError::NotRun)?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return printed.parse();
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(DigError::NoReply(format!("{}: {}{}", output.status, printed.trim(), complaint.trim())))
    }

    /// Waits until the SRV records of a name have exactly these ports.
    #[track_caller]
    pub fn comes_to_have(&self, name: &str, ports: &[u16]) -> impl Future<Output = ()> {
        wait_until(SOON, async move || {
            let answer = self.query(name, "SRV").await.map_err(|none| none.to_string())?;
            if answer.ports() == ports { Ok(()) } else { Err(format!("{answer:?} instead of {ports:?}")) }
        })
    }

    /// Waits until there is no such name.
    #[track_caller]
    pub fn comes_to_deny(&self, name: &str) -> impl Future<Output = ()> {
        wait_until(SOON, async move || {
            let answer = self.query(name, "SRV").await.map_err(|none| none.to_string())?;
            if answer.status == "NXDOMAIN" { Ok(()) } else { Err(format!("{answer:?}")) }
        })
    }
}

/// One answer, section by section, each in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The rcode by name: `NOERROR`, `NXDOMAIN`, `REFUSED`, …
    pub status: String,
    /// The header's flags by name: `qr`, `aa`, `tc`, `rd`, …
    pub flags: Vec<String>,
    /// The size in the answer's EDNS record, when it has one.
    pub edns_udp: Option<u16>,
    /// Set if dig got this answer over TCP, after a truncated one.
    pub retried_over_tcp: bool,
    /// The answer section.
    pub answer: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section without EDNS.
    pub additional: Vec<Record>,
}

impl Answer {
    /// Returns whether the header has the flag, by dig's name for it.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// Returns whether the server set TC: not everything fitted.
    pub fn truncated(&self) -> bool {
        self.has_flag("tc")
    }

    /// Returns whether the server answers as an authority.
    pub fn authoritative(&self) -> bool {
        self.has_flag("aa")
    }

    /// The data of the answer section's records of one type, sorted: for comparing sets.
    pub fn data(&self, rtype: &str) -> Vec<&str> {
        let mut data: Vec<_> = self.answer.iter().filter(|r| r.rtype == rtype).map(|r| r.data.as_str()).collect();
        data.sort_unstable();
        data
    }

    /// The ports of the answer section's SRV records, sorted.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<_> = self.srv().iter().map(|srv| srv.port).collect();
        ports.sort_unstable();
        ports
    }

    /// The answer section's SRV records, sorted by their ports.
    pub fn srv(&self) -> Vec<Srv> {
        let mut all: Vec<Srv> = self.answer.iter().filter(|r| r.rtype == "SRV").map(|r| Srv::read(&r.data)).collect();
        all.sort_by_key(|srv| srv.port);
        all
    }
}

/// The data of an SRV record, in RFC 2782's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower is preferred.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host.
    pub target: String,
}

impl Srv {
    fn read(data: &str) -> Self {
        let fields: Vec<_> = data.split(' ').collect();
        let [priority, weight, port, target] = fields[..] else { panic!("no SRV data: {data}") };
        let number = |text: &str| text.parse().unwrap_or_else(|e| panic!("no SRV data: {data}: {e}"));
        Self { priority: number(priority), weight: number(weight), port: number(port), target: target.to_owned() }
    }
}

/// One record in presentation form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// The owner in the case that was sent, with the last dot.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    /// `IN`, `CH`, …
    pub class: String,
    /// `SRV`, `A`, …
    pub rtype: String,
    /// As dig writes it: names with the last dot, TXT in quotes.
    pub data: String,
}

/// Reads `NAME TTL CLASS TYPE DATA`, separated by tabs and spaces in a mixture that depends on their lengths.
impl FromStr for Record {
    type Err = DigError;

    fn from_str(line: &str) -> Result<Self, DigError> {
        let mut rest = line;
        let mut field = || {
            let (field, after) = rest.trim_start().split_once([' ', '\t'])?;
            rest = after;
            Some(field.to_owned())
        };
        let fields = (field(), field().and_then(|ttl| ttl.parse().ok()), field(), field());
        let (Some(name), Some(ttl), Some(class), Some(rtype)) = fields else {
            return Err(DigError::Unreadable(line.to_owned()));
        };
        // The rest as it is: white space within a TXT's quotes is data.
        Ok(Self { name, ttl, class, rtype, data: rest.trim().to_owned() })
    }
}

/// Reads what `dig +noall +comments +answer +authority +additional` prints for one answer.
impl FromStr for Answer {
    type Err = DigError;

    fn from_str(printed: &str) -> Result<Self, DigError> {
        let unreadable = |what: &str| DigError::Unreadable(format!("{what} in:\n{printed}"));
        let mut status = None;
        let mut flags = Vec::new();
        let mut edns_udp = None;
        let mut retried_over_tcp = false;
        let (mut answer, mut authority, mut additional) = (Vec::new(), Vec::new(), Vec::new());
        let mut section = None;
        for line in printed.lines().map(str::trim_end) {
            match line {
                "" => {}
                ";; ANSWER SECTION:" => section = Some(&mut answer),
                ";; AUTHORITY SECTION:" => section = Some(&mut authority),
                ";; ADDITIONAL SECTION:" => section = Some(&mut additional),
                _ if line.starts_with(';') => {
                    if let Some(header) = line.strip_prefix(";; ->>HEADER<<- ") {
                        if status.is_some() {
                            return Err(unreadable("two answers"));
                        }
                        status = between(header, "status: ", ",").map(str::to_owned);
                    } else if let Some(header) = line.strip_prefix(";; flags: ") {
                        let names = header.split(';').next().unwrap_or_default();
                        flags = names.split_whitespace().map(str::to_owned).collect();
                    } else if let Some(edns) = line.strip_prefix("; EDNS: ") {
                        edns_udp = edns.rsplit_once("udp: ").and_then(|(_, bytes)| bytes.parse().ok());
                    } else if line.starts_with(";; Truncated, retrying in TCP mode") {
                        retried_over_tcp = true;
                    }
                    // The other comments are advice to a person.
                }
                record => {
                    let section = section.as_mut().ok_or_else(|| unreadable("a record before its section"))?;
                    section.push(record.parse()?);
                }
            }
        }
        let status = status.ok_or_else(|| unreadable("no header"))?;
        Ok(Self { status, flags, edns_udp, retried_over_tcp, answer, authority, additional })
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(found, _)| found)
}
