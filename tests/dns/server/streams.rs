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

/// Long enough that nothing in a test reaches it by chance.
const NEVER: Duration = Duration::from_secs(300);
/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(500);

/// Limits that nobody meets but by one of them.
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

/// A client that sends what it is told to.
struct Client(TcpStream);

impl Client {
    async fn to(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    /// From another address of this machine.
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

    /// The next answer; `None` when the connection has ended.
    async fn hear(&mut self) -> Option<Message> {
        let heard = async {
            let mut length = [0; 2];
            self.0.read_exact(&mut length).await.ok()?;
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            self.0.read_exact(&mut bytes).await.ok()?;
            Some(Message::from_vec(&bytes).unwrap())
        };
        timeout(SOON, heard).await.expect("an answer or an end")
    }

    async fn heard_id(&mut self) -> Option<u16> {
        self.hear().await.map(|message| message.metadata.id)
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

/// Whoever may not ask holds no place, whatever it does or does not do.
#[tokio::test]
async fn who_may_not_ask_is_gone_at_once() {
    let mut settings = with(StreamLimits { max_connections: 1, ..limits() });
    settings.access.deny.push("127.0.9.0/24".parse().unwrap());
    let served = Served::start_with(tree(), settings).await;
    let mut client = Client::from("127.0.0.1", served.addr).await;
    client.ask(1, "web.skydns.test.").await;
    assert_eq!(client.heard_id().await, Some(1));
    for last in 1..=20 {
        let mut denied = Client::from(&format!("127.0.9.{last}"), served.addr).await;
        assert!(denied.hear().await.is_none(), "it did not have to ask to be closed");
    }
    ended(&served, CloseReason::Denied, 20).await;
    client.ask(2, "web.skydns.test.").await;
    assert_eq!(client.heard_id().await, Some(2), "its place is its own");
    served.stop().await;
}

/// A server that is asked about all names outside, and answers when the test has it do so.
struct Outside(UdpSocket);

impl Outside {
    async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    fn settings(&self, streams: StreamLimits) -> DnsSettings {
        let mut settings = with(streams);
        settings.forward.servers = vec![self.0.local_addr().unwrap()];
        settings
    }

    /// The next question, not answered yet.
    async fn asked(&self) -> (Message, SocketAddr) {
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
async fn questions_in_one_packet_are_answered_and_one_in_pieces_too() {
    let served = Served::start(tree()).await;
    let mut client = Client::to(served.addr).await;
    let many: Vec<u8> = (0..100).flat_map(|id| framed(id, "web.skydns.test.", RecordType::A)).collect();
    client.send(&many).await;
    for id in 0..100 {
        assert_eq!(client.heard_id().await, Some(id));
    }
    for byte in framed(4711, "web.skydns.test.", RecordType::A) {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let said = client.hear().await.unwrap();
    assert_eq!((said.metadata.id, said.answers.len()), (4711, 1));
    served.stop().await;
}

#[tokio::test]
async fn who_closes_its_half_still_hears_its_answers() {
    let served = Served::start(pool(2000)).await;
    let mut client = Client::to(served.addr).await;
    for id in 0..10 {
        client.ask(id, "pool.skydns.test.").await;
    }
    client.0.shutdown().await.unwrap();
    for id in 0..10 {
        let said = client.hear().await.unwrap();
        assert_eq!((said.metadata.id, said.answers.len()), (id, 2000));
    }
    assert!(client.hear().await.is_none());
    ended(&served, CloseReason::Closed, 1).await;
    served.stop().await;
}

#[tokio::test]
async fn an_answer_that_waits_holds_no_other_up() {
    let outside = Outside::new().await;
    let served = Served::start_with(tree(), outside.settings(limits())).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "www.example.org.").await;
    let asked = outside.asked().await;
    client.ask(2, "web.skydns.test.").await;
    assert_eq!(client.heard_id().await, Some(2));
    outside.answer(asked).await;
    let said = client.hear().await.unwrap();
    assert_eq!((said.metadata.id, said.metadata.response_code), (1, ResponseCode::NXDomain));
    served.stop().await;
}

#[tokio::test]
async fn a_connection_with_as_many_questions_open_as_it_may_is_not_read() {
    let outside = Outside::new().await;
    let served = Served::start_with(tree(), outside.settings(StreamLimits { max_questions: 2, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "one.example.org.").await;
    client.ask(2, "two.example.org.").await;
    client.ask(3, "web.skydns.test.").await;
    let (one, two) = (outside.asked().await, outside.asked().await);
    let stats = served.server.stats();
    wait_until(SOON, async || if stats.streams().paused() == 1 { Ok(()) } else { Err("not paused") }).await;
    // One that is answered makes room for the next, which is answered at once. Its own is the other's.
    let mut early = [0];
    assert!(client.0.try_read(&mut early).is_err(), "the third was answered before its turn");
    outside.answer(one).await;
    let first = [client.heard_id().await.unwrap(), client.heard_id().await.unwrap()];
    assert!(first.contains(&3) && !first.iter().all(|id| *id == 3), "{first:?}");
    outside.answer(two).await;
    assert!(client.heard_id().await.is_some_and(|id| !first.contains(&id)));
    served.stop().await;
}

#[tokio::test]
async fn half_a_message_is_not_waited_for() {
    let served = Served::start_with(tree(), with(StreamLimits { message_timeout: SHORT, ..limits() })).await;
    for part in [1, 2, 20] {
        let mut client = Client::to(served.addr).await;
        client.ask(1, "web.skydns.test.").await;
        assert_eq!(client.heard_id().await, Some(1), "a whole one is answered");
        client.send(&framed(2, "web.skydns.test.", RecordType::A)[..part]).await;
        assert!(client.hear().await.is_none(), "{part} bytes");
    }
    ended(&served, CloseReason::ReceiveTimeout, 3).await;
    served.stop().await;
}

#[tokio::test]
async fn who_feeds_a_message_byte_by_byte_is_late_as_well() {
    let served = Served::start_with(tree(), with(StreamLimits { message_timeout: SHORT, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    // 64 KiB, and never all of them: each byte comes well within the time, the message does not.
    client.send(&[0xff, 0xff]).await;
    let fed = async {
        while client.0.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    timeout(SOON, fed).await.expect("it is cut off");
    ended(&served, CloseReason::ReceiveTimeout, 1).await;
    served.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let served = Served::start_with(tree(), with(StreamLimits { idle_timeout: SHORT, ..limits() })).await;
    let mut silent = Client::to(served.addr).await;
    assert!(silent.hear().await.is_none(), "that never said anything");
    let mut client = Client::to(served.addr).await;
    client.ask(1, "web.skydns.test.").await;
    assert_eq!(client.heard_id().await, Some(1));
    assert!(client.hear().await.is_none(), "that has its answer");
    ended(&served, CloseReason::IdleTimeout, 2).await;
    served.stop().await;
}

#[tokio::test]
async fn who_waits_for_an_answer_is_not_idle() {
    let outside = Outside::new().await;
    let served = Served::start_with(tree(), outside.settings(StreamLimits { idle_timeout: SHORT, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "www.example.org.").await;
    let asked = outside.asked().await;
    let mut other = Client::to(served.addr).await;
    assert!(other.hear().await.is_none(), "it is idle for as long, and longer");
    outside.answer(asked).await;
    assert_eq!(client.heard_id().await, Some(1));
    served.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_costs_no_more_than_its_limit() {
    let streams = StreamLimits { send_timeout: SHORT, max_unsent_bytes: 70_000, ..limits() };
    let served = Served::start_with(pool(2000), with(streams)).await;
    let mut client = Client::to(served.addr).await;
    let question = framed(1, "pool.skydns.test.", RecordType::A);
    // 32 KiB each: what both kernels buffer is full long before these are all asked.
    let flood = async { while client.0.write_all(&question).await.is_ok() {} };
    timeout(SOON, flood).await.expect("it is cut off");
    ended(&served, CloseReason::SendTimeout, 1).await;
    assert!(served.server.stats().streams().paused() >= 1);
    let answers = served.server.stats().transports().find(|(over, _)| *over == "tcp").unwrap().1;
    assert!(answers < 2000, "{answers} answers of 32 KiB were made for who reads none");
    served.stop().await;
}

#[tokio::test]
async fn who_reads_slowly_but_reads_hears_everything() {
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
async fn over_the_limit_who_was_idle_longest_goes() {
    let served = Served::start_with(tree(), with(StreamLimits { max_connections: 2, ..limits() })).await;
    let mut first = Client::to(served.addr).await;
    first.ask(1, "web.skydns.test.").await;
    assert_eq!(first.heard_id().await, Some(1));
    let mut second = Client::to(served.addr).await;
    second.ask(2, "web.skydns.test.").await;
    assert_eq!(second.heard_id().await, Some(2));
    first.ask(3, "web.skydns.test.").await;
    assert_eq!(first.heard_id().await, Some(3));
    let mut third = Client::to(served.addr).await;
    third.ask(4, "web.skydns.test.").await;
    assert_eq!(third.heard_id().await, Some(4));
    assert!(second.hear().await.is_none());
    ended(&served, CloseReason::Evicted, 1).await;
    first.ask(5, "web.skydns.test.").await;
    assert_eq!(first.heard_id().await, Some(5));
    assert_eq!(served.server.stats().streams().open(), 2);
    served.stop().await;
}

#[tokio::test]
async fn one_client_does_not_have_all_places() {
    let served = Served::start_with(tree(), with(StreamLimits { max_per_client: 2, ..limits() })).await;
    let mut other = Client::from("127.0.53.2", served.addr).await;
    other.ask(1, "web.skydns.test.").await;
    assert_eq!(other.heard_id().await, Some(1));
    let mut own = Vec::new();
    for id in 0..3 {
        let mut client = Client::from("127.0.53.3", served.addr).await;
        client.ask(id, "web.skydns.test.").await;
        assert_eq!(client.heard_id().await, Some(id));
        own.push(client);
    }
    assert!(own[0].hear().await.is_none(), "its own eldest");
    other.ask(2, "web.skydns.test.").await;
    assert_eq!(other.heard_id().await, Some(2));
    served.stop().await;
}

#[tokio::test]
async fn when_nobody_is_idle_the_new_one_is_refused() {
    let outside = Outside::new().await;
    let served = Served::start_with(tree(), outside.settings(StreamLimits { max_connections: 1, ..limits() })).await;
    let mut client = Client::to(served.addr).await;
    client.ask(1, "www.example.org.").await;
    let asked = outside.asked().await;
    let mut refused = Client::to(served.addr).await;
    assert!(refused.hear().await.is_none());
    ended(&served, CloseReason::Refused, 1).await;
    outside.answer(asked).await;
    assert_eq!(client.heard_id().await, Some(1));
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_dns_ends_the_connection_and_a_response_is_not_answered() {
    let served = Served::start(tree()).await;
    let mut client = Client::to(served.addr).await;
    let mut response = framed(1, "web.skydns.test.", RecordType::A);
    response[4] |= 0x80;
    client.send(&response).await;
    client.ask(2, "web.skydns.test.").await;
    assert_eq!(client.heard_id().await, Some(2));
    client.send(b"\0\x03GET").await;
    assert!(client.hear().await.is_none());
    ended(&served, CloseReason::Malformed, 1).await;
    // Read, but wrong: FORMERR, as over UDP.
    let mut client = Client::to(served.addr).await;
    client.send(&[&[0, 14][..], &[7; 2], &[0; 2], &[0, 1], &[0; 6], &[0xc0, 0x0c]].concat()).await;
    assert_eq!(client.hear().await.unwrap().metadata.response_code, ResponseCode::FormErr);
    served.stop().await;
}

#[tokio::test]
async fn who_asks_how_long_it_may_stay_is_told() {
    let served = Served::start(tree()).await;
    let said = dig(served.addr, &["web.skydns.test", "A", "+tcp", "+keepalive"]).await;
    assert!(said.text.contains("TCP KEEPALIVE: 10.0 secs"), "{}", said.text);
    let said = dig(served.addr, &["web.skydns.test", "A", "+tcp"]).await;
    assert!(!said.text.contains("KEEPALIVE"), "{}", said.text);
    let said = dig(served.addr, &["web.skydns.test", "A", "+notcp", "+keepalive"]).await;
    assert!(!said.text.contains("KEEPALIVE"), "not over UDP: {}", said.text);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_ends_connections_and_frees_the_port() {
    let served = Served::start(tree()).await;
    let addr = served.addr;
    let mut client = Client::to(addr).await;
    client.ask(1, "web.skydns.test.").await;
    assert_eq!(client.heard_id().await, Some(1));
    timeout(SOON, served.stop()).await.expect("an idle connection does not hold it up");
    assert!(client.hear().await.is_none());
    // Another test's `dig` has it, too, until it is the program that it is to be.
    wait_until(SOON, async || match TcpStream::connect(addr).await {
        Ok(_) => Err("it still listens"),
        Err(_) => Ok(()),
    })
    .await;
}
