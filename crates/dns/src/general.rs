//! The general path of a message, as one function from bytes to bytes that all transports end in.
//!
//! Owns: FORMERR for a malformed request, and no response to a response. Does not own: the sockets (`udp`,
//! [`super::stream`], [`super::https`]), parsing the message (hickory-server), nor the answer ([`super::handler`], through
//! the interface of `request_handler`).

use super::handler::Handler;
use super::message::Transport;
use super::request_handler::{self, Collector};
use super::wire;
use hickory_net::runtime::TokioTime;
use hickory_proto::op::{Header, HeaderCounts, MessageType, Metadata, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};
use hickory_server::server::{Request, RequestHandler};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A response that waits for upstream servers.
pub(super) type PendingResponse = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// The result for a message.
pub(super) enum ResponseState {
    /// The response, answered from memory; `None` if the message gets none.
    Ready(Option<Vec<u8>>),
    /// A response that needs upstream servers. It has to be polled within a tokio runtime.
    Pending(PendingResponse),
}

/// Answers a message. It has to be called within a tokio runtime ([`tokio::runtime::Handle::enter`]): a response that
/// waits for upstream servers has timers.
pub(super) fn respond(handler: &Handler, message: &[u8], from: SocketAddr, transport: Transport) -> ResponseState {
    let Ok(header) = Header::read(&mut BinDecoder::new(message)) else { return ResponseState::Ready(None) };
    // Checked first: two servers that answer each other's errors would never stop.
    if header.message_type == MessageType::Response {
        return ResponseState::Ready(None);
    }
    // A pointer in the question can only refer to the header before it (RFC 1035 section 4.1.4), whose bytes differ in
    // the response that repeats the question.
    let parsed = wire::questions_end(message)
        .and_then(|_| Request::from_bytes(message.to_vec(), from, request_handler::protocol(transport)).ok());
    let Some(request) = parsed else {
        handler.stats().count_malformed(transport);
        return ResponseState::Ready(form_error(&header));
    };
    let handler = handler.clone();
    let mut answer: PendingResponse = Box::pin(async move {
        let collector = Collector::new(transport);
        handler.handle_request::<_, TokioTime>(&request, collector.clone()).await;
        collector.take()
    });
    // Polled once here: an answer from memory is complete then, without a task.
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => ResponseState::Ready(Some(response)),
        Poll::Pending => ResponseState::Pending(answer),
    }
}

/// FORMERR for a malformed request, of which only the header could be parsed.
fn form_error(header: &Header) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(&header.metadata);
    metadata.response_code = ResponseCode::FormErr;
    Header { metadata, counts: HeaderCounts::default() }.to_bytes().ok()
}
