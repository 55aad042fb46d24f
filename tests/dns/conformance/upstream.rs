//! A resolver that stands for the Internet: it knows a file's `upstream` records and nothing else.

use crate::conformance::vectors::Rr;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

/// The number of aliases that it follows.
const CHAIN_MAX: usize = 8;

/// A running one; ends when dropped.
pub struct Upstream {
    pub addr: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Upstream {
    pub async fn start(records: &[Rr]) -> Self {
        let records: Arc<[Record]> = records.iter().map(record).collect();
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let addr = tcp.local_addr().unwrap();
        let known = Arc::clone(&records);
        let over_udp = tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut bytes).await {
                let _ = udp.send_to(&reply(&known, &bytes[..length]), peer).await;
            }
        });
        let over_tcp = tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; length.into()];
                    stream.read_exact(&mut bytes).await.unwrap();
                    let response = reply(&records, &bytes);
                    stream.write_u16(response.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&response).await.unwrap();
                }
            }
        });
        Self { addr, tasks: [over_udp, over_tcp] }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn record(rr: &Rr) -> Record {
    let text = rr.rdata.as_deref().unwrap();
    let data = match rr.rtype.as_str() {
        "A" => RData::A(A(text.parse().unwrap())),
        "AAAA" => RData::AAAA(AAAA(text.parse().unwrap())),
        "CNAME" => RData::CNAME(CNAME(Name::from_ascii(text).unwrap())),
        "TXT" => RData::TXT(TXT::from_bytes(vec![text.trim_matches('"').as_bytes()])),
        other => panic!("no {other} upstream yet"),
    };
    Record::from_rdata(Name::from_ascii(&rr.name).unwrap(), rr.ttl.unwrap(), data)
}

fn reply(known: &[Record], asked: &[u8]) -> Vec<u8> {
    let asked = Message::from_vec(asked).unwrap();
    let mut response = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
    response.metadata.recursion_desired = asked.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    let query = asked.queries[0].clone();
    let (mut name, qtype) = (query.name().clone(), query.query_type());
    response.queries.push(query);
    if !known.iter().any(|record| record.name == name) {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    for _ in 0..CHAIN_MAX {
        let here: Vec<_> = known.iter().filter(|record| record.name == name).collect();
        response.answers.extend(here.iter().filter(|record| record.record_type() == qtype).copied().cloned());
        let alias = here.iter().find_map(|record| match &record.data {
            RData::CNAME(to) if qtype != RecordType::CNAME => Some((*record, to.0.clone())),
            _ => None,
        });
        let Some((record, to)) = alias else { break };
        response.answers.push(record.clone());
        name = to;
    }
    response.to_vec().unwrap()
}
