//! Asks a daemon's DNS over UDP, one question at a time, as fast as the answers come.
//!
//! By hand, because the time of a question is what is measured: a blocking socket and a few bytes.

use crate::Failure;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// An answer that is not there after this is lost, and the question is asked again.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// The time limit for an answer to become the expected one.
const CHANGE_DEADLINE: Duration = Duration::from_secs(15);
/// RFC 1035 section 4.1.1: the bits of the rcode, and NXDOMAIN.
const RCODE: u8 = 0xf;
const NXDOMAIN: u8 = 3;
/// RFC 2782.
const SRV: u16 = 33;

/// The outcome of a DNS question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer has records.
    Records,
    /// NXDOMAIN: there is no such name.
    NoName,
    /// Something else: this rcode, no records.
    Else(u8),
}

/// The time when a name's answer became the expected one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Became {
    /// The time when the answer arrived.
    pub(crate) at: Instant,
    /// The number of questions until then.
    pub(crate) questions: usize,
}

/// Asks one daemon.
#[derive(Debug)]
pub(crate) struct Ask {
    socket: UdpSocket,
    id: u16,
}

impl Ask {
    pub(crate) fn new(daemon: SocketAddr) -> Result<Self, Failure> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(daemon)?;
        socket.set_read_timeout(Some(LOST_AFTER))?;
        Ok(Self { socket, id: 0 })
    }

    /// Asks for the SRV records of a service until the answer is as wanted. Blocks: nothing else of this
    /// process has work meanwhile.
    pub(crate) fn until(&mut self, service: &str, wanted: Outcome) -> Result<Became, Failure> {
        let began = Instant::now();
        let mut questions = 0;
        loop {
            questions += 1;
            let outcome = self.srv(service)?;
            let at = Instant::now();
            if outcome == Some(wanted) {
                return Ok(Became { at, questions });
            }
            if at - began > CHANGE_DEADLINE {
                return Err(format!("DNS still answers {outcome:?} of {service}, not {wanted:?}").into());
            }
        }
    }

    /// One question; `None` when the answer got lost.
    fn srv(&mut self, service: &str) -> Result<Option<Outcome>, Failure> {
        self.id = self.id.wrapping_add(1);
        self.socket.send(&question(self.id, service)?)?;
        let mut answer = [0; 1500];
        loop {
            let length = match self.socket.recv(&mut answer) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let head = answer.get(..length).and_then(|all| all.first_chunk::<12>()).ok_or("a DNS answer cut short")?;
            // An older answer that was given up may still come.
            if head[..2] == self.id.to_be_bytes() {
                let records = u16::from_be_bytes([head[6], head[7]]);
                return Ok(Some(match (head[3] & RCODE, records) {
                    (0, 1..) => Outcome::Records,
                    (NXDOMAIN, _) => Outcome::NoName,
                    (rcode, _) => Outcome::Else(rcode),
                }));
            }
        }
    }
}

/// A question for `SERVICE.services.skydns.local.`, the name that the daemon's defaults give a service.
fn question(id: u16, service: &str) -> Result<Vec<u8>, Failure> {
    let mut message = id.to_be_bytes().to_vec();
    // No flags; one question, nothing else.
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [service, "services", "skydns", "local"] {
        message.push(u8::try_from(label.len())?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(SRV.to_be_bytes());
    message.extend(1_u16.to_be_bytes());
    Ok(message)
}
