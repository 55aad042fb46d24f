//! A DNS server with one answer.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// The treatment of every question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Three instances: priority 1 at 127.0.0.1, and two of priority 2; addresses in the additional section.
    Three,
    /// The same without the additional section.
    ThreeWithoutAddresses,
    /// UDP is always cut; TCP has it all.
    OnlyByTcp,
    /// NODATA: no error, no records.
    Nothing,
    /// `.`, "decidedly not available".
    NotAvailable,
    /// This response code.
    Code(ResponseCode),
}

/// Serves on UDP and TCP of one port until the test ends.
pub(crate) async fn serve(answers: Answers) -> SocketAddr {
    // TCP first: its free port is nearly always free for UDP too, and if not, another one is.
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (tcp, udp);
        }
    };
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
            udp.send_to(&answer(answers, &bytes[..length], true), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.unwrap();
                let answer = answer(answers, &question, false);
                stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    address
}

fn answer(answers: Answers, question: &[u8], udp: bool) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.message_type = MessageType::Response;
    message.metadata.authoritative = true;
    let asked = question.queries[0].clone();
    let name = asked.name().clone();
    message.add_query(asked.clone());
    match answers {
        Answers::Code(code) => message.metadata.response_code = code,
        Answers::Nothing => {}
        Answers::NotAvailable => {
            message.add_answer(srv(&name, 0, 0, 0, Name::root()));
        }
        Answers::OnlyByTcp if udp => message.metadata.truncation = true,
        _ if asked.query_type() == RecordType::SRV => {
            for n in 1..=3 {
                let target = name.prepend_label(format!("i{n}")).unwrap();
                message.add_answer(srv(&name, n.min(2).into(), 100, 8080 + u16::from(n), target.clone()));
                if answers != Answers::ThreeWithoutAddresses {
                    message.add_additional(address(&target, n));
                }
            }
        }
        _ if asked.query_type() == RecordType::A => {
            let n = name.iter().next().unwrap()[1] - b'0';
            message.add_answer(address(&name, n));
        }
        _ => {}
    }
    message.to_vec().unwrap()
}

fn srv(name: &Name, priority: u16, weight: u16, port: u16, target: Name) -> Record {
    Record::from_rdata(name.clone(), 30, RData::SRV(SRV::new(priority, weight, port, target)))
}

fn address(name: &Name, n: u8) -> Record {
    Record::from_rdata(name.clone(), 30, RData::A(A(Ipv4Addr::new(127, 0, 0, n))))
}
