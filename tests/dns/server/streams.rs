//! TCP and TLS, connection by connection: what a client may do, and what each limit does to one that goes
//! beyond it.

use super::served::{Served, dig, settings};
use crate::server::{pool, tree};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use skyhound_dns::DnsSettings;
use skyhound_dns::settings::StreamLimits;
use skyhound_dns::stream::CloseReason;
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

/// A time so long that nothing in a test reaches it by chance.
const NEVER: Duration = Duration::from_secs(300);
/// A time short enough to wait for.
const SHORT: Duration = Duration::from_millis(500);

/// Limits without timeouts; each test shortens one of them.
fn limits() -> StreamLimits {
    StreamLimits { idle_timeout: NEVER, message_timeout: NEVER, send_timeout: NEVER, ..StreamLimits::default() }
}

fn with(streams: StreamLimits) -> DnsSettings {
    DnsSettings { streams, ..settings() }
}

/// A question with its length in front.
fn framed(id: u16, name: &str, qtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), qtype));
    let bytes = message.to_vec().unwrap();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

/// A client that sends given bytes.
struct Client(TcpStream);

impl Client {
    async fn to(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    /// Connects from another address of this machine.
    async fn from(ip: &str, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        Self(socket.connect(addr).await.unwrap())
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn ask(&mut self, id: u16, name: &str) {
        self.send(&framed(id, name, RecordType::A)).await;
    }

    /// The next response; `None` when the connection has ended.
    async fn receive(&mut self) -> Option<Message> {
        let response = async {
            let mut length = [0; 2];
            self.0.read_exact(&mut length).await.ok()?;
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            self.0.read_exact(&mut bytes).await.ok()?;
            Some(Message::from_vec(&bytes).unwrap())
        };
        timeout(SOON, response).await.expect("an answer or an end")
    }

    async fn received_id(&mut self) -> Option<u16> {
        self.receive().await.map(|message| message.metadata.id)
    }
}

async fn ended(served: &Served, end: CloseReason, times: u64) {
    let stats = served.server.stats();
    wait_until(SOON, async || {
        let all: Vec<_> = stats.streams().ended().collect();
        if stats.streams().ended_by(end) == times { Ok(()) } else { Err(format!("{end:?} {times} times, not {all:?}")) }
    })
    .await;
}

/// A denied client holds no connection, whatever it sends or does not send.
#[tokio::test]
async fn denied_clients_are_closed_at_once() {
    let mut settings = with(StreamLimits { max_connections: 1, ..limits() });
    settings.access.deny.push("127.0.9.0/24".parse().unwrap());
    let served = Served::start_with(tree(), settings).await;
    let mut client = Client::from("127.0.0.1", served.addr).await;
    client.ask(1, "web.skydns.test.").await;
    assert_eq!(client.received_id().await, Some(1));
    for last in 1..=20 {
        let mut denied = Client::from(&format!("127.0.9.{last}"), served.addr).await;
        assert!(denied.receive().await.is_none(), "it did not have to ask to be closed");
    }
    ended(&served, CloseReason::Denied, 20).await;
    client.ask(2, "web.skydns.test.").await;
    assert_eq!(client.received_id().await, Some(2), "its connection is not affected");
    served.stop().await;
}

/// An upstream server for all names of other zones, which answers when the test has it do so.
struct Upstream(UdpSocket);

impl Upstream {
    async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    fn settings(&self, streams: StreamLimits) -> DnsSettings {
        let mut settings = with(streams);
        settings.forward.servers = vec![self.0.local_addr().unwrap()];
        settings
    }

    /// The next question, not answered yet.
    async fn question(&self) -> (Message, SocketAddr) {
        let mut bytes = [0; 1500];
        let (length, from) = timeout(SOON, self.0.recv_from(&mut bytes)).await.expect("a question").unwrap();
        (Message::from_vec(&bytes[..length]).unwrap(), from)
    }

    async fn answer(&self, (mut message, from): (Message, SocketAddr)) {
        message.metadata.message_type = MessageType::Response;
        message.metadata.response_code = ResponseCode::NXDomain;
        self.0.send_to(&message.to_vec().unwrap(), from).await.unwrap();
    }
}

#[tokio::test]
async fn questions_in_one_packet_and_in_fragments_are_answered() {
    let served = Served::start(tree()).await;
    let mut client = Client::to(served.addr).await;
    let many: Vec<u8> = (0..100).flat_map(|id| framed(id, "web.skydns.test.", RecordType::A)).collect();
    client.send(&many).await;
    for id in 0..100 {
        assert_eq!(client.received_id().await, Some(id));
    }
    for byte in framed(4711, "web.skydns.test.", RecordType::A) {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let response = client.receive().await.unwrap();
    assert_eq!((response.metadata.id, response.answers.len()), (4711, 1));
    served.stop().await;
}

#[tokio::test]
async fn a_half_closed_connection_receives_its_responses() {
    let served = Served::start(pool(2000)).await;
    let mut client = Client::to(served.addr).await;
    for id in 0..10 {
        client.ask(id, "pool.skydns.test.").await;
    }
    client.0.shutdown().await.unwrap();
    for id in 0..10 {
        let response = client.receive().await.unwrap();
        assert_eq!((response.metadata.id, response.answers.len()), (id, 2000));
    }
    assert!(client.receive().await.is_none());
    ended(&served, CloseReason::Closed, 1).await;
    served.stop().await;
}

#[tokio::test]
async fn a_pending_response_delays_no_other() {
    let upstream = Upstream::new().await;
    let served = Served::start_with(tree(), upstream.settings(limits())).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "www.example.org.").await;
    let question = upstream.question().await;
    client.ask(2, "web.skydns.test.").await;
    assert_eq!(client.received_id().await, Some(2));
    upstream.answer(question).await;
    let response = client.receive().await.unwrap();
    assert_eq!((response.metadata.id, response.metadata.response_code), (1, ResponseCode::NXDomain));
    served.stop().await;
}

#[tokio::test]
async fn a_connection_at_its_question_limit_is_paused() {
    let upstream = Upstream::new().await;
    let served = Served::start_with(tree(), upstream.settings(StreamLimits { max_questions: 2, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "one.example.org.").await;
    client.ask(2, "two.example.org.").await;
    client.ask(3, "web.skydns.test.").await;
    let (one, two) = (upstream.question().await, upstream.question().await);
    let stats = served.server.stats();
    wait_until(SOON, async || if stats.streams().paused() == 1 { Ok(()) } else { Err("not paused") }).await;
    // One that is answered makes room for the next, which is answered at once. Its own is the other's.
    let mut early = [0];
    assert!(client.0.try_read(&mut early).is_err(), "the third was answered before its turn");
    upstream.answer(one).await;
    let first = [client.received_id().await.unwrap(), client.received_id().await.unwrap()];
    assert!(first.contains(&3) && !first.iter().all(|id| *id == 3), "{first:?}");
    upstream.answer(two).await;
    assert!(client.received_id().await.is_some_and(|id| !first.contains(&id)));
    served.stop().await;
}

#[tokio::test]
async fn half_a_message_is_not_waited_for() {
    let served = Served::start_with(tree(), with(StreamLimits { message_timeout: SHORT, ..limits() })).await;
    for part in [1, 2, 20] {
        let mut client = Client::to(served.addr).await;
        client.ask(1, "web.skydns.test.").await;
        assert_eq!(client.received_id().await, Some(1), "a whole one is answered");
        client.send(&framed(2, "web.skydns.test.", RecordType::A)[..part]).await;
        assert!(client.receive().await.is_none(), "{part} bytes");
    }
    ended(&served, CloseReason::ReceiveTimeout, 3).await;
    served.stop().await;
}

#[tokio::test]
async fn a_message_in_drips_reaches_the_message_timeout() {
    let served = Served::start_with(tree(), with(StreamLimits { message_timeout: SHORT, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    // 64 KiB, and never all of them: each byte comes well within the time, the message does not.
    client.send(&[0xff, 0xff]).await;
    let fed = async {
        while client.0.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    timeout(SOON, fed).await.expect("it is closed");
    ended(&served, CloseReason::ReceiveTimeout, 1).await;
    served.stop().await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let served = Served::start_with(tree(), with(StreamLimits { idle_timeout: SHORT, ..limits() })).await;
    let mut idle = Client::to(served.addr).await;
    assert!(idle.receive().await.is_none(), "that never sent anything");
    let mut client = Client::to(served.addr).await;
    client.ask(1, "web.skydns.test.").await;
    assert_eq!(client.received_id().await, Some(1));
    assert!(client.receive().await.is_none(), "that has its answer");
    ended(&served, CloseReason::IdleTimeout, 2).await;
    served.stop().await;
}

#[tokio::test]
async fn a_connection_with_a_pending_response_is_not_idle() {
    let upstream = Upstream::new().await;
    let served = Served::start_with(tree(), upstream.settings(StreamLimits { idle_timeout: SHORT, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "www.example.org.").await;
    let question = upstream.question().await;
    let mut other = Client::to(served.addr).await;
    assert!(other.receive().await.is_none(), "it is idle for as long, and longer");
    upstream.answer(question).await;
    assert_eq!(client.received_id().await, Some(1));
    served.stop().await;
}

#[tokio::test]
async fn a_slow_consumer_is_closed_and_bounded_in_memory() {
    let streams = StreamLimits { send_timeout: SHORT, max_unsent_bytes: 70_000, ..limits() };
    let served = Served::start_with(pool(2000), with(streams)).await;
    let mut client = Client::to(served.addr).await;
    let question = framed(1, "pool.skydns.test.", RecordType::A);
    // 32 KiB each: what both kernels buffer is full long before these are all asked.
    let flood = async { while client.0.write_all(&question).await.is_ok() {} };
    timeout(SOON, flood).await.expect("it is closed");
    ended(&served, CloseReason::SendTimeout, 1).await;
    assert!(served.server.stats().streams().paused() >= 1);
    let answers = served.server.stats().transports().find(|(over, _)| *over == "tcp").unwrap().1;
    assert!(answers < 2000, "{answers} answers of 32 KiB were made for a client that reads none");
    served.stop().await;
}

#[tokio::test]
async fn a_slow_reader_receives_every_response() {
    let streams = StreamLimits { max_unsent_bytes: 70_000, ..limits() };
    let served = Served::start_with(pool(2000), with(streams)).await;
    let (mut reader, mut writer) = Client::to(served.addr).await.0.into_split();
    let asking = tokio::spawn(async move {
        for id in 0..300 {
            writer.write_all(&framed(id, "pool.skydns.test.", RecordType::A)).await.unwrap();
        }
        writer
    });
    let stats = served.server.stats();
    wait_until(SOON, async || if stats.streams().paused() > 0 { Ok(()) } else { Err("never paused") }).await;
    for id in 0..300u16 {
        let length = usize::from(reader.read_u16().await.unwrap());
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes[..2], id.to_be_bytes());
    }
    drop(asking.await.unwrap());
    served.stop().await;
}

#[tokio::test]
async fn the_longest_idle_connection_is_evicted_at_the_limit() {
    let served = Served::start_with(tree(), with(StreamLimits { max_connections: 2, ..limits() })).await;
    let mut first = Client::to(served.addr).await;
    first.ask(1, "web.skydns.test.").await;
    assert_eq!(first.received_id().await, Some(1));
    let mut second = Client::to(served.addr).await;
    second.ask(2, "web.skydns.test.").await;
    assert_eq!(second.received_id().await, Some(2));
    first.ask(3, "web.skydns.test.").await;
    assert_eq!(first.received_id().await, Some(3));
    let mut third = Client::to(served.addr).await;
    third.ask(4, "web.skydns.test.").await;
    assert_eq!(third.received_id().await, Some(4));
    assert!(second.receive().await.is_none());
    ended(&served, CloseReason::Evicted, 1).await;
    first.ask(5, "web.skydns.test.").await;
    assert_eq!(first.received_id().await, Some(5));
    assert_eq!(served.server.stats().streams().open(), 2);
    served.stop().await;
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let served = Served::start_with(tree(), with(StreamLimits { max_per_client: 2, ..limits() })).await;
    let mut other = Client::from("127.0.53.2", served.addr).await;
    other.ask(1, "web.skydns.test.").await;
    assert_eq!(other.received_id().await, Some(1));
    let mut own = Vec::new();
    for id in 0..3 {
        let mut client = Client::from("127.0.53.3", served.addr).await;
        client.ask(id, "web.skydns.test.").await;
        assert_eq!(client.received_id().await, Some(id));
        own.push(client);
    }
    assert!(own[0].receive().await.is_none(), "its own eldest");
    other.ask(2, "web.skydns.test.").await;
    assert_eq!(other.received_id().await, Some(2));
    served.stop().await;
}

#[tokio::test]
async fn a_new_connection_is_refused_when_none_is_idle() {
    let upstream = Upstream::new().await;
    let served = Served::start_with(tree(), upstream.settings(StreamLimits { max_connections: 1, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "www.example.org.").await;
    let question = upstream.question().await;
    let mut refused = Client::to(served.addr).await;
    assert!(refused.receive().await.is_none());
    ended(&served, CloseReason::Refused, 1).await;
    upstream.answer(question).await;
    assert_eq!(client.received_id().await, Some(1));
    served.stop().await;
}

#[tokio::test]
async fn malformed_messages_close_the_connection_and_responses_are_ignored() {
    let served = Served::start(tree()).await;
    let mut client = Client::to(served.addr).await;
    let mut response = framed(1, "web.skydns.test.", RecordType::A);
    response[4] |= 0x80;
    client.send(&response).await;
    client.ask(2, "web.skydns.test.").await;
    assert_eq!(client.received_id().await, Some(2));
    client.send(b"\0\x03GET").await;
    assert!(client.receive().await.is_none());
    ended(&served, CloseReason::Malformed, 1).await;
    // Read, but wrong: FORMERR, as over UDP.
    let mut client = Client::to(served.addr).await;
    client.send(&[&[0, 14][..], &[7; 2], &[0; 2], &[0, 1], &[0; 6], &[0xc0, 0x0c]].concat()).await;
    assert_eq!(client.receive().await.unwrap().metadata.response_code, ResponseCode::FormErr);
    served.stop().await;
}

#[tokio::test]
async fn tcp_keepalive_is_answered_on_request() {
    let served = Served::start(tree()).await;
    let response = dig(served.addr, &["web.skydns.test", "A", "+tcp", "+keepalive"]).await;
    assert!(response.text.contains("TCP KEEPALIVE: 10.0 secs"), "{}", response.text);
    let response = dig(served.addr, &["web.skydns.test", "A", "+tcp"]).await;
    assert!(!response.text.contains("KEEPALIVE"), "{}", response.text);
    let response = dig(served.addr, &["web.skydns.test", "A", "+notcp", "+keepalive"]).await;
    assert!(!response.text.contains("KEEPALIVE"), "not over UDP: {}", response.text);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_ends_connections_and_frees_the_port() {
    let served = Served::start(tree()).await;
    let addr = served.addr;
    let mut client = Client::to(addr).await;
    client.ask(1, "web.skydns.test.").await;
    assert_eq!(client.received_id().await, Some(1));
    timeout(SOON, served.stop()).await.expect("an idle connection does not hold it up");
    assert!(client.receive().await.is_none());
    // Another test's `dig` has it, too, until it is the program that it is to be.
    wait_until(SOON, async || match TcpStream::connect(addr).await {
        Ok(_) => Err("it still listens"),
        Err(_) => Ok(()),
    })
    .await;
}
