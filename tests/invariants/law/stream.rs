//! Any bytes on a TCP connection to a server that runs: each question in a frame gets at most one answer, in a frame, and
//! the server goes on.

use super::message;
use super::value::question;
use super::world::{catalog, settings};
use hickory_proto::rr::RecordType;
use skyhound_dns::settings::StreamLimits;
use skyhound_dns::{DnsServer, DnsSettings};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The time limit of the server for the rest of a frame, and ours for the end of the connection.
const IDLE: Duration = Duration::from_secs(2);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The id of the question that is asked last, if what comes before it left the stream between two frames.
const LAST: u16 = 0xfeed;

/// Runs for as long as the process.
struct Running {
    addr: SocketAddr,
    _server: DnsServer,
    _runtime: Runtime,
}

fn server() -> SocketAddr {
    static SERVER: OnceLock<Running> = OnceLock::new();
    let start = || {
        let runtime = Runtime::new().unwrap();
        let streams = StreamLimits { idle_timeout: IDLE, message_timeout: IDLE, ..StreamLimits::default() };
        let settings = DnsSettings { streams, ..settings() };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = runtime.block_on(DnsServer::bind(&[listen], settings, catalog(&[]))).unwrap();
        Running { addr: server.local_addrs()[0], _server: server, _runtime: runtime }
    };
    SERVER.get_or_init(start).addr
}

/// Frames at the front of a stream, and whether nothing is left behind them.
fn frames(mut bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut frames = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((frame, behind)) = rest.split_at_checked(length) else { return (frames, false) };
        frames.push(frame);
        bytes = behind;
    }
    (frames, bytes.is_empty())
}

/// Receives until the server ends the connection, or until `until` returns true for the bytes so far.
fn receive_until(stream: &mut TcpStream, until: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while !until(&all) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            // libFuzzer keeps its time with signals.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It may close on what is wrong while we still write.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
            Err(error) => panic!("the connection neither ends nor answers: {error}"),
        }
    }
    all
}

fn connect() -> TcpStream {
    let stream = TcpStream::connect(server()).unwrap();
    stream.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The question that shows that the server is well, in a frame.
fn last() -> Vec<u8> {
    let mut bytes = question("web.skydns.test.", RecordType::A, None);
    bytes[..2].copy_from_slice(&LAST.to_be_bytes());
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], &bytes].concat()
}

fn is_last(frame: &[u8]) -> bool {
    frame.get(..2) == Some(&LAST.to_be_bytes())
}

/// The same stream with a number for each frame as its id, as far as it has one: answers may come in any order
/// (RFC 7766 section 6.2.1.1).
fn numbered(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len() + 64);
    let (whole, _) = frames(bytes);
    for (id, frame) in (0u16..).zip(&whole) {
        all.extend(u16::try_from(frame.len()).unwrap().to_be_bytes());
        let id = id.to_be_bytes();
        all.extend_from_slice(&id[..frame.len().min(2)]);
        all.extend_from_slice(frame.get(2..).unwrap_or_default());
    }
    all.extend_from_slice(&bytes[all.len()..]);
    all
}

/// Every frame that comes back is the answer to one that was sent.
pub fn holds(bytes: &[u8]) {
    let bytes = numbered(bytes);
    let (asked, between) = frames(&bytes);
    let mut stream = connect();
    let mut sent = bytes.clone();
    if between {
        sent.extend(last());
    }
    // What is refused half-way ends in an error here, and shows below.
    let _ = stream.write_all(&sent);
    if !between {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let all = receive_until(&mut stream, |all| between && frames(all).0.iter().any(|frame| is_last(frame)));
    drop(stream);
    let mut open: Vec<_> = asked.into_iter().map(Some).collect();
    for answer in frames(&all).0.iter().filter(|answer| !is_last(answer)) {
        let id = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
        let asked = open.get_mut(id).and_then(Option::take).expect("one answer to a frame that was sent");
        message::holds(asked, answer, false);
    }
    let mut again = connect();
    again.write_all(&last()).unwrap();
    let all = receive_until(&mut again, |all| !frames(all).0.is_empty());
    let response = message::holds(&last()[2..], frames(&all).0[0], false);
    assert_eq!(response.answers.len(), 1, "the server goes on: {response}");
}
