//! UDP on systems without `recvmmsg`: one task for each address, over the general path alone.
//!
//! Owns: receiving and sending. Does not own: the responses ([`super::general`]). On Linux it is only tested.

use super::general::{ResponseState, respond};
use super::handler::Handler;
use super::message::Transport;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tracing::debug;

/// The maximum number of responses that wait for upstream servers at the same time. Further questions are dropped.
const PENDING_MAX: usize = 1024;
/// The size of the largest question that is received completely.
const DATAGRAM_MAX: usize = 4096;

/// Answers datagrams until the future is dropped.
pub(super) async fn serve(socket: UdpSocket, handler: Handler) {
    let (socket, pending_permits) = (Arc::new(socket), Arc::new(Semaphore::new(PENDING_MAX)));
    let mut bytes = vec![0; DATAGRAM_MAX];
    loop {
        // An error belongs to an earlier response that was not delivered.
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else { continue };
        match respond(&handler, &bytes[..length], from, Transport::Udp) {
            ResponseState::Ready(None) => {}
            ResponseState::Ready(Some(response)) => send(&socket, &response, from).await,
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

async fn send(socket: &UdpSocket, response: &[u8], to: std::net::SocketAddr) {
    if let Err(error) = socket.send_to(response, to).await {
        debug!(%error, "cannot send a DNS response; dropping it");
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
        let task = tokio::spawn(serve(socket, handler));
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
