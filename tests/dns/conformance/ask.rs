//! Questions over real sockets, one at a time.

use crate::conformance::vectors::Case;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The time limit of an answer, for a machine that is busy.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The EDNS size of questions that name none.
const EDNS: u16 = 4096;

fn message(case: &Case) -> Vec<u8> {
    let mut message = Message::new(fastrand::u16(..), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut query = Query::query(Name::from_ascii(&case.qname).unwrap(), case.qtype.parse().unwrap());
    if case.qclass.as_deref() == Some("CH") {
        query.set_query_class(DNSClass::CH);
    }
    message.queries.push(query);
    let size = case.edns.unwrap_or(EDNS);
    if size > 0 {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        edns.set_dnssec_ok(case.dnssec_ok);
        message.edns = Some(edns);
    }
    message.to_vec().unwrap()
}

/// Asks over UDP.
pub async fn udp(server: SocketAddr, case: &Case) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&message(case)).await.unwrap();
    let mut bytes = vec![0; usize::from(u16::MAX)];
    let length = timeout(TIMEOUT, socket.recv(&mut bytes)).await.expect("an answer over UDP").unwrap();
    let limit = usize::from(case.edns.unwrap_or(EDNS).max(512));
    assert!(length <= limit, "{}: {length} bytes for a client that takes {limit}", case.id);
    Message::from_vec(&bytes[..length]).unwrap()
}

/// Asks over TCP.
pub async fn tcp(server: SocketAddr, case: &Case) -> Message {
    let asking = async {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let question = message(case);
        stream.write_u16(question.len().try_into().unwrap()).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    };
    Message::from_vec(&timeout(TIMEOUT, asking).await.expect("an answer over TCP")).unwrap()
}
