//! UDP where there is no `recvmmsg`: one task for each address, over the general path alone.
//!
//! Owns: reading and sending. Does not own: what is answered ([`super::general`]). On Linux it is only tested.

use super::general::{ResponseState, respond};
use super::handler::Handler;
use super::message::Transport;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tracing::debug;

/// The most answers that wait for somebody else at one time. More questions are dropped.
const PENDING_MAX: usize = 1024;
/// The largest question that is read whole.
const DATAGRAM_MAX: usize = 4096;

/// Answers for ever; drop the future to stop.
pub(super) async fn answer(socket: UdpSocket, handler: Handler) {
    let (socket, pending_permits) = (Arc::new(socket), Arc::new(Semaphore::new(PENDING_MAX)));
    let mut bytes = vec![0; DATAGRAM_MAX];
    loop {
        // An error is about an earlier answer that did not arrive.
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else { continue };
        match respond(&handler, &bytes[..length], from, Transport::Udp) {
            ResponseState::Ready(None) => {}
            ResponseState::Ready(Some(answer)) => send(&socket, &answer, from).await,
            ResponseState::Pending(pending) => {
                let Ok(permit) = Arc::clone(&pending_permits).try_acquire_owned() else { continue };
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    send(&socket, &pending.await, from).await;
                    drop(permit);
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: std::net::SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        debug!(%error, "a DNS response could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{settings, snapshot};
    use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use skyhound_core::catalog::Catalog;

    #[tokio::test]
    async fn questions_are_answered() {
        let tree = snapshot(&[("web/a", r#"{"host":"10.0.0.1"}"#)]);
        let handler = Handler::new(Catalog::fixed(Arc::new(tree)), settings());
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(socket.local_addr().unwrap()).await.unwrap();
        let task = tokio::spawn(answer(socket, handler));
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.queries.push(Query::query(Name::from_ascii("web.skydns.test.").unwrap(), RecordType::A));
        client.send(b"no question").await.unwrap();
        client.send(&message.to_vec().unwrap()).await.unwrap();
        let mut bytes = [0; 512];
        let length = client.recv(&mut bytes).await.unwrap();
        let response = Message::from_vec(&bytes[..length]).unwrap();
        assert_eq!(
            (response.metadata.id, response.metadata.response_code, response.answers.len()),
            (7, ResponseCode::NoError, 1)
        );
        task.abort();
    }
}
