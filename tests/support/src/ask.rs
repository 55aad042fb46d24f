//! DNS without a process per question, for tests that ask all the time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;

/// The timeout that dig is started with.
const DEADLINE: Duration = Duration::from_secs(5);

/// A client over UDP with a socket of its own.
#[derive(Debug)]
pub struct Ask {
    socket: UdpSocket,
    id: u16,
}

impl Ask {
    /// Asks this server.
    pub async fn at(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        socket.connect(server).await.expect("a loopback address");
        Self { socket, id: 0 }
    }

    /// Asks for the SRV records of a name. An error means no response, not a refusal.
    pub async fn srv(&mut self, name: &str) -> Result<SrvResponse, String> {
        self.id = self.id.wrapping_add(1);
        let mut question = Message::new(self.id, MessageType::Query, OpCode::Query);
        let mut fqdn = Name::from_ascii(name).expect("a name");
        fqdn.set_fqdn(true);
        question.add_query(Query::query(fqdn, RecordType::SRV));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        question.set_edns(edns);
        let bytes = question.to_vec().expect("a short question");
        let answered = async {
            self.socket.send(&bytes).await?;
            let mut buffer = [0; 4096];
            loop {
                let length = self.socket.recv(&mut buffer).await?;
                let message = Message::from_vec(&buffer[..length]).map_err(std::io::Error::other)?;
                // The answer to a question that was given up comes late.
                if message.metadata.id == self.id {
                    return std::io::Result::Ok(message);
                }
            }
        };
        match tokio::time::timeout(DEADLINE, answered).await {
            Ok(Ok(message)) => Ok(SrvResponse::from(&message)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {DEADLINE:?}")),
        }
    }
}

/// The response to a question for SRV records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvResponse {
    /// The rcode.
    pub status: ResponseCode,
    /// The ports of the SRV records.
    pub ports: Vec<u16>,
    /// The TC flag: not everything fitted.
    pub truncated: bool,
}

impl From<&Message> for SrvResponse {
    fn from(message: &Message) -> Self {
        let mut ports: Vec<u16> = message
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv.port),
                _ => None,
            })
            .collect();
        ports.sort_unstable();
        Self { status: message.metadata.response_code, ports, truncated: message.metadata.truncation }
    }
}
